//! Answers to `routerd bgp`, on the root-only socket.

use std::net::IpAddr;

use bgp::packet::Attributes;
use bgp::{Advertised, RibEntry, SpeakerGone, SpeakerHandle};
use prefix::Prefix;
use serde_json::{Value, json};

use super::link::Link;
use super::status;

/// What the speaker is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Its peers.
    Neighbors,
    /// All that it knows.
    Rib,
    /// What it has told a peer.
    Advertised(IpAddr),
    /// What becomes of a prefix, and why.
    Explain(Prefix),
}

impl Question {
    /// Reads the words after `bgp`, as they come over the socket and from the command line.
    pub fn parse(words: &[&str]) -> Result<Self, String> {
        match words {
            ["neighbors"] => Ok(Self::Neighbors),
            ["rib"] => Ok(Self::Rib),
            ["advertised", peer] => {
                let address = peer.parse().map_err(|_| format!("{peer:?} is not the address of a peer"))?;
                Ok(Self::Advertised(address))
            }
            ["explain", text] => Ok(Self::Explain(prefix(text)?)),
            _ => {
                Err("write `routerd bgp neighbors`, `rib`, `advertised PEER` or `explain PREFIX`".to_owned())
            }
        }
    }

    /// The words that [`Question::parse`] reads.
    pub fn words(&self) -> String {
        match self {
            Self::Neighbors => "neighbors".to_owned(),
            Self::Rib => "rib".to_owned(),
            Self::Advertised(peer) => format!("advertised {peer}"),
            Self::Explain(prefix) => format!("explain {prefix}"),
        }
    }
}

/// A prefix, or an address for itself alone.
fn prefix(text: &str) -> Result<Prefix, String> {
    let host = || text.parse().map(Prefix::host);
    text.parse().or_else(|_| host()).map_err(|_| format!("{text:?} is neither a prefix nor an address"))
}

/// The answer, or why there is none.
pub async fn answer(link: &Link, words: &str) -> Result<Value, String> {
    let question = Question::parse(&words.split_whitespace().collect::<Vec<_>>())?;
    let speaker = link.speaker().ok_or(
        "no BGP speaker runs on this node; `routerd status` says why in the problems of the plane advertise",
    )?;
    let answered = match question {
        Question::Neighbors => speaker.status().await.map(|status| {
            Ok(status::render(&status, &link.bfd().map(|bfd| bfd.status()).unwrap_or_default()))
        }),
        Question::Rib => {
            speaker.rib().await.map(|rib| Ok(json!({"routes": rib.iter().map(route).collect::<Vec<_>>()})))
        }
        Question::Advertised(peer) => speaker.advertised(peer).await.map(|told| match told {
            Some(routes) => {
                Ok(json!({"peer": peer, "routes": routes.iter().map(advertised).collect::<Vec<_>>()}))
            }
            None => Err(format!("{peer} is no peer; `routerd bgp neighbors` lists them")),
        }),
        Question::Explain(prefix) => explain(&speaker, prefix).await.map(Ok),
    };
    answered.map_err(|gone| gone.to_string())?
}

/// Every path to a prefix with what becomes of it, and who is told which.
async fn explain(speaker: &SpeakerHandle, prefix: Prefix) -> Result<Value, SpeakerGone> {
    let entry = speaker.route(prefix).await?;
    let mut told = Vec::new();
    for peer in speaker.status().await?.peers {
        let routes = speaker.advertised(peer.address).await?.unwrap_or_default();
        let its = routes.iter().find(|route| route.prefix == prefix).map(advertised);
        told.push(json!({"peer": peer.address, "state": peer.state.to_string(), "route": its}));
    }
    let paths = entry.as_ref().map(paths).unwrap_or_default();
    let next_hops = entry.map(|entry| entry.next_hops).unwrap_or_default();
    Ok(json!({"prefix": prefix, "next_hops": next_hops, "paths": paths, "told": told}))
}

fn route(entry: &RibEntry) -> Value {
    json!({"prefix": entry.prefix, "next_hops": entry.next_hops, "paths": paths(entry)})
}

fn paths(entry: &RibEntry) -> Vec<Value> {
    let path = |path: &bgp::RibPath| {
        let mut value = attributes(&path.attributes);
        value["from"] = json!(path.source.peer());
        value["next_hop"] = json!(path.next_hop);
        value["stale"] = json!(path.age != bgp::rib::Age::Fresh);
        value["refused"] = json!(path.refused);
        value["used"] = json!(path.used);
        value
    };
    entry.paths.iter().map(path).collect()
}

fn advertised(route: &Advertised) -> Value {
    let mut value = attributes(&route.attributes);
    value["prefix"] = json!(route.prefix);
    value["next_hop"] = json!(route.next_hop);
    value
}

/// Attributes that people ask for; communities as they are written.
fn attributes(attributes: &Attributes) -> Value {
    let pair = |number: &u32| format!("{}:{}", number >> 16, number & 0xffff);
    let triple = |(global, one, two): &(u32, u32, u32)| format!("{global}:{one}:{two}");
    json!({
        "as_path": attributes.as_path.to_string(),
        "local_pref": attributes.local_pref,
        "med": attributes.med,
        "communities": attributes.communities.iter().map(pair).collect::<Vec<_>>(),
        "large_communities": attributes.large_communities.iter().map(triple).collect::<Vec<_>>(),
        "originator_id": attributes.originator_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read_as_they_are_written() {
        for text in ["neighbors", "rib", "advertised 192.0.2.9", "explain 10.1.0.0/24"] {
            let question = Question::parse(&text.split(' ').collect::<Vec<_>>()).unwrap();
            assert_eq!(question.words(), text);
        }
        let host = Question::parse(&["explain", "2001:db8::1"]);
        assert_eq!(host, Ok(Question::Explain("2001:db8::1/128".parse().unwrap())));
        for wrong in [&["peers"][..], &[], &["advertised"], &["advertised", "x"], &["explain", "10.0.0.0/33"]]
        {
            assert!(Question::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
