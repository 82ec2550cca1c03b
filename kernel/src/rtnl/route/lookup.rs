//! Asking the kernel where it would send a packet.

use std::net::IpAddr;

use netlink_packet_core::Parseable;
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteMessage, RouteMetric};
use nix::errno::Errno;
use prefix::Family;

use super::super::Rtnl;
use super::super::codec::{address_family, bytes, decode_event, kinds};
use super::RouteKind;
use crate::error::{KernelError, Result};

/// Where packets to an address go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// [`RouteKind::Local`]: the address is this machine's.
    pub kind: RouteKind,
    /// The number of the device they leave by; `lo` for addresses of this machine.
    pub link: Option<u32>,
    /// The router that takes them further; `None`: the address is on the link.
    pub gateway: Option<IpAddr>,
    /// The largest packet that goes all the way, in bytes, where the route says so or the kernel has learnt it.
    pub mtu: Option<u32>,
}

impl Rtnl {
    /// Where the kernel would send a packet from this machine to `address`; `None` if nowhere: no route leads there, one that
    /// drops does (IPv6 tells it as a way of that kind), or the kernel does not have the family.
    pub fn way_to(&mut self, address: IpAddr) -> Result<Option<Way>> {
        let family = Family::of(address);
        let mut message = RouteMessage::default();
        message.header.address_family = address_family(family);
        message.header.destination_prefix_length = family.bits();
        message.attributes.push(RouteAttribute::Destination(address.into()));
        let operation = format!("look up the route to {address}");
        let answers = match self.socket.request(&operation, kinds::GET_ROUTE, 0, &bytes(&message)) {
            Err(error) if is_nowhere(&error) => return Ok(None),
            answers => answers?,
        };
        let answer = answers.iter().find(|answer| answer.kind == kinds::NEW_ROUTE);
        Ok(answer
            .and_then(|answer| decode_event(answer, RouteMessage::parse))
            .as_ref()
            .map(Way::from_message))
    }
}

/// No route, and the answers of `unreachable`, `blackhole` and `prohibit` (`fib_props` in the kernel's `fib_semantics.c`).
fn is_nowhere(error: &KernelError) -> bool {
    let dropped = [Errno::ENETUNREACH, Errno::EHOSTUNREACH, Errno::EINVAL, Errno::EACCES];
    dropped.contains(&error.errno) || error.is_unsupported()
}

impl Way {
    fn from_message(message: &RouteMessage) -> Self {
        let mut way = Self { kind: message.header.kind.into(), link: None, gateway: None, mtu: None };
        for attribute in &message.attributes {
            match attribute {
                RouteAttribute::Oif(link) => way.link = Some(*link),
                RouteAttribute::Gateway(RouteAddress::Inet(address)) => way.gateway = Some((*address).into()),
                RouteAttribute::Gateway(RouteAddress::Inet6(address)) => {
                    way.gateway = Some((*address).into());
                }
                RouteAttribute::Metrics(metrics) => {
                    way.mtu = metrics.iter().find_map(|metric| match metric {
                        RouteMetric::Mtu(mtu) => Some(*mtu),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        way
    }
}
