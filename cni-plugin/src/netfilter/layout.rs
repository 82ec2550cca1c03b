//! Tables, maps, chains and rules that all pods share.
//!
//! The number of rules is constant; what differs from pod to pod are elements of maps and sets. So neither a packet
//! nor an ADD pays for the other pods of the node.
//!
//! ```text
//! table inet routerd-cni
//!   prerouting, output (nat, dstnat)   to this node, to no Service   -> hostports
//!   hostports                          hostports-at4/6, hostports4/6 -> dnat to the pod
//!   postrouting (nat, srcnat)          hostport-sources4/6           -> from-<subnet> or masquerade-all
//!                                      masquerade4/6                 -> leaves-<subnet>
//!   guard (filter, raw)                127.0.0.0/8 by a device in `localnet` -> drop
//! table bridge routerd-cni
//!   prerouting (filter, raw)           ports in spoofcheck-ports     -> spoofcheck
//!   spoofcheck                         not in spoofcheck-sources     -> drop
//! ```

use std::net::Ipv6Addr;

use kernel::nft::{
    Chain, ChainType, CtStatus, DataType, Field, Hook, NatFlags, Rule, Set, Table, TableFamily, TableName,
    address_type, priority,
};
use prefix::{Family, Prefix};

/// The name of both tables.
const TABLE: &str = "routerd-cni";
const HOSTPORTS: &str = "hostports";
const SPOOFCHECK: &str = "spoofcheck";
const COMMENT: &str = "made by the CNI plugin of routerd; changes are lost";

/// The bit in a packet's mark by which `routerd` tells, before we see it, that the packet goes to a Service.
pub const SERVICE_MARK: u32 = 0x4000;

/// Masquerades every mapped packet.
pub(super) const MASQUERADE_ALL: &str = "masquerade-all";

/// Our table of a family.
pub(super) fn table(family: TableFamily) -> TableName {
    TableName::new(family, TABLE)
}

/// A map or set that pods have elements in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Place {
    /// Protocol and port of any address of the node, to the pod's socket.
    HostPorts(Family),
    /// The same for one address of the node.
    HostPortsAt(Family),
    /// The pod's socket and the node's port, to what masquerades clients that could not be answered otherwise.
    Sources(Family),
    /// A pod's address, to what masquerades packets that leave its subnet.
    Masquerade(Family),
    /// Devices that may carry replies to `127.0.0.1`.
    Localnet,
    /// One element an attachment, with the number of its other elements.
    Attachments,
    /// Bridge ports whose frames are checked.
    SpoofPorts,
    /// What they may send from.
    SpoofSources,
}

impl Place {
    /// All of them.
    pub(super) const ALL: [Place; 12] = [
        Place::HostPorts(Family::V4),
        Place::HostPorts(Family::V6),
        Place::HostPortsAt(Family::V4),
        Place::HostPortsAt(Family::V6),
        Place::Sources(Family::V4),
        Place::Sources(Family::V6),
        Place::Masquerade(Family::V4),
        Place::Masquerade(Family::V6),
        Place::Localnet,
        Place::Attachments,
        Place::SpoofPorts,
        Place::SpoofSources,
    ];

    /// The family of the table it is in.
    pub(super) fn family(self) -> TableFamily {
        match self {
            Place::SpoofPorts | Place::SpoofSources => TableFamily::Bridge,
            _ => TableFamily::Inet,
        }
    }

    fn name(self) -> &'static str {
        let either = |family: Family, v4, v6| if family == Family::V4 { v4 } else { v6 };
        match self {
            Place::HostPorts(family) => either(family, "hostports4", "hostports6"),
            Place::HostPortsAt(family) => either(family, "hostports-at4", "hostports-at6"),
            Place::Sources(family) => either(family, "hostport-sources4", "hostport-sources6"),
            Place::Masquerade(family) => either(family, "masquerade4", "masquerade6"),
            Place::Localnet => "localnet",
            Place::Attachments => "attachments",
            Place::SpoofPorts => "spoofcheck-ports",
            Place::SpoofSources => "spoofcheck-sources",
        }
    }

    /// Its definition.
    pub(super) fn set(self) -> Set {
        use DataType::{Ether, InterfaceName, Mark, Port, Protocol};
        let of = |key: &[DataType]| Set::new(table(self.family()).set(self.name()), key);
        let address = DataType::address;
        match self {
            Place::HostPorts(family) => of(&[Protocol, Port]).values([address(family), Port]),
            Place::HostPortsAt(family) => {
                of(&[address(family), Protocol, Port]).values([address(family), Port])
            }
            Place::Sources(family) => of(&[address(family), Protocol, Port, Port]).verdicts(),
            Place::Masquerade(family) => of(&[address(family)]).verdicts(),
            Place::Localnet | Place::SpoofPorts => of(&[InterfaceName]),
            Place::Attachments => of(&[InterfaceName]).values([Mark]),
            Place::SpoofSources => of(&[InterfaceName, Ether]),
        }
    }
}

/// A chain and its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) chain: Chain,
    pub(super) rules: Vec<Rule>,
}

/// The table with what is to be in it before any pod.
pub(super) fn definition(family: TableFamily) -> (Table, Vec<Set>, Vec<Block>) {
    let sets = Place::ALL.into_iter().filter(|place| place.family() == family).map(Place::set).collect();
    let blocks = match family {
        TableFamily::Bridge => bridge_blocks(),
        _ => inet_blocks(),
    };
    (Table { name: table(family), comment: Some(COMMENT.into()) }, sets, blocks)
}

fn base(name: &str, kind: ChainType, hook: Hook, priority: i32, rules: Vec<Rule>) -> Block {
    Block { chain: Chain::base(table(TableFamily::Inet).chain(name), kind, hook, priority), rules }
}

fn regular(family: TableFamily, name: impl Into<String>, rules: Vec<Rule>) -> Block {
    Block { chain: Chain::new(table(family).chain(name)), rules }
}

fn inet_blocks() -> Vec<Block> {
    // A Service's address is local too where IPVS serves it: with a host port 443, say of an ingress controller, the
    // API server's Service would else lead to that pod.
    let not_service = || Rule::new().masked(Field::Mark, 0, SERVICE_MARK);
    let to_node = || not_service().equals(Field::DestinationType, address_type::LOCAL).jump(HOSTPORTS);
    // An answer to ::1 that comes in by a device is never delivered (`rt6_need_strict`), so such a connection could
    // only hang. Left alone it is refused at once, and a client of `localhost` goes on with 127.0.0.1.
    let not_loopback6 = Rule::new().destination(&Prefix::host(Ipv6Addr::LOCALHOST.into())).return_();
    vec![
        regular(TableFamily::Inet, HOSTPORTS, Family::BOTH.into_iter().flat_map(hostport_rules).collect()),
        regular(TableFamily::Inet, MASQUERADE_ALL, vec![Rule::new().masquerade(NatFlags::default())]),
        base("prerouting", ChainType::Nat, Hook::Prerouting, priority::DSTNAT, vec![to_node()]),
        base("output", ChainType::Nat, Hook::Output, priority::DSTNAT, vec![not_loopback6, to_node()]),
        base("postrouting", ChainType::Nat, Hook::Postrouting, priority::SRCNAT, source_rules()),
        base("guard", ChainType::Filter, Hook::Prerouting, priority::RAW, vec![guard_rule()]),
    ]
}

/// The more special mapping first.
fn hostport_rules(family: Family) -> [Rule; 2] {
    let (at, any) = (Place::HostPortsAt(family).name(), Place::HostPorts(family).name());
    let fields = [Field::destination(family), Field::L4Proto, Field::DestinationPort];
    [Rule::new().dnat_map(&fields, at, family, true), Rule::new().dnat_map(&fields[1..], any, family, true)]
}

/// Only what was mapped is looked up by its new destination, together with the port it was sent to: a connection to
/// the pod by another way (a Service, say) keeps its source.
fn source_rules() -> Vec<Rule> {
    let mapped = |family| {
        let fields =
            [Field::destination(family), Field::L4Proto, Field::DestinationPort, Field::CtOriginalPort];
        Rule::new()
            .any_bit(Field::CtStatus, CtStatus::DESTINATION_NAT.0)
            .verdict_map(&fields, Place::Sources(family).name())
    };
    let leaving =
        |family| Rule::new().verdict_map(&[Field::source(family)], Place::Masquerade(family).name());
    Family::BOTH.into_iter().map(mapped).chain(Family::BOTH.into_iter().map(leaving)).collect()
}

/// `route_localnet` lets a device carry 127.0.0.0/8; from the wire nobody may use that (CVE-2020-8558). Replies to
/// mapped connections of the node are not hit: they still go to the node's address here.
fn guard_rule() -> Rule {
    Rule::new()
        .destination(&loopback())
        .in_set(&[Field::InputName], Place::Localnet.name())
        .drop()
        .comment("nobody on the wire may use the node's loopback addresses")
}

fn bridge_blocks() -> Vec<Block> {
    let family = TableFamily::Bridge;
    let name = table(family).chain("prerouting");
    let checked = Rule::new().in_set(&[Field::InputName], Place::SpoofPorts.name()).jump(SPOOFCHECK);
    let known = [Field::InputName, Field::EtherSource];
    vec![
        regular(
            family,
            SPOOFCHECK,
            vec![Rule::new().in_set(&known, Place::SpoofSources.name()).return_(), Rule::new().drop()],
        ),
        Block {
            chain: Chain::base(name, ChainType::Filter, Hook::Prerouting, priority::RAW),
            rules: vec![checked],
        },
    ]
}

/// What becomes of packets of one subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Subnet {
    /// Mapped packets from there to a pod that is there too are masqueraded, because else the answer would go
    /// straight to the client, which waits for the node's; the node's own from a loopback address as well.
    From(Prefix),
    /// Packets of its pods that leave it are masqueraded.
    Leaves(Prefix),
}

impl Subnet {
    /// Both kinds of names are made from the prefix, without the colons that `nft` could not read back.
    pub(super) fn chain_name(self) -> String {
        let (word, prefix) = match self {
            Subnet::From(prefix) => ("from", prefix),
            Subnet::Leaves(prefix) => ("leaves", prefix),
        };
        format!("{word}-{prefix}").replace(':', "_")
    }

    /// The subnet that a chain's name stands for.
    pub(super) fn of_chain(name: &str) -> Option<Self> {
        let (word, prefix) = name.split_once('-')?;
        let prefix = prefix.replace('_', ":").parse().ok()?;
        match word {
            "from" => Some(Subnet::From(prefix)),
            "leaves" => Some(Subnet::Leaves(prefix)),
            _ => None,
        }
    }

    /// The chain.
    pub(super) fn block(self) -> Block {
        let masquerade = |rule: Rule| rule.masquerade(NatFlags::default());
        let rules = match self {
            Subnet::From(prefix) => {
                let near = [loopback(), prefix].into_iter().filter(|near| near.family() == prefix.family());
                near.map(|near| masquerade(Rule::new().source(&near))).collect()
            }
            Subnet::Leaves(prefix) => vec![
                Rule::new().destination(&prefix).return_(),
                Rule::new().destination(&multicast(prefix.family())).return_(),
                masquerade(Rule::new()),
            ],
        };
        regular(TableFamily::Inet, self.chain_name(), rules)
    }
}

fn prefix(address: impl Into<std::net::IpAddr>, length: u8) -> Prefix {
    let address = address.into();
    Prefix::new(address, length).unwrap_or_else(|_| Prefix::host(address))
}

fn loopback() -> Prefix {
    prefix([127, 0, 0, 0], 8)
}

fn multicast(family: Family) -> Prefix {
    match family {
        Family::V4 => prefix([224, 0, 0, 0], 4),
        Family::V6 => prefix([0xff00_u16, 0, 0, 0, 0, 0, 0, 0], 8),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_of_subnets_have_names_of_their_own_that_nft_can_read() {
        let chain = |text: &str| Subnet::From(text.parse().unwrap()).chain_name();
        assert_eq!(chain("10.9.0.0/24"), "from-10.9.0.0/24");
        assert_eq!(chain("fd09::/64"), "from-fd09__/64");
        assert_ne!(chain("fd09:0:1::/64"), chain("fd09:1::/64"));
        assert_eq!(Subnet::Leaves("10.9.0.0/24".parse().unwrap()).chain_name(), "leaves-10.9.0.0/24");
        for subnet in ["10.9.0.0/24", "fd09:0:1::/64", "::/0"].map(|text| text.parse().unwrap()) {
            for subnet in [Subnet::From(subnet), Subnet::Leaves(subnet)] {
                assert_eq!(Subnet::of_chain(&subnet.chain_name()), Some(subnet));
            }
        }
        assert!(Subnet::of_chain("prerouting").is_none() && Subnet::of_chain("leaves-x").is_none());
    }

    #[test]
    fn constants_are_the_prefixes_they_stand_for() {
        assert_eq!(loopback().to_string(), "127.0.0.0/8");
        assert_eq!(multicast(Family::V4).to_string(), "224.0.0.0/4");
        assert_eq!(multicast(Family::V6).to_string(), "ff00::/8");
    }
}
