//! What BIRD, FRR and GoBGP said in one session each, recorded and said again: routes of both families, End-of-RIB, all of it once more when
//! asked for, the words of an administrator. `RECORD=1 cargo test -p bgp --test peers recorded` records anew, with the routers of this machine.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use bgp::fsm::State;
use bgp::packet::open::{encode_keepalive, encode_route_refresh};
use bgp::packet::{Capabilities, Open, Refresh, RestartCapability};
use bgp::{GracefulRestart, PeerConfig};
use prefix::Family;

use crate::exchange::{check_ours, peer};
use crate::kit::{ASN, Kind, Lan, Ours, Setup, v4, wait_for};

/// How long a router that has something to say takes to begin.
const SILENCE: Duration = Duration::from_secs(4);

fn setup(kind: Kind) -> Setup {
    Setup { graceful: Some(60), ..Setup::new(kind, ASN) }
}

fn file(kind: Kind) -> PathBuf {
    let name = format!("{kind:?}.hex").to_lowercase();
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(name)
}

/// The parts of a recording: what was said by itself, when it was asked for again, and at the end. A line each.
fn recording(kind: Kind) -> Vec<Vec<u8>> {
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let text = std::fs::read_to_string(file(kind)).unwrap();
    text.lines().map(|line| line.as_bytes().chunks(2).map(octet).collect()).collect()
}

fn open() -> Open {
    let restart = RestartCapability { seconds: 60, ..RestartCapability::default() };
    Open {
        asn: ASN,
        hold_time: 9,
        router_id: "192.0.2.1".parse().unwrap(),
        capabilities: Capabilities {
            families: Family::BOTH.into(),
            four_octet_as: true,
            route_refresh: true,
            enhanced_refresh: true,
            graceful_restart: Some(restart),
            ..Capabilities::default()
        },
    }
}

/// All that comes until nothing does for a while, without keepalives, of which there are more or fewer each time.
fn heard(stream: &mut TcpStream) -> Vec<u8> {
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let mut all = Vec::new();
    let mut header = [0; 19];
    while stream.read_exact(&mut header).is_ok() {
        let mut body = vec![0; usize::from(u16::from_be_bytes([header[16], header[17]])) - 19];
        stream.read_exact(&mut body).unwrap();
        let keepalive = header[18] == 4;
        if keepalive && all.len() > 200 {
            break;
        }
        all.extend(header);
        all.extend(body);
    }
    all
}

fn record(kind: Kind) {
    let lan = Lan::new();
    let listener = lan.ours.run_in(|| TcpListener::bind(SocketAddr::new(v4(1), 179))).unwrap();
    let router = lan.start(setup(kind));
    let mut stream = listener.accept().unwrap().0;
    stream.write_all(&[open().encode(), encode_keepalive()].concat()).unwrap();
    let mut parts = vec![heard(&mut stream)];
    for family in Family::BOTH {
        stream.write_all(&encode_route_refresh(family, Refresh::Request)).unwrap();
    }
    parts.push(heard(&mut stream));
    router.shut_session("maintenance");
    let mut end = Vec::new();
    // It may break the connection behind its last word.
    let _ = stream.read_to_end(&mut end);
    parts.push(end);
    let hex = |part: &Vec<u8>| {
        let octets: Vec<String> = part.iter().map(|octet| format!("{octet:02x}")).collect();
        octets.concat() + "\n"
    };
    std::fs::create_dir_all(file(kind).parent().unwrap()).unwrap();
    std::fs::write(file(kind), parts.iter().map(hex).collect::<String>()).unwrap();
}

#[test]
fn what_routers_said_once_has_the_same_end_each_time_it_is_said() {
    for kind in Kind::ALL {
        if std::env::var_os("RECORD").is_some() {
            record(kind);
        }
        // However the network cuts it.
        for size in [1, 23, 4096] {
            replay(kind, size);
        }
    }
}

fn replay(kind: Kind, size: usize) {
    let lan = Lan::new();
    let setup = setup(kind);
    let theirs = lan.join(kind.last());
    let parts = recording(kind);
    lan.ours.run_in(|| {
        let mut ours = Ours::start(1);
        let keep = Some(GracefulRestart { restart_time: 60, ..GracefulRestart::default() });
        ours.set_peer(PeerConfig {
            passive: true,
            graceful_restart: keep,
            hold_time: Some(90),
            ..peer(&setup)
        });
        // Its answer comes when the peer is known: before that the connection would be a stranger's.
        assert_eq!(ours.status(&setup).established, 0);
        let port = SocketAddr::new(v4(1), 179);
        let mut stream = theirs.run_in(|| {
            let mut stream = None;
            wait_for("our port", || {
                stream = TcpStream::connect(port).ok();
                stream.is_some()
            });
            stream.unwrap()
        });
        stream.set_nodelay(true).unwrap();
        let mut say = |part: &[u8]| {
            // A connection that was closed shows in what comes of it.
            part.chunks(size).for_each(|piece| drop(stream.write_all(piece)));
        };
        say(&parts[0]);
        ours.has(&setup.routes());
        check_ours(&ours, &setup);
        wait_for("its End-of-RIB", || ours.status(&setup).complete.len() == 2);
        let updates = ours.status(&setup).updates;
        say(&parts[1]);
        wait_for("all of it again", || ours.status(&setup).updates > updates);
        ours.has(&setup.routes());
        assert_eq!((ours.status(&setup).state, ours.status(&setup).established), (State::Established, 1));
        say(&parts[2]);
        wait_for("the end", || ours.status(&setup).lost == 1);
        let error = ours.status(&setup).last_error.unwrap();
        assert!(error.contains("the peer closed the session: administrative shutdown"), "{kind:?}: {error}");
    });
}
