//! A link in the kernel's answer.
//!
//! Own code for this one object: the kernel tells some 60 attributes of a link, and each ADD and each change on the node
//! reads several links, of which a dozen attributes count. To decode all of them took longer than the kernel took to
//! write them.

use super::super::MacAddress;
use super::super::codec::kinds;
use super::{BridgePort, Link, LinkKind, OperState};
use crate::error::{KernelError, Result};
use crate::netlink::{Attribute, AttributeReader, Message};

/// `struct ifinfomsg`: family, padding, type, index, flags, mask.
const HEADER: usize = 16;
/// The family of a link as such; in others, as `AF_BRIDGE`, the attributes mean other things.
const UNSPEC: u8 = 0;

/// `IFF_*` (`include/uapi/linux/if.h`).
mod flags {
    pub(super) const UP: u32 = 1;
    pub(super) const PROMISCUOUS: u32 = 1 << 8;
    pub(super) const ALL_MULTICAST: u32 = 1 << 9;
    pub(super) const LOWER_UP: u32 = 1 << 16;
}

/// `IFLA_*` (`include/uapi/linux/if_link.h`).
mod attribute {
    pub(super) const ADDRESS: u16 = 1;
    pub(super) const NAME: u16 = 3;
    pub(super) const MTU: u16 = 4;
    pub(super) const LINK: u16 = 5;
    pub(super) const MASTER: u16 = 10;
    pub(super) const QUEUE_LENGTH: u16 = 13;
    pub(super) const OPER_STATE: u16 = 16;
    pub(super) const INFO: u16 = 18;
    pub(super) const ALIAS: u16 = 20;
    pub(super) const FAMILIES: u16 = 26;
    pub(super) const PROMISCUITY: u16 = 30;
    pub(super) const LINK_NETNS: u16 = 37;
}

/// Inside of `IFLA_LINKINFO` (`IFLA_INFO_*`).
mod info {
    pub(super) const KIND: u16 = 1;
    pub(super) const DATA: u16 = 2;
    pub(super) const PORT_KIND: u16 = 4;
    pub(super) const PORT_DATA: u16 = 5;
    /// `IFLA_BR_VLAN_FILTERING`, of a bridge's data.
    pub(super) const VLAN_FILTERING: u16 = 7;
    /// `IFLA_BRPORT_MODE`, `_NO` and `_ISOLATED`, of a bridge port's data.
    pub(super) const HAIRPIN: u16 = 4;
    pub(super) const PORT_NUMBER: u16 = 18;
    pub(super) const ISOLATED: u16 = 33;
}

/// Inside of `IFLA_AF_SPEC`: a family's number, then `IFLA_INET6_CONF`, numbers by `DEVCONF_*`.
const INET6: u16 = 10;
const INET6_CONF: u16 = 2;
const ACCEPT_RA: usize = 3;

impl Link {
    /// The link in a message; `None` for what a bridge says about its ports, and for what is not understood, which is
    /// logged.
    pub(crate) fn read(message: &Message) -> Option<Self> {
        let payload = message.payload.as_slice();
        let family = *payload.first()?;
        match Self::decode(payload) {
            Ok(link) => (family == UNSPEC).then_some(link),
            // The attributes of another family may have other forms.
            Err(_) if family != UNSPEC => None,
            Err(error) => {
                tracing::warn!(kind = message.kind, %error, "the kernel sent a link that is not understood");
                None
            }
        }
    }

    fn decode(payload: &[u8]) -> Result<Self> {
        let (header, attributes) = payload.split_at_checked(HEADER).ok_or_else(|| {
            KernelError::malformed("read a link", format!("{} bytes are no link", payload.len()))
        })?;
        let [_, _, _, _, i0, i1, i2, i3, f0, f1, f2, f3, ..] = *header else {
            return Err(KernelError::malformed("read a link", "its header is too short"));
        };
        let mut link = Self::empty(u32::from_ne_bytes([i0, i1, i2, i3]));
        let set = u32::from_ne_bytes([f0, f1, f2, f3]);
        link.up = set & flags::UP != 0;
        link.lower_up = set & flags::LOWER_UP != 0;
        link.promiscuous = set & flags::PROMISCUOUS != 0;
        link.all_multicast = set & flags::ALL_MULTICAST != 0;
        for attribute in AttributeReader::new(attributes) {
            link.take(&attribute?)?;
        }
        Ok(link)
    }

    fn take(&mut self, found: &Attribute<'_>) -> Result<()> {
        match found.kind {
            attribute::NAME => self.name = found.string(),
            attribute::ALIAS => self.alias = found.string(),
            attribute::MTU => self.mtu = found.u32()?,
            attribute::ADDRESS => self.mac = MacAddress::from_bytes(found.payload),
            attribute::MASTER => self.master = Some(found.u32()?),
            attribute::PROMISCUITY => self.promiscuity = found.u32()?,
            attribute::QUEUE_LENGTH => self.queue_length = found.u32()?,
            attribute::OPER_STATE => self.oper_state = OperState::from(found.u8()?),
            attribute::LINK => self.peer_index = Some(found.u32()?).filter(|index| *index != 0),
            attribute::LINK_NETNS => {
                self.peer_netns = Some(found.u32()?.cast_signed()).filter(|id| *id >= 0);
            }
            attribute::FAMILIES => self.accept_ra = accept_ra(found),
            attribute::INFO => self.take_info(found)?,
            _ => {}
        }
        Ok(())
    }

    fn take_info(&mut self, found: &Attribute<'_>) -> Result<()> {
        let infos = found.nested();
        if let Some(kind) = infos.find(info::KIND) {
            self.kind = LinkKind::from(kind.string().as_str());
        }
        let is_on = |data: &AttributeReader<'_>, kind| match data.find(kind) {
            Some(attribute) => attribute.u8().map(|value| value != 0),
            None => Ok(false),
        };
        if let (LinkKind::Bridge, Some(data)) = (&self.kind, infos.find(info::DATA)) {
            self.vlan_filtering = is_on(&data.nested(), info::VLAN_FILTERING)?;
        }
        let is_port = infos.find(info::PORT_KIND).is_some_and(|kind| kind.string() == "bridge");
        if let (true, Some(data)) = (is_port, infos.find(info::PORT_DATA)) {
            let data = data.nested();
            self.port_number = data.find(info::PORT_NUMBER).map(|number| number.u16()).transpose()?;
            self.port = Some(BridgePort {
                hairpin: is_on(&data, info::HAIRPIN)?,
                isolated: is_on(&data, info::ISOLATED)?,
            });
        }
        Ok(())
    }
}

fn accept_ra(families: &Attribute<'_>) -> Option<i32> {
    let settings = families.nested().find(INET6)?.nested().find(INET6_CONF)?;
    settings.payload.as_chunks().0.get(ACCEPT_RA).map(|number| i32::from_ne_bytes(*number))
}

/// The links in the kernel's answers.
pub(crate) fn decode(answers: &[Message]) -> Vec<Link> {
    answers.iter().filter(|answer| answer.kind == kinds::NEW_LINK).filter_map(Link::read).collect()
}
