//! A speaker of its own: `speaker ASN ROUTER-ID [client=]PEER…`.
//!
//! It waits at its router ID's address for these peers of its AS, takes all they tell, and passes it on to those that are its clients
//! (RFC 4456). Whenever that has changed it writes how many prefixes it knows. `cargo lab bench bgp` measures the library by it.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use bgp::config::PORT;
use bgp::{ExportRules, ImportRules, PeerConfig, RibEvent, Speaker, SpeakerConfig, SpeakerHandle};
use tokio::sync::mpsc;

/// How often it is looked how many prefixes there are, while that changes.
const LOOK: Duration = Duration::from_millis(20);

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let (Some(asn), Some(id)) = (words.next(), words.next()) else {
        return Err("wanted: an AS number, a router ID, and peers".into());
    };
    let (asn, id): (u32, Ipv4Addr) = (asn.parse()?, id.parse()?);
    let config =
        SpeakerConfig { listen: vec![SocketAddr::new(id.into(), PORT)], ..SpeakerConfig::new(asn, id) };
    let (handle, events) = Speaker::start(config)?;
    for word in words {
        handle.set_peer(peer(&word, asn, id)?).await?;
    }
    handle.view_complete().await?;
    tell(&handle, events).await
}

fn peer(word: &str, asn: u32, id: Ipv4Addr) -> Result<PeerConfig, Box<dyn Error>> {
    let client = word.strip_prefix("client=");
    let address: IpAddr = client.unwrap_or(word).parse().map_err(|error| format!("{word}: {error}"))?;
    Ok(PeerConfig {
        passive: true,
        graceful_restart: None,
        reflector_client: client.map(|_| id),
        import: ImportRules::everything(),
        export: client.map_or_else(ExportRules::default, |_| ExportRules::transit()),
        ..PeerConfig::new(address, asn)
    })
}

/// Says how many prefixes there are, until the speaker ends.
async fn tell(
    handle: &SpeakerHandle,
    mut events: mpsc::Receiver<Vec<RibEvent>>,
) -> Result<(), Box<dyn Error>> {
    let (mut changed, mut known) = (false, 0);
    let mut look = tokio::time::interval(LOOK);
    loop {
        tokio::select! {
            heard = events.recv() => match heard {
                Some(_) => changed = true,
                None => return Ok(()),
            },
            _ = look.tick(), if changed => {
                changed = false;
                let prefixes = handle.status().await?.prefixes;
                if prefixes != known {
                    println!("{prefixes} prefixes");
                    known = prefixes;
                }
            }
        }
    }
}
