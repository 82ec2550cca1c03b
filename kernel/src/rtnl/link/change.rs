//! Changing and deleting links.

use std::hash::{BuildHasher, Hasher, RandomState};

use netlink_packet_route::link::{
    InfoBridgePort, InfoPortData, InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};

use super::super::codec::{bytes, check_name, kinds};
use super::super::{MacAddress, Rtnl};
use super::BridgePort;
use super::family::settings;
use crate::error::Result;
use crate::netlink::Request;

/// What to change of a link; what is `None` stays. All of it goes in one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LinkChange<'a> {
    /// Up or down.
    pub up: Option<bool>,
    /// Promiscuous or not.
    pub promiscuous: Option<bool>,
    /// All multicast packets are taken, or only those of joined groups.
    pub all_multicast: Option<bool>,
    /// Largest packet in bytes.
    pub mtu: Option<u32>,
    /// The length of its queue in packets.
    pub queue_length: Option<u32>,
    /// Ethernet address.
    pub mac: Option<MacAddress>,
    /// The bridge it is a port of; `Some(0)` takes it out.
    pub master: Option<u32>,
    /// A new name.
    pub name: Option<&'a str>,
    /// A note for people, at most 255 bytes; `ip link` shows it as `alias`.
    pub alias: Option<&'a str>,
    /// What its bridge does at it; it must be a port already.
    pub port: Option<BridgePort>,
    /// The kernel gives it an IPv6 link-local address when it comes up, or does not. One that it has stays.
    /// A link without IPv6 (the kernel's, or for an MTU below 1280) is an error with `is_unsupported()`, and
    /// nothing is changed.
    pub link_local: Option<bool>,
    /// Its IPv4 addresses are announced when it comes up or gets another Ethernet address (`arp_notify`).
    pub arp_notify: Option<bool>,
}

impl LinkChange<'_> {
    fn message(&self, index: u32) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        let switches = [
            (self.up, LinkFlags::Up),
            (self.promiscuous, LinkFlags::Promisc),
            (self.all_multicast, LinkFlags::Allmulti),
        ];
        for (wanted, flag) in switches {
            if let Some(on) = wanted {
                message.header.change_mask |= flag;
                message.header.flags.set(flag, on);
            }
        }
        let attributes = &mut message.attributes;
        attributes.extend(self.mtu.map(LinkAttribute::Mtu));
        attributes.extend(self.queue_length.map(LinkAttribute::TxQueueLen));
        attributes.extend(self.mac.map(|mac| LinkAttribute::Address(mac.0.to_vec())));
        attributes.extend(self.master.map(LinkAttribute::Controller));
        attributes.extend(self.name.map(|name| LinkAttribute::IfName(name.to_owned())));
        attributes.extend(self.alias.map(|alias| LinkAttribute::IfAlias(alias.to_owned())));
        attributes.extend(self.port.map(port_info));
        message
    }

    fn payload(&self, message: &LinkMessage) -> Vec<u8> {
        let mut payload = bytes(message);
        payload.extend_from_slice(settings(self.link_local, self.arp_notify).as_bytes());
        payload
    }

    fn operation(&self, index: u32) -> String {
        let mut words = vec![format!("set link {index}")];
        words.extend(self.up.map(|up| if up { "up".to_owned() } else { "down".to_owned() }));
        words.extend(self.promiscuous.map(|on| format!("promiscuous {on}")));
        words.extend(self.all_multicast.map(|on| format!("allmulticast {on}")));
        words.extend(self.mtu.map(|mtu| format!("mtu {mtu}")));
        words.extend(self.queue_length.map(|length| format!("txqueuelen {length}")));
        words.extend(self.mac.map(|mac| format!("address {mac}")));
        words.extend(self.master.map(|master| format!("master {master}")));
        words.extend(self.name.map(|name| format!("name {name}")));
        words.extend(self.alias.map(|alias| format!("alias {alias:?}")));
        let port = self.port;
        words.extend(port.map(|port| format!("hairpin {} isolated {}", port.hairpin, port.isolated)));
        words.extend(self.link_local.map(|on| format!("link-local address {on}")));
        words.extend(self.arp_notify.map(|on| format!("arp_notify {on}")));
        words.join(" ")
    }
}

fn port_info(port: BridgePort) -> LinkAttribute {
    LinkAttribute::LinkInfo(vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![
            InfoBridgePort::HairpinMode(port.hairpin),
            InfoBridgePort::Isolated(port.isolated),
        ])),
    ])
}

impl LinkChange<'_> {
    pub(crate) fn request(&self, index: u32) -> Result<Request> {
        let operation = self.operation(index);
        if let Some(name) = self.name {
            check_name(&operation, name)?;
        }
        let payload = self.payload(&self.message(index));
        Ok(Request { operation, kind: kinds::NEW_LINK, flags: 0, payload })
    }

    /// The change of the link that is called `name` when the kernel comes to it. It cannot be renamed this way.
    pub(crate) fn request_named(&self, name: &str) -> Result<Request> {
        let change = LinkChange { name: None, ..self.clone() };
        let operation = format!("{} ({name})", change.operation(0));
        check_name(&operation, name)?;
        let mut message = change.message(0);
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        let payload = change.payload(&message);
        Ok(Request { operation, kind: kinds::NEW_LINK, flags: 0, payload })
    }
}

/// The number of a group for one deletion, which nobody else has: of millions that no one would choose.
fn passing_group() -> u32 {
    let random = RandomState::new().build_hasher().finish();
    0x5200_0000 | u32::try_from(random & 0x00ff_ffff).unwrap_or_default()
}

fn into_group(index: u32, group: u32) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::Group(group));
    let operation = format!("put link {index} into group {group:#x}");
    Request { operation, kind: kinds::NEW_LINK, flags: 0, payload: bytes(&message) }
}

fn delete_group(group: u32) -> Request {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::Group(group));
    let operation = format!("delete the links of group {group:#x}");
    Request { operation, kind: kinds::DELETE_LINK, flags: 0, payload: bytes(&message) }
}

impl Rtnl {
    /// Changes a link.
    pub fn change_link(&mut self, index: u32, change: &LinkChange<'_>) -> Result<()> {
        self.ask(&change.request(index)?).map(drop)
    }

    /// Sets a link up.
    pub fn set_up(&mut self, index: u32) -> Result<()> {
        self.change_link(index, &LinkChange { up: Some(true), ..LinkChange::default() })
    }

    /// Sets a link down.
    pub fn set_down(&mut self, index: u32) -> Result<()> {
        self.change_link(index, &LinkChange { up: Some(false), ..LinkChange::default() })
    }

    /// Makes a link a port of the bridge `master`, or of none.
    pub fn set_master(&mut self, index: u32, master: Option<u32>) -> Result<()> {
        self.change_link(index, &LinkChange { master: Some(master.unwrap_or(0)), ..LinkChange::default() })
    }

    /// Deletes a link; a pair goes with either end.
    pub fn delete_link(&mut self, index: u32) -> Result<()> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        self.socket
            .request(&format!("delete link {index}"), kinds::DELETE_LINK, 0, &bytes(&message))
            .map(drop)
    }

    /// Deletes links so that the kernel waits once for all of them, and not for one after the other (each wait takes
    /// some 17 ms). One that is gone already is as good as deleted.
    ///
    /// They are put into a group of their own and deleted as that group, all in one system call.
    pub fn delete_links(&mut self, indexes: &[u32]) -> Result<()> {
        if indexes.len() > 1 {
            let group = passing_group();
            let mut requests: Vec<Request> = indexes.iter().map(|index| into_group(*index, group)).collect();
            requests.push(delete_group(group));
            if self.socket.request_all(&requests).is_ok() {
                return Ok(());
            }
        }
        // One of them is gone or does not let itself be deleted: what happens to each must be seen.
        let mut outcome = Ok(());
        for index in indexes {
            match self.delete_link(*index) {
                Err(error) if !error.is_not_found() => outcome = outcome.and(Err(error)),
                _ => {}
            }
        }
        outcome
    }

    /// Deletes the link of that name; `false` if there was none.
    pub fn delete_link_by_name(&mut self, name: &str) -> Result<bool> {
        let operation = format!("delete link {name}");
        check_name(&operation, name)?;
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        match self.socket.request(&operation, kinds::DELETE_LINK, 0, &bytes(&message)) {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }
}
