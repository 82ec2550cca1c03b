//! Making links.

use std::os::fd::AsRawFd;

use netlink_packet_route::link::{
    InfoBridge, InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use super::super::codec::{bytes, check_name, kinds};
use super::super::{MacAddress, Rtnl};
use crate::error::Result;
use crate::netlink::{Request, flags};
use crate::netns::NetNs;

/// Settings of a new bridge; what is `None` is left to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BridgeOptions {
    /// Frames are told apart by VLAN.
    pub vlan_filtering: Option<bool>,
}

/// The other end of a new virtual Ethernet pair.
#[derive(Debug, Default)]
pub struct VethPeer<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its largest packet in bytes; `None` is 1500.
    pub mtu: Option<u32>,
    /// Its Ethernet address; `None` is a random one.
    pub mac: Option<MacAddress>,
    /// The namespace it is born in; `None` is this one.
    pub netns: Option<&'a NetNs>,
}

/// What kind of link to make.
#[derive(Debug)]
pub enum NewLinkKind<'a> {
    /// A bridge.
    Bridge(BridgeOptions),
    /// A virtual Ethernet pair.
    Veth(VethPeer<'a>),
    /// A dummy.
    Dummy,
    /// An intermediate functional block: what is redirected to it leaves through its queueing discipline and goes on
    /// where it came from. So packets that arrive can be shaped.
    Ifb,
}

/// A link to make, in one message.
#[derive(Debug)]
pub struct NewLink<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it is.
    pub kind: NewLinkKind<'a>,
    /// Largest packet in bytes; `None` is the kind's own.
    pub mtu: Option<u32>,
    /// Ethernet address; `None` is a random one.
    pub mac: Option<MacAddress>,
    /// The bridge it becomes a port of.
    pub master: Option<u32>,
    /// The length of its queue in packets; `None` is the kind's own. It says which queueing discipline the kernel
    /// gives it.
    pub queue_length: Option<u32>,
    /// Set it up at once.
    pub up: bool,
}

impl<'a> NewLink<'a> {
    /// A link of that name and kind, and all else as the kernel likes, down.
    pub fn new(name: &'a str, kind: NewLinkKind<'a>) -> Self {
        Self { name, kind, mtu: None, mac: None, master: None, queue_length: None, up: false }
    }

    /// A bridge.
    pub fn bridge(name: &'a str, options: BridgeOptions) -> Self {
        Self::new(name, NewLinkKind::Bridge(options))
    }

    /// A virtual Ethernet pair.
    pub fn veth(name: &'a str, peer: VethPeer<'a>) -> Self {
        Self::new(name, NewLinkKind::Veth(peer))
    }

    /// A dummy.
    pub fn dummy(name: &'a str) -> Self {
        Self::new(name, NewLinkKind::Dummy)
    }

    /// An intermediate functional block.
    pub fn ifb(name: &'a str) -> Self {
        Self::new(name, NewLinkKind::Ifb)
    }

    fn operation(&self) -> String {
        let name = self.name;
        match &self.kind {
            NewLinkKind::Bridge(_) => format!("create bridge {name}"),
            NewLinkKind::Dummy => format!("create dummy {name}"),
            NewLinkKind::Ifb => format!("create ifb {name}"),
            NewLinkKind::Veth(peer) => match peer.netns {
                Some(netns) => {
                    format!("create veth {name} with peer {} in {}", peer.name, netns.path().display())
                }
                None => format!("create veth {name} with peer {}", peer.name),
            },
        }
    }
}

fn common(name: &str, mtu: Option<u32>, mac: Option<MacAddress>) -> Vec<LinkAttribute> {
    let mut attributes = vec![LinkAttribute::IfName(name.to_owned())];
    attributes.extend(mtu.map(LinkAttribute::Mtu));
    attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
    attributes
}

/// The kernel would make a queue for each processor, and then take all but one out of use: a fifth of what a pair costs
/// on a machine of two processors, and more with each one more.
fn one_queue() -> [LinkAttribute; 2] {
    [LinkAttribute::NumTxQueues(1), LinkAttribute::NumRxQueues(1)]
}

fn peer_message(peer: &VethPeer<'_>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes = common(peer.name, peer.mtu, peer.mac);
    message.attributes.extend(one_queue());
    message.attributes.extend(peer.netns.map(|netns| LinkAttribute::NetNsFd(netns.as_raw_fd())));
    message
}

fn info(kind: &NewLinkKind<'_>) -> Vec<LinkInfo> {
    match kind {
        NewLinkKind::Bridge(options) => {
            let mut data = Vec::new();
            data.extend(options.vlan_filtering.map(InfoBridge::VlanFiltering));
            vec![LinkInfo::Kind(InfoKind::Bridge), LinkInfo::Data(InfoData::Bridge(data))]
        }
        NewLinkKind::Veth(peer) => vec![
            LinkInfo::Kind(InfoKind::Veth),
            LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer_message(peer)))),
        ],
        NewLinkKind::Dummy => vec![LinkInfo::Kind(InfoKind::Dummy)],
        NewLinkKind::Ifb => vec![LinkInfo::Kind(InfoKind::Ifb)],
    }
}

impl NewLink<'_> {
    pub(crate) fn request(&self) -> Result<Request> {
        let operation = self.operation();
        check_name(&operation, self.name)?;
        if let NewLinkKind::Veth(peer) = &self.kind {
            check_name(&operation, peer.name)?;
        }
        let mut message = LinkMessage::default();
        message.attributes = common(self.name, self.mtu, self.mac);
        if matches!(self.kind, NewLinkKind::Veth(_)) {
            message.attributes.extend(one_queue());
        }
        message.attributes.extend(self.master.map(LinkAttribute::Controller));
        message.attributes.extend(self.queue_length.map(LinkAttribute::TxQueueLen));
        message.attributes.push(LinkAttribute::LinkInfo(info(&self.kind)));
        if self.up {
            message.header.flags = LinkFlags::Up;
            message.header.change_mask = LinkFlags::Up;
        }
        Ok(Request {
            operation,
            kind: kinds::NEW_LINK,
            flags: flags::CREATE | flags::EXCLUSIVE,
            payload: bytes(&message),
        })
    }
}

impl Rtnl {
    /// Makes a link. A link of that name is an error with `is_exists()`; so is, for a pair, the peer's name in its
    /// own namespace.
    pub fn create_link(&mut self, link: &NewLink<'_>) -> Result<()> {
        self.ask(&link.request()?).map(drop)
    }
}
