//! The typed link and its reading.

use std::fmt;

use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkExtentMask, LinkInfo, LinkMessage};

use super::super::codec::{bytes, check_name, kinds};
use super::super::{MacAddress, Rtnl};
use super::decode;
use crate::error::{KernelError, Result};
use crate::netlink::Request;

/// How often is looked for one link while changes overtake the looks. One would do, but kernels before 6.9 may pass over
/// one link where another one, beside it in a hash table, goes.
const LOOKS: usize = 4;

/// What a link is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum LinkKind {
    /// A device that no one made: hardware or loopback.
    Device,
    /// A bridge.
    Bridge,
    /// One end of a virtual Ethernet pair.
    Veth,
    /// A dummy.
    Dummy,
    /// An intermediate functional block.
    Ifb,
    /// VXLAN.
    Vxlan,
    /// IPv4 in IPv4.
    IpIp,
    /// IPv6 or IPv4 in IPv6.
    Ip6Tunnel,
    /// Another kind, by the kernel's name.
    Other(String),
}

impl From<&str> for LinkKind {
    fn from(kind: &str) -> Self {
        match kind {
            "bridge" => Self::Bridge,
            "veth" => Self::Veth,
            "dummy" => Self::Dummy,
            "ifb" => Self::Ifb,
            "vxlan" => Self::Vxlan,
            "ipip" => Self::IpIp,
            "ip6tnl" => Self::Ip6Tunnel,
            other => Self::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for LinkKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Device => "device",
            Self::Bridge => "bridge",
            Self::Veth => "veth",
            Self::Dummy => "dummy",
            Self::Ifb => "ifb",
            Self::Vxlan => "vxlan",
            Self::IpIp => "ipip",
            Self::Ip6Tunnel => "ip6tnl",
            Self::Other(name) => name,
        })
    }
}

/// The operational state (RFC 2863, `IF_OPER_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperState {
    /// The driver does not say; `lo`, dummies and tunnels are always so.
    Unknown,
    /// It carries packets.
    Up,
    /// It does not.
    Down,
    /// What it stands on is down, as a veth whose peer is down.
    LowerLayerDown,
    /// One of the rarer states, by number.
    Other(u8),
}

impl From<u8> for OperState {
    fn from(state: u8) -> Self {
        match state {
            0 => Self::Unknown,
            2 => Self::Down,
            3 => Self::LowerLayerDown,
            6 => Self::Up,
            other => Self::Other(other),
        }
    }
}

/// The settings of a link as the port of a bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BridgePort {
    /// A frame may leave by the port it came from.
    pub hairpin: bool,
    /// No frame passes to another isolated port.
    pub isolated: bool,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: LinkKind,
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Its Ethernet address; a tunnel has none.
    pub mac: Option<MacAddress>,
    /// The bridge (or other device) it is a port of.
    pub master: Option<u32>,
    /// It was set up (`IFF_UP`).
    pub up: bool,
    /// It has a carrier (`IFF_LOWER_UP`).
    pub lower_up: bool,
    /// How many users keep it promiscuous; a bridge port always has one.
    pub promiscuity: u32,
    /// Its own flag `IFF_PROMISC`.
    pub promiscuous: bool,
    /// Its own flag `IFF_ALLMULTI`.
    pub all_multicast: bool,
    /// The length of its queue in packets.
    pub queue_length: u32,
    /// Its operational state.
    pub oper_state: OperState,
    /// The other end's index (veth) or the device below it.
    pub peer_index: Option<u32>,
    /// The id, as this namespace counts, of the namespace that `peer_index` is in; `None` for this one.
    pub peer_netns: Option<i32>,
    /// A note for people; empty if there is none.
    pub alias: String,
    /// Of a bridge: VLAN filtering is on.
    pub vlan_filtering: bool,
    /// Of a bridge's port: its settings.
    pub port: Option<BridgePort>,
    /// Of a bridge's port: its number. A new port gets the lowest that is free, so it tells how many there were once.
    pub port_number: Option<u16>,
    /// Its `accept_ra`: 0 if it takes no router advertisements; `None` for a link without IPv6.
    pub accept_ra: Option<i32>,
}

impl Link {
    pub(super) fn empty(index: u32) -> Self {
        Self {
            index,
            name: String::new(),
            kind: LinkKind::Device,
            mtu: 0,
            mac: None,
            master: None,
            up: false,
            lower_up: false,
            promiscuity: 0,
            promiscuous: false,
            all_multicast: false,
            queue_length: 0,
            oper_state: OperState::Unknown,
            peer_index: None,
            peer_netns: None,
            alias: String::new(),
            vlan_filtering: false,
            port: None,
            port_number: None,
            accept_ra: None,
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} (index {})", self.kind, self.name, self.index)
    }
}

/// Which links are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Among<'a> {
    /// Those of one kind.
    Kind(&'a LinkKind),
    /// The ports of the bridge (or other device) with that index.
    PortsOf(u32),
}

impl Among<'_> {
    /// The kernel picks them, so it costs little among thousands of others.
    fn payload(self) -> Vec<u8> {
        let mut message = LinkMessage::default();
        message.attributes.push(match self {
            Self::Kind(kind) => {
                LinkAttribute::LinkInfo(vec![LinkInfo::Kind(InfoKind::Other(kind.to_string()))])
            }
            Self::PortsOf(master) => LinkAttribute::Controller(master),
        });
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        bytes(&message)
    }

    /// Old kernels show all links.
    fn has(self, link: &Link) -> bool {
        match self {
            Self::Kind(kind) => link.kind == *kind,
            Self::PortsOf(master) => link.master == Some(master),
        }
    }
}

impl fmt::Display for Among<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => write!(f, "links of kind {kind}"),
            Self::PortsOf(master) => write!(f, "ports of link {master}"),
        }
    }
}

impl Rtnl {
    /// All links of the namespace.
    pub fn links(&mut self) -> Result<Vec<Link>> {
        let mut message = LinkMessage::default();
        // Traffic counters make up most of the answer and nobody here reads them.
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let answers = self.socket.dump("list links", kinds::GET_LINK, &bytes(&message))?;
        Ok(decode(&answers))
    }

    /// All links of one kind.
    pub fn links_of_kind(&mut self, kind: &LinkKind) -> Result<Vec<Link>> {
        let among = Among::Kind(kind);
        let answers = self.socket.dump(&format!("list {among}"), kinds::GET_LINK, &among.payload())?;
        Ok(decode(&answers).into_iter().filter(|link| among.has(link)).collect())
    }

    /// One of these links that `is` asks for; `None` if there is none.
    ///
    /// Other than a list of all, this has an answer while links come and go all the time: what is there all the while is
    /// in each look of the kernel, also in one that a change overtook, and what is found is looked up once more.
    pub fn find_link(&mut self, among: Among<'_>, is: impl Fn(&Link) -> bool) -> Result<Option<Link>> {
        let (operation, payload) = (format!("look through {among}"), among.payload());
        for _ in 0..LOOKS {
            let dump = self.socket.dump_once(&operation, kinds::GET_LINK, &payload)?;
            for found in decode(&dump.messages).into_iter().filter(|link| among.has(link) && is(link)) {
                let now = self.link_by_index(found.index)?;
                if let Some(link) = now.filter(|link| among.has(link) && is(link)) {
                    return Ok(Some(link));
                }
            }
            if dump.whole {
                break;
            }
        }
        Ok(None)
    }

    /// The link of that name; `None` if there is none.
    pub fn link_by_name(&mut self, name: &str) -> Result<Option<Link>> {
        self.look_up(&look_up_named(name)?)
    }

    /// The link of that index; `None` if there is none.
    pub fn link_by_index(&mut self, index: u32) -> Result<Option<Link>> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.look_up(&look_up_request(format!("look up link number {index}"), message))
    }

    fn look_up(&mut self, request: &Request) -> Result<Option<Link>> {
        let answers = match self.ask(request) {
            Err(error) if error.is_not_found() => return Ok(None),
            answers => answers?,
        };
        match decode(&answers).pop() {
            Some(link) => Ok(Some(link)),
            None => Err(KernelError::malformed(&request.operation, "the kernel's answer holds no link")),
        }
    }
}

/// The request for the link that is called `name` when the kernel comes to it.
pub(crate) fn look_up_named(name: &str) -> Result<Request> {
    let operation = format!("look up link {name}");
    check_name(&operation, name)?;
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    Ok(look_up_request(operation, message))
}

fn look_up_request(operation: String, mut message: LinkMessage) -> Request {
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    Request { operation, kind: kinds::GET_LINK, flags: 0, payload: bytes(&message) }
}
