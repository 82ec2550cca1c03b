//! VLANs of bridge ports (`bridge vlan`).
//!
//! They count only where the bridge filters by VLAN, for which the kernel needs `CONFIG_BRIDGE_VLAN_FILTERING`; without
//! it every call is an error with `is_unsupported()`.

use std::collections::BTreeMap;

use netlink_packet_core::Parseable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{
    AfSpecBridge, BridgeVlanInfo, BridgeVlanInfoFlags, LinkAttribute, LinkExtentMask, LinkMessage,
};

use super::Rtnl;
use super::codec::{bytes, decode_event, kinds};
use crate::error::Result;

/// What a port does with a VLAN's frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VlanFlags {
    /// Frames that come in without a tag are of this VLAN; a port has at most one such.
    pub pvid: bool,
    /// Its frames leave without a tag.
    pub untagged: bool,
}

/// VLANs of a port: those from `first` to `last`, both 1 to 4094, equal for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortVlans {
    /// The first id.
    pub first: u16,
    /// The last id.
    pub last: u16,
    /// What is done with their frames; a range is tagged in any case.
    pub flags: VlanFlags,
}

impl PortVlans {
    /// The VLAN of a port that knows nothing of VLANs: frames without a tag, in and out.
    pub fn access(id: u16) -> Self {
        Self { first: id, last: id, flags: VlanFlags { pvid: true, untagged: true } }
    }

    /// Tagged VLANs.
    pub fn tagged(first: u16, last: u16) -> Self {
        Self { first, last, flags: VlanFlags::default() }
    }

    fn entries(self) -> Vec<BridgeVlanInfo> {
        let mut flags = BridgeVlanInfoFlags::empty();
        if self.first == self.last {
            flags.set(BridgeVlanInfoFlags::Pvid, self.flags.pvid);
            flags.set(BridgeVlanInfoFlags::Untagged, self.flags.untagged);
            return vec![BridgeVlanInfo { flags, vid: self.first }];
        }
        vec![
            BridgeVlanInfo { flags: BridgeVlanInfoFlags::RangeBegin, vid: self.first },
            BridgeVlanInfo { flags: BridgeVlanInfoFlags::RangeEnd, vid: self.last },
        ]
    }
}

/// The message for the port `index`.
fn message(index: u32, vlans: &[PortVlans]) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.header.interface_family = AddressFamily::Bridge;
    message.header.index = index;
    let entries = vlans.iter().flat_map(|vlans| vlans.entries()).map(AfSpecBridge::VlanInfo).collect();
    message.attributes.push(LinkAttribute::AfSpecBridge(entries));
    message
}

fn words(vlans: &[PortVlans]) -> String {
    let one = |vlans: &PortVlans| {
        if vlans.first == vlans.last {
            return vlans.first.to_string();
        }
        format!("{}-{}", vlans.first, vlans.last)
    };
    vlans.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// The VLANs in one message of a dump of bridge ports.
fn vlans_of(message: LinkMessage) -> BTreeMap<u16, VlanFlags> {
    let mut found = BTreeMap::new();
    let mut first = None;
    for attribute in message.attributes {
        let LinkAttribute::AfSpecBridge(specs) = attribute else { continue };
        for spec in specs {
            let AfSpecBridge::VlanInfo(info) = spec else { continue };
            let flags = VlanFlags {
                pvid: info.flags.contains(BridgeVlanInfoFlags::Pvid),
                untagged: info.flags.contains(BridgeVlanInfoFlags::Untagged),
            };
            if info.flags.contains(BridgeVlanInfoFlags::RangeBegin) {
                first = Some(info.vid);
                continue;
            }
            let begin = first.take().unwrap_or(info.vid);
            found.extend((begin..=info.vid).map(|id| (id, flags)));
        }
    }
    found
}

impl Rtnl {
    /// Adds VLANs to the bridge port `index`, in one message; those that it has get the flags.
    pub fn add_port_vlans(&mut self, index: u32, vlans: &[PortVlans]) -> Result<()> {
        let operation = format!("add VLANs {} to bridge port {index}", words(vlans));
        self.socket.request(&operation, kinds::SET_LINK, 0, &bytes(&message(index, vlans))).map(drop)
    }

    /// Takes VLANs from the bridge port `index`; those that it has not are no error.
    pub fn delete_port_vlans(&mut self, index: u32, vlans: &[PortVlans]) -> Result<()> {
        let operation = format!("delete VLANs {} of bridge port {index}", words(vlans));
        match self.socket.request(&operation, kinds::DELETE_LINK, 0, &bytes(&message(index, vlans))) {
            Err(error) if error.is_not_found() => Ok(()),
            outcome => outcome.map(drop),
        }
    }

    /// The VLANs of the bridge port `index`; none if it is no port.
    pub fn port_vlans(&mut self, index: u32) -> Result<BTreeMap<u16, VlanFlags>> {
        let mut message = LinkMessage::default();
        message.header.interface_family = AddressFamily::Bridge;
        message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::BrvlanCompressed]));
        let answers = self.socket.dump("list VLANs of bridge ports", kinds::GET_LINK, &bytes(&message))?;
        let links = answers.iter().filter(|answer| answer.kind == kinds::NEW_LINK);
        let mut ports = links.filter_map(|answer| decode_event(answer, LinkMessage::parse));
        let port = ports.find(|message| message.header.index == index);
        Ok(port.map(vlans_of).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_two_entries_and_reads_back_as_its_members() {
        let mut message = LinkMessage::default();
        let specs =
            [PortVlans::access(7), PortVlans::tagged(10, 12)].into_iter().flat_map(PortVlans::entries);
        message.attributes.push(LinkAttribute::AfSpecBridge(specs.map(AfSpecBridge::VlanInfo).collect()));
        let read = vlans_of(message);
        assert_eq!(read.keys().copied().collect::<Vec<u16>>(), [7, 10, 11, 12]);
        assert!(read[&7].pvid && read[&7].untagged && !read[&11].untagged);
    }
}
