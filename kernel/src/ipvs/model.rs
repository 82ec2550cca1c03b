//! What IPVS knows: virtual services, their destinations, counters and timeouts.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use prefix::Family;

/// What a virtual service is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceKey {
    /// Packets of a transport protocol to an address and port.
    Address {
        /// IP protocol number: 6 TCP, 17 UDP, 132 SCTP.
        protocol: u8,
        /// The virtual address.
        address: IpAddr,
        /// The virtual port; 0 takes every port and needs persistence.
        port: u16,
    },
    /// Packets that carry a firewall mark.
    Mark {
        /// The family of the packets.
        family: Family,
        /// The mark, not 0.
        mark: u32,
    },
}

impl ServiceKey {
    /// The family of the virtual address.
    pub fn family(&self) -> Family {
        match self {
            ServiceKey::Address { address, .. } => Family::of(*address),
            ServiceKey::Mark { family, .. } => *family,
        }
    }

    /// The virtual address, if it is found by one.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            ServiceKey::Address { address, .. } => Some(*address),
            ServiceKey::Mark { .. } => None,
        }
    }
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServiceKey::Address { protocol, address, port } => {
                let socket = SocketAddr::new(*address, *port);
                match protocol {
                    6 => write!(f, "TCP {socket}"),
                    17 => write!(f, "UDP {socket}"),
                    132 => write!(f, "SCTP {socket}"),
                    other => write!(f, "protocol {other} {socket}"),
                }
            }
            ServiceKey::Mark { family, mark } => write!(f, "{family} mark {mark:#x}"),
        }
    }
}

/// The settable flags of a virtual service (`IP_VS_SVC_F_*`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceFlags(u32);

impl ServiceFlags {
    /// A client stays with its destination.
    pub const PERSISTENT: Self = Self(0x1);
    /// Every UDP packet is scheduled anew.
    pub const ONE_PACKET: Self = Self(0x4);
    /// The scheduler's first flag: fallback of `sh` and `mh`.
    pub const SCHEDULER_1: Self = Self(0x8);
    /// The scheduler's second flag: the source port counts in `sh` and `mh`.
    pub const SCHEDULER_2: Self = Self(0x10);
    /// The scheduler's third flag.
    pub const SCHEDULER_3: Self = Self(0x20);
    /// The kernel's own `IP_VS_SVC_F_HASHED`: set on everything it knows, never configured.
    pub(super) const HASHED: u32 = 0x2;

    /// No flag.
    pub fn empty() -> Self {
        Self(0)
    }

    /// The flags of a number as the kernel writes it, without its own bit.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits & !Self::HASHED)
    }

    /// The number the kernel knows them by.
    pub fn bits(self) -> u32 {
        self.0
    }

    /// These and `other`.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// True if all of `other` are set.
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Which bits of a client's address persistence looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Netmask {
    /// A mask.
    V4(Ipv4Addr),
    /// A prefix length, 1 to 128.
    V6(u32),
}

impl Netmask {
    /// The mask that tells every client of `family` apart.
    pub fn host(family: Family) -> Self {
        match family {
            Family::V4 => Netmask::V4(Ipv4Addr::BROADCAST),
            Family::V6 => Netmask::V6(128),
        }
    }
}

/// The configuration of a virtual service. What the kernel reads back compares equal to what was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What it is found by.
    pub key: ServiceKey,
    /// The scheduler, as `rr`.
    pub scheduler: String,
    /// Its flags.
    pub flags: ServiceFlags,
    /// Seconds a client without connections stays with its destination; 0 without persistence.
    pub persistence_seconds: u32,
    /// Which clients persistence takes for one.
    pub netmask: Netmask,
    /// The persistence engine, as `sip`.
    pub persistence_engine: Option<String>,
}

impl Service {
    /// A service without persistence.
    pub fn new(key: ServiceKey, scheduler: impl Into<String>) -> Self {
        Self {
            key,
            scheduler: scheduler.into(),
            flags: ServiceFlags::empty(),
            persistence_seconds: 0,
            netmask: Netmask::host(key.family()),
            persistence_engine: None,
        }
    }
}

/// How packets get to a destination (`IP_VS_CONN_F_FWD_MASK`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Forwarding {
    /// Destination address and port are rewritten; replies must pass here.
    Masquerade,
    /// Delivered on this node.
    LocalNode,
    /// Sent in a tunnel.
    Tunnel,
    /// Routed unchanged (direct routing).
    Route,
    /// Past the cache.
    Bypass,
    /// A method this code does not know.
    Other(u32),
}

impl Forwarding {
    /// The method of the kernel's number.
    pub fn from_number(number: u32) -> Self {
        match number & 7 {
            0 => Forwarding::Masquerade,
            1 => Forwarding::LocalNode,
            2 => Forwarding::Tunnel,
            3 => Forwarding::Route,
            4 => Forwarding::Bypass,
            other => Forwarding::Other(other),
        }
    }

    /// The kernel's number.
    pub fn number(self) -> u32 {
        match self {
            Forwarding::Masquerade => 0,
            Forwarding::LocalNode => 1,
            Forwarding::Tunnel => 2,
            Forwarding::Route => 3,
            Forwarding::Bypass => 4,
            Forwarding::Other(number) => number,
        }
    }
}

/// How a tunnelled destination is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tunnel {
    /// 0 IPIP, 1 GUE, 2 GRE.
    pub kind: u8,
    /// UDP port of GUE.
    pub port: u16,
    /// `IP_VS_TUNNEL_ENCAP_FLAG_*`.
    pub flags: u16,
}

/// The configuration of a destination (a real server).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Destination {
    /// Its address.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// How packets get there.
    pub forwarding: Forwarding,
    /// Its share; 0 takes no new connections and keeps those it has.
    pub weight: u32,
    /// Connections above which it takes no new ones; 0 is no limit.
    pub upper_threshold: u32,
    /// Connections below which it takes new ones again.
    pub lower_threshold: u32,
    /// The tunnel, with [`Forwarding::Tunnel`].
    pub tunnel: Tunnel,
}

impl Destination {
    /// A destination by rewriting addresses.
    pub fn masquerade(address: IpAddr, port: u16, weight: u32) -> Self {
        Self {
            address,
            port,
            forwarding: Forwarding::Masquerade,
            weight,
            upper_threshold: 0,
            lower_threshold: 0,
            tunnel: Tunnel::default(),
        }
    }

    /// What it is found by within its service.
    pub fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }
}

/// Traffic counters since the service or destination was made; rates are per second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Connections scheduled.
    pub connections: u64,
    /// Packets towards the destination.
    pub packets_in: u64,
    /// Packets from it.
    pub packets_out: u64,
    /// Bytes towards the destination.
    pub bytes_in: u64,
    /// Bytes from it.
    pub bytes_out: u64,
    /// Rate of connections.
    pub connection_rate: u64,
    /// Rate of packets in.
    pub packet_rate_in: u64,
    /// Rate of packets out.
    pub packet_rate_out: u64,
    /// Rate of bytes in.
    pub byte_rate_in: u64,
    /// Rate of bytes out.
    pub byte_rate_out: u64,
}

/// A virtual service as the kernel shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceEntry {
    /// Its configuration.
    pub service: Service,
    /// Its counters.
    pub stats: Stats,
}

/// A destination as the kernel shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DestinationEntry {
    /// Its configuration.
    pub destination: Destination,
    /// Established connections.
    pub active_connections: u32,
    /// Connections in any other state.
    pub inactive_connections: u32,
    /// Clients that persistence holds to it.
    pub persistent_connections: u32,
    /// Its counters.
    pub stats: Stats,
}

/// Timeouts of connections in seconds. In a change, 0 keeps what is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timeouts {
    /// Established TCP connections.
    pub tcp: u32,
    /// TCP connections after FIN.
    pub tcp_fin: u32,
    /// UDP flows.
    pub udp: u32,
}

/// What IPVS says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Info {
    /// Version, as `0x010201` for 1.2.1.
    pub version: u32,
    /// Buckets of the connection table.
    pub connection_table_size: u32,
}

/// The 16 bytes IPVS writes an address in: an IPv4 address is the first four.
pub(super) fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// The address of `family` at the start of `bytes`.
pub(super) fn address_from(family: Family, bytes: &[u8]) -> Option<IpAddr> {
    match family {
        Family::V4 => bytes.first_chunk::<4>().map(|octets| Ipv4Addr::from(*octets).into()),
        Family::V6 => bytes.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets).into()),
    }
}
