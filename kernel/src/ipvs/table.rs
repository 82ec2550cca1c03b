//! All destinations at once, as `/proc/net/ip_vs` shows them: netlink gives those of one service at a time, which for
//! thousands of services are thousands of system calls.
//!
//! Source: `ip_vs_info_seq_show` in `net/netfilter/ipvs/ip_vs_ctl.c`.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::model::{Destination, ServiceKey};
use crate::error::{KernelError, Result};

/// The file of the calling thread's network namespace.
const TABLE: &str = "/proc/thread-self/net/ip_vs";

/// The destinations of services that are found by address. One that is not here (it came while the table was read, or has a
/// destination that the table does not show whole) has to be asked for by itself.
pub type Table = HashMap<ServiceKey, Vec<Destination>>;

/// Reads the table of the calling thread's network namespace.
pub fn read_table() -> Result<Table> {
    let text = std::fs::read_to_string(TABLE);
    text.map(|text| parse(&text)).map_err(|error| KernelError::io(format!("read {TABLE}"), &error))
}

/// The table in its text. What is not understood is left out.
fn parse(text: &str) -> Table {
    let mut table = Table::new();
    let mut current: Option<ServiceKey> = None;
    // The heading is of the form of a service and of its destinations.
    for line in text.lines().skip(3) {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("->") => {
                let Some(key) = current else { continue };
                if let Some(found) = destination(&mut words) {
                    table.entry(key).or_default().push(found);
                } else {
                    table.remove(&key);
                    current = None;
                }
            }
            Some(protocol) => {
                current = service(protocol, &mut words);
                if let Some(key) = current {
                    // One that is shown twice was moved while the table was read.
                    table.insert(key, Vec::new());
                }
            }
            None => {}
        }
    }
    table
}

fn service<'a>(protocol: &str, words: &mut impl Iterator<Item = &'a str>) -> Option<ServiceKey> {
    let protocol = match protocol {
        "TCP" => 6,
        "UDP" => 17,
        "SCTP" => 132,
        _ => return None,
    };
    let socket = socket(words.next()?)?;
    Some(ServiceKey::Address { protocol, address: socket.ip(), port: socket.port() })
}

/// Address, method, weight. Only of a rewritten one this is all.
fn destination<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<Destination> {
    let socket = socket(words.next()?)?;
    if words.next()? != "Masq" {
        return None;
    }
    Some(Destination::masquerade(socket.ip(), socket.port(), words.next()?.parse().ok()?))
}

/// `0A600001:0050` or `[fd00:0096:0000:0000:0000:0000:0000:0001]:0050`.
fn socket(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.rsplit_once(':')?;
    let address: IpAddr = match address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(six) => IpAddr::V6(six.parse().ok()?),
        None => Ipv4Addr::from(u32::from_str_radix(address, 16).ok()?).into(),
    };
    Some(SocketAddr::new(address, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  0A600001:0050 rr persistent 600 FFFFFFFF
  -> 0A010103:1F90      Masq    1      2          7
  -> 0A010202:1F90      Masq    0      0          0
FWM  00000007 rr
  -> 0A010103:0050      Tunnel  1      0          0
UDP  [fd00:0096:0000:0000:0000:0000:0000:0009]:0035 mh
  -> [fd00:0001:0001:0000:0000:0000:0000:0003]:14E9      Masq    1      0          0
TCP  0A600002:0050 wlc
  -> 0A010103:1F90      Masq    1      0          0
  -> 0A010103:1F91      Route   1      0          0
SCTP 0A600003:0051 rr
";

    fn key(protocol: u8, socket: &str) -> ServiceKey {
        let socket: SocketAddr = socket.parse().unwrap();
        ServiceKey::Address { protocol, address: socket.ip(), port: socket.port() }
    }

    fn backend(socket: &str, weight: u32) -> Destination {
        let socket: SocketAddr = socket.parse().unwrap();
        Destination::masquerade(socket.ip(), socket.port(), weight)
    }

    #[test]
    fn services_are_read_with_their_destinations_but_those_that_are_not_shown_whole() {
        let expected = Table::from([
            (key(6, "10.96.0.1:80"), vec![backend("10.1.1.3:8080", 1), backend("10.1.2.2:8080", 0)]),
            (key(17, "[fd00:96::9]:53"), vec![backend("[fd00:1:1::3]:5353", 1)]),
            (key(132, "10.96.0.3:81"), Vec::new()),
        ]);
        assert_eq!(parse(TEXT), expected);
    }

    #[test]
    fn what_is_not_understood_is_left_out() {
        for text in
            ["", "a\nb\nc\nTCP\n", "a\nb\nc\n  -> 0A010103:1F90 Masq 1 0 0\n", "a\nb\nc\nTCP  X:1 rr\n"]
        {
            assert_eq!(parse(text), Table::new(), "{text:?}");
        }
    }
}
