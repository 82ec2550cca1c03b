//! Brings direct return into force in an order in which no packet is lost: pods, then IPVS, then marks; and back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use kernel::ipvs::{Command, ServiceKey};
use kernel::nft::Identity;
use kernel::{KernelError, Result, sysctl};
use nix::errno::Errno;
use prefix::Family;

use super::NAME;
use super::desired::{Key, Pods, Value, Wish};
use super::node::{Found, Node};
use super::plan::{self, Balanced, Changes, Kept, Plan};
use super::pod::{self, Side};
use crate::cluster::ForceNews;
use crate::cluster::objects::ObjectName;
use crate::runner::{Apply, Problem, Report, Scope};
use crate::services::draining::Draining;
use crate::services::state::Tuple;
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
    /// Nothing of ours is in the kernel, and no Service wants anything.
    idle: bool,
    /// Who keeps connections for a while.
    pub(super) draining: Draining,
    /// What the last run left in IPVS, but for what the kernel refused something of.
    pub(super) left: BTreeMap<Tuple, Balanced>,
    /// What the last look at that cost.
    pub(super) cost: Duration,
    /// Namespaces of pods that have their side; `None` before the first look.
    brought: Option<BTreeSet<PathBuf>>,
    /// We have set [`SLOPPY`]; `None`: an earlier run may have.
    sloppy: Option<bool>,
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
        let (draining, left, cost) = (Draining::default(), BTreeMap::new(), Duration::ZERO);
        Self { identity, idle: false, draining, left, cost, brought: None, sloppy: None, herald: None }
    }

    /// The same, in which a backend that is no longer wanted keeps its connections for at most `period`
    /// (`--ipvs-graceful-period`); `None`: they end at once.
    #[must_use]
    pub fn draining(mut self, period: Option<Duration>) -> Self {
        self.draining = Draining::new(period);
        self
    }

    /// The same, telling which virtual addresses are served.
    #[must_use]
    pub fn telling(mut self, herald: Option<Herald>) -> Self {
        self.herald = herald;
        self
    }

    /// Returns the addresses that are served.
    fn run(&mut self, wishes: &Wishes, pods: &Pods, report: &mut Report) -> Result<BTreeSet<IpAddr>> {
        self.left.clear();
        let mut node = Node::open(self.identity)?;
        let mut found = node.observe()?;
        let held = self.brought.as_ref().is_some_and(|brought| !brought.is_empty());
        self.idle = !wishes.values().any(Wish::is_any) && !held && found.marks.is_empty();
        if self.idle {
            self.brought.get_or_insert_default();
            return Ok(BTreeSet::new());
        }
        node.observe_services(&mut found)?;
        let now = Instant::now();
        let kept = plan::kept(wishes, &found.services, &found.marks, |one| self.draining.keeps(one, now));
        self.draining.settle(kept.clone(), |_| true, now);
        let sides = sides(wishes, &kept, pods);
        let leaving = self.leaving(&sides, pods, &found);
        let brought = bring(&sides, report);
        self.brought = Some(sides.keys().chain(&leaving).cloned().collect());
        report
            .problems
            .extend(wishes.iter().flat_map(|(name, wish)| not_in_force(name, wish, &brought, &found)));
        let plan = Plan::new(wishes, &found.marks, |address| brought.ready.contains(&address));
        report.problems.extend(plan.problems.iter().map(|(name, text)| problem(name, text.clone(), false)));
        let changes = plan.changes(&found.services, &found.marks, &kept);
        // Before the marks go: by them a later run knows that it was ours.
        let taken_up = self.take_up(wishes, &found);
        let refused = on_node(&mut node, &found, &plan, &changes, report)?;
        self.left = changes.left;
        self.left.retain(|tuple, _| plan.marks.get(tuple).is_some_and(|mark| !refused.contains(mark)));
        report.writes += taken_up?;
        self.release(leaving, report);
        report.counts = counts(wishes, &plan, &brought);
        Ok(plan.served(&refused).filter(|address| !found.addresses.contains(address)).collect())
    }

    /// A router upstream may send a flow by another node from now on. Where all nodes choose alike it goes on, if IPVS
    /// takes it up there.
    fn take_up(&mut self, wishes: &Wishes, found: &Found) -> Result<u64> {
        let alike = |wish: &Wish| wish.scheduling.is_some_and(|how| how.scheduler == SAME_EVERYWHERE);
        let wanted = wishes.values().any(|wish| wish.is_any() && alike(wish));
        let by_earlier_run = || found.services.values().any(|one| one.service.scheduler == SAME_EVERYWHERE);
        let was = *self.sloppy.get_or_insert_with(by_earlier_run);
        let value = match (wanted, was) {
            (true, _) => "1",
            (false, true) => "0",
            (false, false) => return Ok(0),
        };
        let written = sysctl::set(SLOPPY, value)?;
        self.sloppy = Some(wanted);
        Ok(written.into())
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

/// What each pod needs on its side that serves, or has connections still.
fn sides(wishes: &Wishes, kept: &Kept, pods: &Pods) -> BTreeMap<PathBuf, Side> {
    let mut sides: BTreeMap<PathBuf, Side> = BTreeMap::new();
    let paths: BTreeMap<IpAddr, &PathBuf> =
        pods.iter().flat_map(|(path, all)| all.iter().map(move |address| (*address, path))).collect();
    let wanted = wishes.values().flat_map(|wish| &wish.tuples).flat_map(|(tuple, wanted)| {
        let local = wanted.backends.iter().filter(|(_, backend)| backend.local);
        local.map(|(address, _)| (tuple.address, *address))
    });
    let kept = kept.iter().map(|(tuple, socket)| (tuple.address, socket.ip()));
    for (external, address) in wanted.chain(kept) {
        let Some(path) = paths.get(&address) else { continue };
        let side = sides.entry((*path).clone()).or_default();
        let of_family = side.entry(Family::of(address)).or_insert_with(|| (address, BTreeSet::new()));
        of_family.1.insert(external);
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
fn on_node(
    node: &mut Node,
    found: &Found,
    plan: &Plan,
    changes: &Changes,
    report: &mut Report,
) -> Result<BTreeSet<u32>> {
    let families: BTreeSet<Family> = plan.marks.keys().map(|tuple| Family::of(tuple.address)).collect();
    let mut refused = balance(node, plan, &changes.before, report);
    if families.contains(&Family::V4) {
        report.writes += node.admit_answers()?;
    }
    if !families.is_empty() {
        report.writes += node.lead(&families)?;
    }
    report.writes += node.mark(found, plan)?;
    refused.extend(balance(node, plan, &changes.after, report));
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
    let mut problems = Vec::new();
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
        ("services", count(wishes.values().filter(|wish| wish.is_any()).count())),
        ("virtual services", count(plan.services.len())),
        ("pods", count(brought.ready.len())),
    ])
}

fn explain(error: &KernelError) -> String {
    if error.errno == Errno::EPERM { format!("{error}; {RIGHT}") } else { error.to_string() }
}

/// What is wrong with Services themselves.
fn of_objects(desired: &BTreeMap<Key, Value>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, value) in desired {
        if let (Key::Service(name), Value::Service(wish)) = (key, value) {
            problems.extend(wish.problems.iter().map(|text| problem(name, text.clone(), false)));
        }
    }
    problems
}

pub(super) fn of_node() -> String {
    format!("{NAME} on this node")
}

fn problem(name: &ObjectName, message: String, retry: bool) -> Problem {
    Problem { item: status::item(name), message, retry }
}

impl Apply for Applier {
    type Key = Key;
    type Value = Value;

    fn apply(&mut self, desired: &BTreeMap<Key, Value>, scope: &Scope<Key>) -> Report {
        let wanted = desired.values().any(|value| matches!(value, Value::Service(wish) if wish.is_any()));
        if self.idle && !wanted && matches!(scope, Scope::Keys(_)) {
            return Report { problems: of_objects(desired), ..Report::default() };
        }
        let (mut wishes, mut pods) = (Wishes::new(), Pods::new());
        for (key, value) in desired {
            match (key, value) {
                (Key::Service(name), Value::Service(wish)) => _ = wishes.insert(name.clone(), wish.clone()),
                (Key::Pods, Value::Pods(all)) => pods.clone_from(all),
                _ => {}
            }
        }
        let mut report = Report { problems: of_objects(desired), ..Report::default() };
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

    fn tend(&mut self, desired: &BTreeMap<Key, Value>) -> Option<Report> {
        self.round(desired)
    }

    fn tend_after(&self) -> Option<Duration> {
        self.pause()
    }

    fn item(&self, key: &Key) -> Option<String> {
        match key {
            Key::Pods => None,
            Key::Service(name) => Some(status::item(name)),
        }
    }
}
