//! The node's side of the kernel: marks in nf_tables, IPVS by mark, and the way of marked packets to it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kernel::ipvs::{Command, Ipvs, ServiceKey};
use kernel::nft::{Identity, Nft};
use kernel::rtnl::{Route, RouteFilter, RouteKind, Rtnl, Rule as Lookup, RuleAction};
use kernel::{Result, sysctl};
use prefix::{Family, Prefix};

use super::marks::BIT;
use super::plan::{Balanced, ByMark, Plan};
use super::rules;
use crate::routing::PROTOCOL;
use crate::ruleset::Ruleset;
use crate::services::state::Tuple;

/// kube-router's table and place of its rule.
pub(crate) const TABLE: u32 = 78;
const PRIORITY: u32 = 32_764;
/// The loopback device has the first number of every namespace.
const LOOPBACK: u32 = 1;
/// The bridge of this node's pods, by which their answers come.
const BRIDGE: &str = "kube-bridge";
const DEFAULT_MTU: u32 = 1500;
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

/// The marks of IPVS services that are ours, as our nft table tells.
pub(crate) fn own_marks(nft: &mut Nft) -> Result<BTreeSet<u32>> {
    Ok(rules::marks_of(&Ruleset::observe(nft, rules::PREFIX)?).into_values().collect())
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
        let ruleset = Ruleset::observe(&mut self.nft, rules::PREFIX)?;
        let marks = rules::marks_of(&ruleset);
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
            found.services.insert(mark, Balanced::of(entry.service, &destinations));
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

    /// Lets packets get the marks of the plan and no others, if their sources are admitted; how many writes that took.
    pub(super) fn mark(&mut self, found: &Found, plan: &Plan) -> Result<u64> {
        let mtu = self.rtnl.link_by_name(BRIDGE)?.map_or(DEFAULT_MTU, |bridge| bridge.mtu);
        let transaction = found.ruleset.changes(&rules::ruleset(&plan.marks, &plan.sources, mtu));
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
