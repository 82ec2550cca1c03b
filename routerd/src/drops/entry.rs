//! A refused packet as it is shown.

use std::net::IpAddr;
use std::time::SystemTime;

use kernel::nflog::{Flow, Packet, Transport};
use serde::Serialize;

use super::clock;
use super::names::Name;
use crate::policy::{Direction, Reason};

/// One end of a packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct End {
    /// Its address.
    pub address: IpAddr,
    /// Who has it, as far as the cluster shows it.
    #[serde(flatten)]
    pub name: Option<Name>,
}

/// Type and code of an ICMP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Icmp {
    /// The type.
    #[serde(rename = "type")]
    pub kind: u8,
    /// The code.
    pub code: u8,
}

/// A refused packet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Refused {
    /// When: UTC, as RFC 3339 has it.
    pub time: String,
    /// Which direction of the pod's traffic was judged: `ingress`, `egress`.
    pub direction: &'static str,
    /// The pod that is protected (ingress) or restricted (egress).
    pub pod: End,
    /// The other end.
    pub peer: End,
    /// The transport protocol: a name or a number.
    pub protocol: String,
    /// The port it goes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The port it comes from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// For ICMP and ICMPv6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<Icmp>,
    /// Why, in a word for programs.
    pub reason: &'static str,
    /// Why, for people.
    pub message: String,
}

/// What the kernel says of a refused packet, before anybody was asked for names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raw {
    time: SystemTime,
    direction: Direction,
    reason: Reason,
    flow: Flow,
}

impl Raw {
    /// A logged packet; `None` if it is not from our rules, or no IP packet.
    pub(super) fn new(packet: &Packet, now: SystemTime) -> Option<Self> {
        let (direction, reason) = Reason::of_log_prefix(&packet.prefix)?;
        Some(Self { time: packet.time.unwrap_or(now), direction, reason, flow: packet.flow? })
    }

    /// The addresses that names are wanted of.
    pub(super) fn addresses(&self) -> [IpAddr; 2] {
        [self.flow.source, self.flow.destination]
    }

    /// With the names of those who have the addresses.
    pub(super) fn named(&self, name: impl Fn(IpAddr) -> Option<Name>) -> Refused {
        let end = |address| End { address, name: name(address) };
        let (source, destination) = (end(self.flow.source), end(self.flow.destination));
        let (pod, peer) = match self.direction {
            Direction::Ingress => (destination, source),
            Direction::Egress => (source, destination),
        };
        let (mut port, mut source_port, mut icmp) = (None, None, None);
        match self.flow.transport {
            Some(Transport::Ports { source, destination }) => {
                (port, source_port) = (Some(destination), Some(source));
            }
            Some(Transport::Icmp { kind, code }) => icmp = Some(Icmp { kind, code }),
            None => {}
        }
        Refused {
            time: clock::text(self.time),
            direction: self.direction.word(),
            pod,
            peer,
            protocol: protocol(self.flow.protocol),
            port,
            source_port,
            icmp,
            reason: self.reason.word(),
            message: self.reason.to_string(),
        }
    }
}

/// The names of the IANA registry, of those that people meet.
fn protocol(number: u8) -> String {
    let name = match number {
        1 => "ICMP",
        2 => "IGMP",
        4 => "IPIP",
        6 => "TCP",
        17 => "UDP",
        33 => "DCCP",
        41 => "IPv6",
        47 => "GRE",
        50 => "ESP",
        51 => "AH",
        58 => "ICMPv6",
        132 => "SCTP",
        136 => "UDPLite",
        number => return number.to_string(),
    };
    name.to_owned()
}
