//! Brings direct return into force in an order in which no packet is lost: pods, then IPVS, then marks; and back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use kernel::ipvs::{Command, ServiceKey};
use kernel::nft::Identity;
use kernel::{KernelError, Result, sysctl};
use nix::errno::Errno;
use prefix::Family;

use super::NAME;
use super::desired::{Key, Pods, Value, Wish};
use super::node::{Found, Node};
use super::plan::Plan;
use super::pod::{self, Side};
use crate::cluster::ForceNews;
use crate::cluster::objects::ObjectName;
use crate::runner::{Apply, Problem, Report, Scope};
use crate::services::{Herald, status};

/// What to do when namespaces cannot be entered.
const RIGHT: &str = "routerd needs CAP_SYS_ADMIN to enter the network namespace of a pod: see daemonset/README.md, \
                     direct server return";
/// What to do about a pod that nobody has told us of.
const UNKNOWN: &str = "the plugin has not told of a pod with this address: it was made before routerd or by another \
                       plugin; make it anew";

type Wishes = BTreeMap<ObjectName, Wish>;

/// Lets IPVS take up TCP connections in the middle.
const SLOPPY: &str = "net.ipv4.vs.sloppy_tcp";
/// The scheduler by which every node chooses the same pod for a client.
const SAME_EVERYWHERE: &str = "mh";

/// The half of the plane that writes.
#[derive(Debug)]
pub struct Applier {
    identity: Identity,
    /// Namespaces of pods that have their side; `None` before the first look.
    brought: Option<BTreeSet<PathBuf>>,
    /// We have set [`SLOPPY`].
    sloppy: bool,
    /// Who is told what is served, if anybody.
    herald: Option<Herald>,
}

/// What the pods' side came to.
#[derive(Debug, Default)]
struct Brought {
    ready: BTreeSet<IpAddr>,
    failed: BTreeMap<IpAddr, String>,
}

impl Applier {
    /// One that has done nothing yet.
    pub fn new(identity: Identity) -> Self {
        Self { identity, brought: None, sloppy: false, herald: None }
    }

    /// The same, telling which virtual addresses are served.
    #[must_use]
    pub fn telling(mut self, herald: Option<Herald>) -> Self {
        self.herald = herald;
        self
    }

    /// Returns the addresses that are served.
    fn run(&mut self, wishes: &Wishes, pods: &Pods, report: &mut Report) -> Result<BTreeSet<IpAddr>> {
        let mut node = Node::open(self.identity)?;
        let mut found = node.observe()?;
        let wanted = wishes.values().any(|wish| !wish.tuples.is_empty());
        let held = self.brought.as_ref().is_some_and(|brought| !brought.is_empty());
        if !wanted && !held && found.marks.is_empty() {
            self.brought.get_or_insert_default();
            return Ok(BTreeSet::new());
        }
        let sides = sides(wishes, pods);
        let leaving = self.leaving(&sides, pods, &found);
        let brought = bring(&sides, report);
        self.brought = Some(sides.keys().chain(&leaving).cloned().collect());
        report
            .problems
            .extend(wishes.iter().flat_map(|(name, wish)| not_in_force(name, wish, &brought, &found)));
        node.observe_services(&mut found)?;
        let plan = Plan::new(wishes, &found.marks, |address| brought.ready.contains(&address));
        report.problems.extend(plan.problems.iter().map(|(name, text)| problem(name, text.clone(), false)));
        let refused = on_node(&mut node, &found, &plan, report)?;
        report.writes += self.take_up(wishes)?;
        self.release(leaving, report);
        report.counts = counts(wishes, &plan, &brought);
        Ok(plan.served(&refused).filter(|address| !found.addresses.contains(address)).collect())
    }

    /// A router upstream may send a flow by another node from now on. Where all nodes choose alike it goes on, if IPVS
    /// takes it up there.
    fn take_up(&mut self, wishes: &Wishes) -> Result<u64> {
        let alike = |wish: &Wish| wish.scheduling.is_some_and(|how| how.scheduler == SAME_EVERYWHERE);
        let wanted = wishes.values().any(|wish| !wish.tuples.is_empty() && alike(wish));
        let was = std::mem::replace(&mut self.sloppy, wanted);
        let value = match (wanted, was) {
            (true, _) => "1",
            (false, true) => "0",
            (false, false) => return Ok(0),
        };
        sysctl::set(SLOPPY, value).map(u64::from)
    }

    /// Pods of this node that have their side, as far as is known, and serve nothing any more.
    fn leaving(&self, sides: &BTreeMap<PathBuf, Side>, pods: &Pods, found: &Found) -> BTreeSet<PathBuf> {
        let all = || pods.keys().cloned().collect();
        let known = match &self.brought {
            Some(brought) => brought.clone(),
            // What an earlier run has brought into pods is known by its marks alone; then each is looked at.
            None if found.marks.is_empty() => BTreeSet::new(),
            None => all(),
        };
        known.into_iter().filter(|path| pods.contains_key(path) && !sides.contains_key(path)).collect()
    }

    /// Takes their side from pods; no packet is sent there any more.
    fn release(&mut self, leaving: BTreeSet<PathBuf>, report: &mut Report) {
        for path in leaving {
            match pod::bring(&path, &Side::new()) {
                Ok(writes) => {
                    report.writes += writes;
                    self.brought.get_or_insert_default().remove(&path);
                }
                Err(error) => {
                    let message = format!("a pod keeps its tunnel device: {}", explain(&error));
                    report.problems.push(Problem { item: of_node(), message, retry: true });
                }
            }
        }
    }
}

/// What each pod that serves needs on its side.
fn sides(wishes: &Wishes, pods: &Pods) -> BTreeMap<PathBuf, Side> {
    let mut sides: BTreeMap<PathBuf, Side> = BTreeMap::new();
    let paths: BTreeMap<IpAddr, &PathBuf> =
        pods.iter().flat_map(|(path, all)| all.iter().map(move |address| (*address, path))).collect();
    for (tuple, wanted) in wishes.values().flat_map(|wish| &wish.tuples) {
        for address in
            wanted.backends.iter().filter(|(_, backend)| backend.local).map(|(address, _)| *address)
        {
            let Some(path) = paths.get(&address) else { continue };
            let side = sides.entry((*path).clone()).or_default();
            let of_family = side.entry(Family::of(address)).or_insert_with(|| (address, BTreeSet::new()));
            of_family.1.insert(tuple.address);
        }
    }
    sides
}

fn bring(sides: &BTreeMap<PathBuf, Side>, report: &mut Report) -> Brought {
    let mut brought = Brought::default();
    for (path, side) in sides {
        let addresses = side.values().map(|(pod, _)| *pod);
        match pod::bring(path, side) {
            Ok(writes) => {
                report.writes += writes;
                brought.ready.extend(addresses);
            }
            Err(error) => brought.failed.extend(addresses.map(|address| (address, explain(&error)))),
        }
    }
    brought
}

/// Returns the marks whose virtual services the kernel has refused something of.
fn on_node(node: &mut Node, found: &Found, plan: &Plan, report: &mut Report) -> Result<BTreeSet<u32>> {
    let families: BTreeSet<Family> = plan.marks.keys().map(|tuple| Family::of(tuple.address)).collect();
    let (before, after) = plan.commands(&found.services, &found.marks);
    let mut refused = balance(node, plan, &before, report);
    if families.contains(&Family::V4) {
        report.writes += node.admit_answers()?;
    }
    if !families.is_empty() {
        report.writes += node.lead(&families)?;
    }
    report.writes += node.mark(found, &plan.marks)?;
    refused.extend(balance(node, plan, &after, report));
    if families.is_empty() {
        report.writes += node.lead(&families)?;
    }
    Ok(refused)
}

fn balance(node: &mut Node, plan: &Plan, commands: &[Command], report: &mut Report) -> BTreeSet<u32> {
    let mut refused = BTreeSet::new();
    for (command, outcome) in commands.iter().zip(node.balance(commands)) {
        let Err(error) = outcome else {
            report.writes += 1;
            continue;
        };
        let mark = match command.service() {
            Some(ServiceKey::Mark { mark, .. }) => Some(mark),
            _ => None,
        };
        refused.extend(mark);
        let owner = mark.and_then(|mark| plan.owners.get(&mark));
        let item = owner.map_or_else(of_node, status::item);
        report.problems.push(Problem {
            item,
            message: format!("direct return is not in force: {error}"),
            retry: true,
        });
    }
    refused
}

/// What of a wish does not work on this node.
fn not_in_force(name: &ObjectName, wish: &Wish, brought: &Brought, found: &Found) -> Vec<Problem> {
    let mut problems: Vec<Problem> =
        wish.problems.iter().map(|text| problem(name, text.clone(), false)).collect();
    let local = wish.tuples.values().flat_map(|wanted| &wanted.backends);
    let local = local.filter(|(_, backend)| backend.local).map(|(address, _)| *address);
    for address in local.collect::<BTreeSet<_>>() {
        if brought.ready.contains(&address) {
            continue;
        }
        let failed = brought.failed.get(&address);
        let why = failed.map_or(UNKNOWN, String::as_str);
        problems.push(problem(
            name,
            format!("direct return is not in force for the pod at {address}: {why}"),
            failed.is_some(),
        ));
    }
    let addresses: BTreeSet<IpAddr> = wish.tuples.keys().map(|tuple| tuple.address).collect();
    for address in addresses.intersection(&found.addresses) {
        problems.push(problem(
            name,
            format!(
                "direct return is not in force: {address} is an address of this node, whose kernel throws away what comes \
                 from it; is it shared with a Service without direct return?"
            ),
            true,
        ));
    }
    problems
}

fn counts(wishes: &Wishes, plan: &Plan, brought: &Brought) -> BTreeMap<&'static str, u64> {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    BTreeMap::from([
        ("services", count(wishes.values().filter(|wish| !wish.tuples.is_empty()).count())),
        ("virtual services", count(plan.services.len())),
        ("pods", count(brought.ready.len())),
    ])
}

fn explain(error: &KernelError) -> String {
    if error.errno == Errno::EPERM { format!("{error}; {RIGHT}") } else { error.to_string() }
}

fn of_node() -> String {
    format!("{NAME} on this node")
}

fn problem(name: &ObjectName, message: String, retry: bool) -> Problem {
    Problem { item: status::item(name), message, retry }
}

impl Apply for Applier {
    type Key = Key;
    type Value = Value;

    fn apply(&mut self, desired: &BTreeMap<Key, Value>, _: &Scope<Key>) -> Report {
        let (mut wishes, mut pods) = (Wishes::new(), Pods::new());
        for (key, value) in desired {
            match (key, value) {
                (Key::Service(name), Value::Service(wish)) => _ = wishes.insert(name.clone(), wish.clone()),
                (Key::Pods, Value::Pods(all)) => pods.clone_from(all),
                _ => {}
            }
        }
        let mut report = Report::default();
        let outcome = self.run(&wishes, &pods, &mut report);
        if let Some(herald) = &self.herald {
            herald.tell(NAME, outcome.as_ref().map_or(ForceNews::Unknown, |all| ForceNews::All(all.clone())));
        }
        if let Err(error) = outcome {
            let message = format!("direct return is not in force: {error}");
            let all = wishes.keys().map(|name| problem(name, message.clone(), true));
            report.problems.extend(all);
            if wishes.is_empty() {
                report.problems.push(Problem { item: of_node(), message, retry: true });
            }
        }
        report
    }

    fn item(&self, key: &Key) -> Option<String> {
        match key {
            Key::Pods => None,
            Key::Service(name) => Some(status::item(name)),
        }
    }
}
