//! Who gets which address: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use prefix::Family;

use super::desired::{Claim, Standing};
use super::pool::Pool;
use crate::cluster::balancing::Edit;
use crate::cluster::objects::ObjectName;

/// What is to be written, and what cannot be given.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// By Service.
    pub(super) edits: BTreeMap<ObjectName, Edit>,
    /// By Service: why it has not all that it wants.
    pub(super) problems: Vec<(ObjectName, String)>,
}

/// Who uses which address.
struct Used<'a> {
    services: BTreeMap<IpAddr, &'a ObjectName>,
    nodes: &'a BTreeSet<IpAddr>,
}

impl Used<'_> {
    fn is_busy(&self, address: IpAddr) -> bool {
        self.services.contains_key(&address) || self.nodes.contains(&address)
    }
}

impl Plan {
    /// What the Services' claims come to. `nodes` are addresses that no Service gets.
    pub(super) fn between(
        claims: &BTreeMap<ObjectName, Claim>,
        nodes: &BTreeSet<IpAddr>,
        pool: &mut Pool,
    ) -> Self {
        let of = |(name, claim): (_, &'_ Claim)| {
            let all: Vec<IpAddr> = claim.held.iter().chain(&claim.others).copied().collect();
            all.into_iter().map(move |address| (address, name))
        };
        let mut used = Used { services: claims.iter().flat_map(of).collect(), nodes };
        let mut plan = Self::default();
        let waiting = |claim: &Claim| claim.standing == Standing::Wants;
        // Who asks for an address comes before those for whom any will do.
        let (asking, others): (Vec<_>, Vec<_>) = claims
            .iter()
            .filter(|(_, claim)| waiting(claim))
            .partition(|(_, claim)| !claim.requested.is_empty());
        for (name, claim) in asking.into_iter().chain(others) {
            plan.serve(name, claim, &mut used, pool);
        }
        for (name, claim) in claims.iter().filter(|(_, claim)| claim.standing == Standing::Leaves) {
            let remove = claim.held.iter().copied().filter(|address| pool.holds(*address)).collect();
            plan.edit(name, claim, remove, Vec::new());
        }
        plan
    }

    fn serve<'a>(&mut self, name: &'a ObjectName, claim: &Claim, used: &mut Used<'a>, pool: &mut Pool) {
        let mut problems = claim.problems.clone();
        let (mut add, mut remove, mut failed) = (Vec::new(), Vec::new(), false);
        for family in &claim.families {
            match one(name, claim, *family, used, pool) {
                Ok(None) => {}
                Ok(Some(address)) => {
                    add.push(address);
                    // Another one that was asked for instead, or none.
                    remove.extend(of_family(&claim.held, *family).filter(|held| pool.holds(*held)));
                }
                Err(problem) => {
                    failed = true;
                    problems.push(problem);
                }
            }
        }
        if failed && claim.all_or_none {
            let (given, kept) = (std::mem::take(&mut add), std::mem::take(&mut remove));
            if !given.is_empty() || !kept.is_empty() {
                problems.push(
                    "no other address is given either: spec.ipFamilyPolicy is RequireDualStack".to_owned(),
                );
            }
        }
        // A family that is wanted no more.
        let left = claim.held.iter().copied().filter(|held| !claim.families.contains(&Family::of(*held)));
        remove.extend(left.filter(|held| pool.holds(*held)));
        used.services.extend(add.iter().map(|address| (*address, name)));
        self.problems.extend(problems.into_iter().map(|problem| (name.clone(), problem)));
        self.edit(name, claim, remove, add);
    }

    fn edit(&mut self, name: &ObjectName, claim: &Claim, remove: Vec<IpAddr>, add: Vec<IpAddr>) {
        if !remove.is_empty() || !add.is_empty() {
            self.edits.insert(name.clone(), Edit { held: claim.held.clone(), remove, add });
        }
    }
}

fn of_family(addresses: &[IpAddr], family: Family) -> impl Iterator<Item = IpAddr> + '_ {
    addresses.iter().copied().filter(move |address| Family::of(*address) == family)
}

/// The address of `family` that is to be added, if any.
fn one(
    name: &ObjectName,
    claim: &Claim,
    family: Family,
    used: &Used<'_>,
    pool: &mut Pool,
) -> Result<Option<IpAddr>, String> {
    let asked = of_family(&claim.requested, family).next();
    let has = of_family(&claim.held, family).next().is_some();
    match asked {
        Some(address) if claim.held.contains(&address) => Ok(None),
        Some(address) => may_have(name, address, used, pool).map(|()| Some(address)),
        None if has => Ok(None),
        None if !pool.serves(family) => Err(format!(
            "no {family} address: --loadbalancer-ip-range has no {family} range; add one, or ask for the other family \
             only (spec.ipFamilies)"
        )),
        None => pool.next(family, |address| used.is_busy(address)).map(Some).ok_or_else(|| {
            format!(
                "no {family} address: all of {} are in use; add a range to --loadbalancer-ip-range or delete a Service \
                 that has one",
                pool.describe(family)
            )
        }),
    }
}

/// Why an address that is asked for cannot be given.
fn may_have(name: &ObjectName, address: IpAddr, used: &Used<'_>, pool: &Pool) -> Result<(), String> {
    let refused = |why: String| Err(format!("the address {address} that is asked for is not given: {why}"));
    if !pool.holds(address) {
        return refused("it lies in no range of --loadbalancer-ip-range".to_owned());
    }
    if used.nodes.contains(&address) {
        return refused("it is the address of a node".to_owned());
    }
    match used.services.get(&address) {
        Some(user) if *user != name => refused(format!("Service {user} uses it")),
        Some(_) => refused(
            "the Service uses it already, among spec.externalIPs or of another load balancer".to_owned(),
        ),
        None => Ok(()),
    }
}
