//! The node's side of the kernel: marks in nf_tables, IPVS by mark, and the way of marked packets to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kernel::ipvs::{Command, Ipvs, ServiceKey};
use kernel::nft::{
    Chain, ChainType, Data, DataType, Datum, Element, Field, Hook, Identity, Key, Nft, Rule, Set, Span,
    priority,
};
use kernel::rtnl::{Route, RouteFilter, RouteKind, Rtnl, Rule as Lookup, RuleAction};
use kernel::{Result, sysctl};
use prefix::{Family, Prefix};

use super::marks::{BIT, ROOM};
use super::plan::{Balanced, ByMark};
use crate::routing::PROTOCOL;
use crate::ruleset::{Ruleset, table};
use crate::services::program::tuple_fields;
use crate::services::state::Tuple;

/// What the plane's chains and sets are called by.
const PREFIX: &str = "dsr-";
/// kube-router's table and place of its rule.
const TABLE: u32 = 78;
const PRIORITY: u32 = 32_764;
/// The loopback device has the first number of every namespace.
const LOOPBACK: u32 = 1;
/// The bridge of this node's pods, by which their answers come.
const BRIDGE: &str = "kube-bridge";
const DEFAULT_MTU: u32 = 1500;
/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// What stands before the data of a TCP segment in a tunnel: two IP headers and a TCP header.
const fn headers(family: Family) -> u32 {
    match family {
        Family::V4 => 60,
        Family::V6 => 100,
    }
}

/// The kernel of the namespace that the plane's thread runs in.
#[derive(Debug)]
pub(super) struct Node {
    nft: Nft,
    rtnl: Rtnl,
    ipvs: Option<Ipvs>,
}

/// What is there of ours.
#[derive(Debug, Default)]
pub(super) struct Found {
    ruleset: Ruleset,
    /// The mark of each tuple.
    pub(super) marks: BTreeMap<Tuple, u32>,
    /// The IPVS services of our marks.
    pub(super) services: ByMark,
    /// Addresses of the node's devices.
    pub(super) addresses: BTreeSet<IpAddr>,
}

fn name(base: &str, family: Family) -> String {
    format!("{PREFIX}{base}{}", if family == Family::V4 { "" } else { "6" })
}

fn key_types(family: Family) -> [DataType; 3] {
    [DataType::address(family), DataType::Protocol, DataType::Port]
}

/// What an opening packet of TCP can be marked by, and an answer told by.
fn ruleset(marks: &BTreeMap<Tuple, u32>, mtu: u32) -> Ruleset {
    if marks.is_empty() {
        return Ruleset::default();
    }
    let mut ruleset = Ruleset::default();
    for family in Family::BOTH {
        let of = || marks.iter().filter(move |(tuple, _)| Family::of(tuple.address) == family);
        let key = |tuple: &Tuple| {
            Key(vec![tuple.address.into(), Datum::Byte(tuple.protocol), Datum::Port(tuple.port)])
        };
        let map = Set::new(table().set(name("marks", family)), key_types(family)).values([DataType::Mark]);
        let elements = of().map(|(tuple, mark)| Element::new(key(tuple)).value(Datum::Number(*mark)));
        ruleset = ruleset.set(map, elements.collect());
        let answers = Set::new(table().set(name("answers", family)), key_types(family));
        ruleset = ruleset.set(answers, of().map(|(tuple, _)| Element::new(key(tuple))).collect());
    }
    let base = |base: &str, kind, hook, place| {
        Chain::base(table().chain(format!("{PREFIX}{base}")), kind, hook, place)
    };
    let marking =
        Family::BOTH.map(|family| Rule::new().set_mark_map(&tuple_fields(family), name("marks", family)));
    // What IPVS sends on has the mark still. By it the way to a pod whose address it has written would lead back here.
    let done = Rule::new().masked(Field::Mark, BIT, BIT).set_mark(0, BIT | ROOM);
    let own = std::iter::once(done).chain(marking.clone());
    let segments = Family::BOTH.map(|family| {
        let fields = [Field::source(family), Field::L4Proto, Field::SourcePort];
        // The client's segments are to fit into the tunnel: it hears of their size in the pod's answer.
        let size = u16::try_from(mtu.saturating_sub(headers(family))).unwrap_or(u16::MAX);
        Rule::new().protocol(TCP).in_set(&fields, name("answers", family)).limit_segment_size(size)
    });
    ruleset
        .chain(base("mark", ChainType::Filter, Hook::Prerouting, priority::MANGLE), marking.to_vec())
        // Of the kind that looks the route up again, now that there is a mark, or none any more.
        .chain(base("mark-own", ChainType::Route, Hook::Output, priority::MANGLE), own.collect())
        .chain(base("segments", ChainType::Filter, Hook::Prerouting, priority::MANGLE), segments.to_vec())
}

fn tuple_and_mark(element: &Element) -> Option<(Tuple, u32)> {
    let Span::Key(key) = &element.span else { return None };
    let [ip, Datum::Byte(protocol), Datum::Port(port)] = &key.0[..] else { return None };
    let address = match ip {
        Datum::Ip4(address) => IpAddr::V4(*address),
        Datum::Ip6(address) => IpAddr::V6(*address),
        _ => return None,
    };
    let Some(Data::Value(Key(value))) = &element.data else { return None };
    let [Datum::Number(mark)] = &value[..] else { return None };
    Some((Tuple { address, protocol: *protocol, port: *port }, *mark))
}

fn lookup(family: Family) -> Lookup {
    Lookup { mark: Some((BIT, BIT)), protocol: PROTOCOL, ..Lookup::lookup(family, PRIORITY, TABLE) }
}

fn delivery(family: Family) -> Result<Route> {
    let any = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let all = Prefix::new(any, 0)
        .map_err(|error| kernel::KernelError::malformed("write a default route", error.to_string()))?;
    Ok(Route::new(all).kind(RouteKind::Local).on_link(LOOPBACK).table(TABLE).protocol(PROTOCOL))
}

/// The marks in a ruleset of ours.
fn marks_of(ruleset: &Ruleset) -> BTreeMap<Tuple, u32> {
    let maps = Family::BOTH.map(|family| name("marks", family));
    let elements = maps.iter().filter_map(|map| ruleset.sets.get(map)).flat_map(|set| &set.elements);
    elements.filter_map(tuple_and_mark).collect()
}

/// The marks of IPVS services that are ours, as our nft table tells.
pub(crate) fn own_marks(nft: &mut Nft) -> Result<BTreeSet<u32>> {
    Ok(marks_of(&Ruleset::observe(nft, PREFIX)?).into_values().collect())
}

impl Node {
    /// Opens what is needed; IPVS only if there is something to balance.
    pub(super) fn open(identity: Identity) -> Result<Self> {
        Ok(Self { nft: Nft::open_as(identity)?, rtnl: Rtnl::open()?, ipvs: None })
    }

    fn ipvs(&mut self) -> Result<&mut Ipvs> {
        let ipvs = match self.ipvs.take() {
            Some(ipvs) => ipvs,
            None => Ipvs::open()?,
        };
        Ok(self.ipvs.insert(ipvs))
    }

    /// Reads what is there.
    pub(super) fn observe(&mut self) -> Result<Found> {
        let ruleset = Ruleset::observe(&mut self.nft, PREFIX)?;
        let marks = marks_of(&ruleset);
        let addresses = self.rtnl.addresses(None, None)?.into_iter().map(|address| address.address).collect();
        Ok(Found { ruleset, marks, services: BTreeMap::new(), addresses })
    }

    /// Reads the IPVS services of marks like ours.
    pub(super) fn observe_services(&mut self, found: &mut Found) -> Result<()> {
        let ipvs = self.ipvs()?;
        for entry in ipvs.services()? {
            let ServiceKey::Mark { mark, .. } = entry.service.key else { continue };
            if mark & BIT == 0 {
                continue;
            }
            let destinations = ipvs.destinations(&entry.service.key)?;
            let destinations =
                destinations.iter().map(|found| (found.destination.socket(), found.destination));
            let balanced = Balanced { service: entry.service, destinations: destinations.collect() };
            found.services.insert(mark, balanced);
        }
        Ok(())
    }

    /// Changes IPVS; the outcome of each command.
    pub(super) fn balance(&mut self, commands: &[Command]) -> Vec<Result<()>> {
        if commands.is_empty() {
            return Vec::new();
        }
        match self.ipvs() {
            Ok(ipvs) => ipvs.change_all(commands),
            Err(error) => vec![Err(error); commands.len()],
        }
    }

    /// Lets packets get these marks and no others; how many writes that took.
    pub(super) fn mark(&mut self, found: &Found, marks: &BTreeMap<Tuple, u32>) -> Result<u64> {
        let mtu = self.rtnl.link_by_name(BRIDGE)?.map_or(DEFAULT_MTU, |bridge| bridge.mtu);
        let transaction = found.ruleset.changes(&ruleset(marks, mtu));
        if transaction.is_empty() {
            return Ok(0);
        }
        self.nft.commit(&transaction)?;
        Ok(transaction.len() as u64)
    }

    /// Makes the way of marked packets to this machine, or takes it away.
    pub(super) fn lead(&mut self, families: &BTreeSet<Family>) -> Result<u64> {
        let mut writes = 0;
        for family in Family::BOTH {
            let wanted = families.contains(&family);
            let filter = RouteFilter { table: Some(TABLE), family: Some(family), protocol: Some(PROTOCOL) };
            let routes = self.rtnl.routes(&filter)?;
            let rules = self.rtnl.rules(family)?;
            let ours = |rule: &&Lookup| rule.protocol == PROTOCOL && rule.action == RuleAction::Table(TABLE);
            let rules: Vec<Lookup> = rules.iter().filter(ours).cloned().collect();
            if wanted && routes.is_empty() {
                self.rtnl.add_route(&delivery(family)?)?;
                writes += 1;
            }
            if wanted && rules.is_empty() {
                self.rtnl.add_rule(&lookup(family))?;
                writes += 1;
            }
            for rule in rules.iter().filter(|_| !wanted) {
                self.rtnl.delete_rule(rule)?;
                writes += 1;
            }
            for route in routes.iter().filter(|_| !wanted) {
                self.rtnl.delete_route(route)?;
                writes += 1;
            }
        }
        Ok(writes)
    }

    /// Lets answers of pods in: they come from addresses that are reached elsewhere. A bridge that is not there has no pods.
    pub(super) fn admit_answers(&mut self) -> Result<u64> {
        if self.rtnl.link_by_name(BRIDGE)?.is_none() {
            return Ok(0);
        }
        let strict = |device: &str| -> Result<bool> {
            Ok(sysctl::read(&["net", "ipv4", "conf", device, "rp_filter"])?.trim() == "1")
        };
        if !strict("all")? && !strict(BRIDGE)? {
            return Ok(0);
        }
        // The larger of both numbers counts: 2 is loose.
        Ok(u64::from(sysctl::write(&["net", "ipv4", "conf", BRIDGE, "rp_filter"], "2")?))
    }
}
