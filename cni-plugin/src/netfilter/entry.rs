//! What an attachment has in the tables: values, and the elements they are made of.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use kernel::nft::{Element, Key, Verdict};
use prefix::{Family, Prefix};

use super::layout::{MASQUERADE_ALL, Place, Subnet};
use crate::address::Mac;
use crate::tag::Tag;

/// A transport protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Transport {
    /// All of them.
    pub const ALL: [Transport; 3] = [Transport::Tcp, Transport::Udp, Transport::Sctp];

    /// Its IP protocol number.
    pub fn number(self) -> u8 {
        match self {
            Transport::Tcp => 6,
            Transport::Udp => 17,
            Transport::Sctp => 132,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Sctp => "sctp",
        })
    }
}

/// Whose source address a port mapping hides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hidden {
    /// Nobody's: the destination is translated and nothing else.
    Nobody,
    /// That of clients in the pod's subnet and on the node's loopback addresses; without it they get no answer.
    Near(Prefix),
    /// Everybody's.
    Everybody,
}

/// A port of the node that leads to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// The node's address; `None` for any of the family of `target`.
    pub address: Option<IpAddr>,
    /// The protocol.
    pub transport: Transport,
    /// The node's port.
    pub port: u16,
    /// The pod's address and port.
    pub target: SocketAddr,
    /// Who is masqueraded.
    pub hidden: Hidden,
}

/// One thing that an attachment has in the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A port mapping.
    HostPort(HostPort),
    /// Packets from the pod's `address` to outside of `subnet` leave with the node's address.
    Masquerade {
        /// The pod's address.
        address: IpAddr,
        /// Its subnet.
        subnet: Prefix,
    },
    /// Frames that come in by the bridge port must be from `mac`.
    SpoofCheck {
        /// The host end of the pod's pair.
        port: String,
        /// The pod's link address.
        mac: Mac,
    },
    /// The device may carry replies to the node's loopback addresses. It is shared and never taken away.
    Localnet(String),
}

/// An element and the map or set it is in.
pub(super) type Placed = (Place, Element);

impl Entry {
    /// The key of the configuration that asks for it.
    pub(super) fn key(&self) -> &'static str {
        match self {
            Entry::HostPort(_) | Entry::Localnet(_) => "portMappings",
            Entry::Masquerade { .. } => "ipMasq",
            Entry::SpoofCheck { .. } => "macspoofchk",
        }
    }

    /// The chain of its subnet that its elements lead to.
    pub(super) fn subnet(&self) -> Option<Subnet> {
        match self {
            Entry::HostPort(HostPort { hidden: Hidden::Near(subnet), .. }) => Some(Subnet::From(*subnet)),
            Entry::Masquerade { subnet, .. } => Some(Subnet::Leaves(*subnet)),
            _ => None,
        }
    }

    /// The address of the pod that it is about.
    pub(crate) fn pod_address(&self) -> Option<IpAddr> {
        match self {
            Entry::HostPort(port) => Some(port.target.ip()),
            Entry::Masquerade { address, .. } => Some(*address),
            Entry::SpoofCheck { .. } | Entry::Localnet(_) => None,
        }
    }

    fn elements(&self) -> Vec<Placed> {
        match self {
            Entry::HostPort(port) => port.elements(),
            Entry::Masquerade { address, subnet } => {
                let verdict = Verdict::Goto(Subnet::Leaves(*subnet).chain_name());
                vec![(Place::Masquerade(Family::of(*address)), Element::new(*address).verdict(verdict))]
            }
            Entry::SpoofCheck { port, mac } => vec![
                (Place::SpoofPorts, Element::new(port.as_str())),
                (Place::SpoofSources, Element::new((port.as_str(), mac.0))),
            ],
            Entry::Localnet(_) => Vec::new(),
        }
    }
}

impl HostPort {
    /// Where it is looked up, and by which key.
    pub(super) fn key(&self) -> (Place, Key) {
        let family = Family::of(self.target.ip());
        let protocol = self.transport.number();
        match self.address {
            None => (Place::HostPorts(family), (protocol, self.port).into()),
            Some(address) => (Place::HostPortsAt(family), (address, protocol, self.port).into()),
        }
    }

    fn elements(&self) -> Vec<Placed> {
        let (place, key) = self.key();
        let target = (self.target.ip(), self.target.port());
        let mut elements = vec![(place, Element::new(key).value(target))];
        let verdict = match self.hidden {
            Hidden::Nobody => return elements,
            Hidden::Near(subnet) => Verdict::Jump(Subnet::From(subnet).chain_name()),
            Hidden::Everybody => Verdict::Goto(MASQUERADE_ALL.to_owned()),
        };
        let key = (target.0, self.transport.number(), target.1, self.port);
        elements.push((Place::Sources(Family::of(target.0)), Element::new(key).verdict(verdict)));
        elements
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.map_or("*".to_owned(), |address| address.to_string());
        write!(f, "{} port {} of {address}", self.transport, self.port)
    }
}

/// What one exec makes for an attachment: in a chain of plugins each makes and removes its own part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// Port mappings.
    Ports,
    /// Masquerading and the check of frames' sources.
    Pod,
}

impl Part {
    /// Both.
    pub const ALL: [Part; 2] = [Part::Ports, Part::Pod];

    /// The part that elements in `place` belong to; `None` for [`Place::Attachments`] and what is shared.
    pub(super) fn of(place: Place) -> Option<Self> {
        match place {
            Place::HostPorts(_) | Place::HostPortsAt(_) | Place::Sources(_) => Some(Part::Ports),
            Place::Masquerade(_) | Place::SpoofPorts | Place::SpoofSources => Some(Part::Pod),
            Place::Localnet | Place::Attachments => None,
        }
    }

    /// The key of an attachment's part in [`Place::Attachments`].
    pub(super) fn index_key(self, tag: &Tag) -> Key {
        let letter = match self {
            Part::Ports => 'p',
            Part::Pod => 'm',
        };
        let mut key = tag.checksum();
        key.truncate(MOST_DIGITS);
        key.push(letter);
        key.into()
    }
}

/// A key in [`Place::Attachments`] is as long as a device's name: one letter and these digits.
const MOST_DIGITS: usize = 14;

/// The attachment's own elements of a part, with its tag as comment, each once.
pub(super) fn own(tag: &Tag, part: Part, entries: &[Entry]) -> Vec<Placed> {
    let comment = tag.to_string();
    let mut all: Vec<Placed> = Vec::new();
    for (place, element) in entries.iter().flat_map(Entry::elements) {
        let placed = (place, element.comment(&comment));
        if Part::of(place) == Some(part) && !all.contains(&placed) {
            all.push(placed);
        }
    }
    all
}

/// All elements of an attachment: its own, and for each part that has some one in [`Place::Attachments`], which knows
/// how many they are.
pub(super) fn elements(tag: &Tag, entries: &[Entry]) -> Vec<Placed> {
    let mut all = Vec::new();
    for part in Part::ALL {
        let own = own(tag, part, entries);
        if own.is_empty() {
            continue;
        }
        let count = u32::try_from(own.len()).unwrap_or(u32::MAX);
        let index = Element::new(part.index_key(tag)).value(count).comment(&tag.to_string());
        all.extend(own);
        all.push((Place::Attachments, index));
    }
    all
}

/// Elements that are no attachment's own.
pub(super) fn shared(entries: &[Entry]) -> Vec<Placed> {
    let devices = entries.iter().filter_map(|entry| match entry {
        Entry::Localnet(device) => Some((Place::Localnet, Element::new(device.as_str()))),
        _ => None,
    });
    devices.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(address: Option<&str>, hidden: Hidden) -> Entry {
        Entry::HostPort(HostPort {
            address: address.map(|address| address.parse().unwrap()),
            transport: Transport::Udp,
            port: 53,
            target: "10.9.0.2:5353".parse().unwrap(),
            hidden,
        })
    }

    fn shown(entries: &[Entry]) -> Vec<String> {
        let all = elements(&Tag::new("n", "c", "eth0"), entries);
        all.iter().map(|(place, element)| format!("{} {element}", place.set().name.name)).collect()
    }

    #[test]
    fn a_mapping_is_one_element_and_who_is_hidden_another() {
        let near = Hidden::Near("10.9.0.0/24".parse().unwrap());
        assert_eq!(
            shown(&[port(None, near)])[..2],
            [
                "hostports4 17 . 53 : 10.9.0.2 . 5353",
                "hostport-sources4 10.9.0.2 . 17 . 5353 . 53 : jump from-10.9.0.0/24"
            ]
        );
        assert_eq!(shown(&[port(Some("192.0.2.1"), Hidden::Nobody)]).len(), 2);
        let two = [port(Some("192.0.2.1"), Hidden::Everybody), port(Some("192.0.2.2"), Hidden::Everybody)];
        assert_eq!(shown(&two).len(), 4, "the target is hidden once: {:?}", shown(&two));
    }

    #[test]
    fn the_attachments_element_knows_how_many_others_there_are() {
        let spoof = Entry::SpoofCheck { port: "veth1".into(), mac: "02:00:00:00:00:01".parse().unwrap() };
        let all = shown(&[spoof, Entry::Localnet("cni0".into())]);
        assert_eq!(
            all[..2],
            ["spoofcheck-ports \"veth1\"", "spoofcheck-sources \"veth1\" . 02:00:00:00:00:01"]
        );
        assert!(all[2].starts_with("attachments ") && all[2].ends_with(": 0x2"), "{all:?}");
    }
}
