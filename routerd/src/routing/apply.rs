//! The kernel half: routes and tunnels by netlink, rules by nf_tables, a few settings.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use kernel::fou::Fou;
use kernel::nft::{Identity, Nft};
use kernel::rtnl::{Change, NextHop, Route, Rtnl, table};
use kernel::{KernelError, Result};
use prefix::Prefix;

use super::desired::{Key, Own, Routing, Value};
use super::observe::{self, Found};
use super::overlay::{Around, Overlay, Reach};
use super::plan::{Hop, Path, Place, Plan, State};
use super::{devices, foreign, masquerade, segments, settings, wanted};
use crate::ruleset::Ruleset;
use crate::runner::{Apply, Plane, Problem, Report, Scope};

/// Routes whose changes are in memory at once.
const TOGETHER: usize = 1024;

/// Writes routes, tunnels and rules of this node.
#[derive(Debug)]
pub struct Applier {
    rtnl: Rtnl,
    /// Opened when the first tunnel needs a port.
    fou: Option<Fou>,
    rules: Nft,
    /// The kernel can cut TCP segments to their way.
    segments: bool,
    overlay: Overlay,
    /// What is in the kernel as far as we know; read back on each full run.
    found: Found,
    around: Around,
    known_rules: Ruleset,
    /// Until then a route of an earlier run stays though BGP has not learnt it again: traffic must not stop because
    /// the daemon was restarted.
    keep_until: Instant,
}

fn problem(item: String, error: &KernelError) -> Problem {
    let advice = if error.is_exists() {
        "; a route of another origin to the same destination stays; remove it if the learnt one is wanted"
    } else if error.is_not_found() || error.errno == nix::errno::Errno::ENETUNREACH {
        "; the next hop must be on a network that this node is attached to, or be a node that --enable-overlay has a tunnel to"
    } else {
        ""
    };
    Problem { item, message: format!("{error}{advice}"), retry: true }
}

fn item_of((number, prefix): &Place) -> String {
    if *number == table::MAIN { format!("route {prefix}") } else { format!("route {prefix} for pods") }
}

impl Applier {
    /// Works in the calling thread's network namespace. Routes of an earlier run are kept for `grace`; its changes of
    /// nf_tables are known as `identity`'s.
    pub fn new(grace: Duration, identity: Identity, overlay: Overlay) -> Result<Self> {
        let mut rules = Nft::open_as(identity)?;
        let segments = rules.supports(&segments::rule())?;
        if !segments {
            tracing::warn!(
                "this kernel has no nf_tables expression rt or exthdr: where a way is narrower than a pod's MTU, TCP depends on ICMP"
            );
        }
        Ok(Self {
            rtnl: Rtnl::open()?,
            fou: None,
            rules,
            segments,
            overlay,
            found: Found::default(),
            around: Around::default(),
            known_rules: Ruleset::default(),
            keep_until: Instant::now() + grace,
        })
    }

    /// The route; `None` if one of its tunnels is not there.
    fn route(&self, (number, prefix): &Place, path: &Path) -> Option<Route> {
        let mut route = Route::new(*prefix).protocol(path.protocol).table(*number);
        for hop in &path.hops {
            route = route.next_hop(match hop {
                Hop::Router(gateway) => NextHop::via(*gateway),
                Hop::Tunnel(remote) => NextHop::link(self.found.devices.get(remote)?.index),
                Hop::Device(index) => NextHop::link(*index),
            });
        }
        Some(Route { source: path.source, ..route })
    }

    /// Writes routes, many with one system call.
    fn write_routes(&mut self, routes: &BTreeMap<Place, Path>, report: &mut Report) {
        let mut routes = routes.iter();
        loop {
            let some: Vec<_> = routes.by_ref().take(TOGETHER).collect();
            if some.is_empty() {
                return;
            }
            // A tunnel that could not be made has its own problem; the route is written when it is there.
            let (made, changes): (Vec<_>, Vec<_>) = some
                .into_iter()
                .filter_map(|(place, path)| Some(((place, path), self.writing(place, path)?)))
                .unzip();
            for ((place, path), written) in made.into_iter().zip(self.rtnl.change_each(&changes)) {
                match written {
                    Ok(()) => {
                        report.writes += 1;
                        self.found.state.routes.insert(*place, path.clone());
                    }
                    Err(error) => {
                        report.problems.push(problem(item_of(place), &error));
                        self.write_usable(place, path, report);
                    }
                }
            }
        }
    }

    /// The kernel takes several ways only together. One that cannot be used must not keep traffic from the others. What of ours was there
    /// before a refusal is there still.
    fn write_usable(&mut self, place: &Place, path: &Path, report: &mut Report) {
        let Some(fewer) = observe::usable(&mut self.rtnl, path) else { return };
        if self.found.state.routes.get(place) == Some(&fewer) {
            return;
        }
        let Some(change) = self.writing(place, &fewer) else { return };
        match self.rtnl.change_each(&[change]).pop() {
            Some(Ok(())) => {
                report.writes += 1;
                self.found.state.routes.insert(*place, fewer);
            }
            Some(Err(error)) => report.problems.push(problem(item_of(place), &error)),
            None => {}
        }
    }

    /// Only what is ours is written over: a peer must not move a route of the administrator or the kernel.
    fn writing(&self, place: &Place, path: &Path) -> Option<Change> {
        let route = self.route(place, path)?;
        let ours = self.found.state.routes.contains_key(place);
        Some(if ours { Change::ReplaceRoute(route) } else { Change::AddRoute(route) })
    }

    fn remove_routes(&mut self, places: &BTreeSet<Place>, report: &mut Report) {
        let mut places = places.iter();
        loop {
            let some: Vec<&Place> = places.by_ref().take(TOGETHER).collect();
            if some.is_empty() {
                return;
            }
            // One through a tunnel that is gone went with it.
            let (gone, changes): (Vec<_>, Vec<_>) = some
                .into_iter()
                .filter_map(|place| {
                    let path = self.found.state.routes.remove(place)?;
                    Some((place, Change::DeleteRoute(self.route(place, &path)?)))
                })
                .unzip();
            for (place, outcome) in gone.into_iter().zip(self.rtnl.change_each(&changes)) {
                match outcome {
                    Err(error) if !error.is_not_found() => {
                        report.problems.push(problem(item_of(place), &error));
                    }
                    outcome => report.writes += u64::from(outcome.is_ok()),
                }
            }
        }
    }

    fn write(&mut self, plan: &Plan, report: &mut Report) {
        devices::make(&mut self.rtnl, &mut self.fou, &mut self.found, plan, report);
        self.write_routes(&plan.write, report);
        devices::point(&mut self.rtnl, &mut self.found, plan, report);
        self.remove_routes(&plan.remove, report);
        devices::unmake(&mut self.rtnl, &mut self.fou, &mut self.found, plan, report);
        if !plan.unmake.is_empty() {
            let gone = |hop: &Hop| matches!(hop, Hop::Tunnel(remote) if plan.unmake.contains(remote));
            self.found.state.routes.retain(|_, path| !path.hops.iter().any(gone));
        }
    }

    /// Reads where the node is, which decides about tunnels.
    fn look_around(&mut self, desired: &BTreeMap<Key, Value>) -> Result<()> {
        if self.overlay.reach == Reach::Never {
            return Ok(());
        }
        let remotes: BTreeSet<_> = wanted::peers(desired).collect();
        let none = Own::default();
        self.around = observe::around(&mut self.rtnl, wanted::own(desired).unwrap_or(&none), &remotes)?;
        Ok(())
    }

    fn everything(&mut self, desired: &BTreeMap<Key, Value>, report: &mut Report) -> Result<Plan> {
        self.look_around(desired)?;
        self.found = observe::ours(&mut self.rtnl, &mut self.fou)?;
        let state = wanted::state(desired, self.overlay, &self.around);
        let mut plan = Plan::between(&self.found.state, &state);
        if Instant::now() < self.keep_until && plan.keep_routes(&BTreeSet::new()) {
            report.again = Some(self.keep_until.saturating_duration_since(Instant::now()));
        }
        Ok(plan)
    }

    /// Other nodes or this one have changed: tunnels and what follows from them, and the routes among `prefixes`.
    fn network(&mut self, desired: &BTreeMap<Key, Value>, prefixes: &BTreeSet<Prefix>) -> Result<Plan> {
        self.look_around(desired)?;
        let state = wanted::state(desired, self.overlay, &self.around);
        let mut plan = Plan::between(&self.found.state, &state);
        plan.keep_routes(prefixes);
        Ok(plan)
    }

    fn routes(&self, desired: &BTreeMap<Key, Value>, prefixes: &BTreeSet<Prefix>) -> Plan {
        let keys: Vec<Key> = prefixes.iter().map(|prefix| Key::Route(*prefix)).collect();
        let values = keys.iter().filter_map(|key| desired.get_key_value(key));
        let own = wanted::own(desired).cloned().unwrap_or_default();
        let routes = wanted::routes(values, &own, &self.around, &self.found.state.tunnels);
        let state = State { routes, ..State::default() };
        Plan::between(&self.found.state.only_routes(prefixes), &state)
    }

    fn apply_routes(&mut self, desired: &BTreeMap<Key, Value>, scope: &Scope<Key>, report: &mut Report) {
        let plan = match scope {
            Scope::Everything => self.everything(desired, report),
            Scope::Keys(keys) if keys.iter().any(|key| matches!(key, Key::Node | Key::Peer(_))) => {
                self.network(desired, &prefixes_of(keys).collect())
            }
            Scope::Keys(keys) => return self.apply_learnt(desired, prefixes_of(keys), report),
        };
        match plan {
            Ok(plan) => self.write(&plan, report),
            Err(error) => report.problems.push(problem(Routing::NAME.to_owned(), &error)),
        }
    }

    /// One part of them after the other: what is made of a part on its way is in memory until it is in the kernel.
    fn apply_learnt(
        &mut self,
        desired: &BTreeMap<Key, Value>,
        mut prefixes: impl Iterator<Item = Prefix>,
        report: &mut Report,
    ) {
        loop {
            let some: BTreeSet<Prefix> = prefixes.by_ref().take(TOGETHER).collect();
            if some.is_empty() {
                return;
            }
            let plan = self.routes(desired, &some);
            self.write(&plan, report);
        }
    }

    fn apply_rules(&mut self, desired: &BTreeMap<Key, Value>, scope: &Scope<Key>, report: &mut Report) {
        if *scope == Scope::Everything {
            match Ruleset::observe(&mut self.rules, masquerade::PREFIX) {
                Ok(observed) => self.known_rules = observed,
                Err(error) => {
                    report.problems.push(problem(Routing::NAME.to_owned(), &error));
                    return;
                }
            }
        }
        let wanted = masquerade::desired(desired);
        let wanted = if self.segments { segments::with_chain(wanted) } else { wanted };
        let transaction = self.known_rules.changes(&wanted);
        match self.rules.commit(&transaction) {
            Ok(()) => {
                report.writes += transaction.len() as u64;
                self.known_rules = wanted;
            }
            Err(error) => report.problems.push(problem("pod egress rules".to_owned(), &error.error)),
        }
    }
}

fn prefixes_of(keys: &BTreeSet<Key>) -> impl Iterator<Item = Prefix> {
    keys.iter().filter_map(|key| match key {
        Key::Route(prefix) => Some(*prefix),
        _ => None,
    })
}

/// How many ranges and nodes there are, and routes of the main table. Their orders have these at one end: a walk through all routes would
/// take longer than a change of one.
fn counts(desired: &BTreeMap<Key, Value>, routes: &BTreeMap<Place, Path>) -> (usize, usize) {
    let is_member = |key: &&Key| matches!(key, Key::PodRange(_) | Key::NodeAddress(_));
    let members = desired.keys().rev().take_while(is_member).count();
    let below = routes.keys().take_while(|(number, _)| *number < table::MAIN).count();
    let above = routes.keys().rev().take_while(|(number, _)| *number > table::MAIN).count();
    (members, routes.len() - below - above)
}

/// True if the rules or the settings depend on one of the keys.
fn concerns_rules(scope: &Scope<Key>) -> bool {
    match scope {
        Scope::Everything => true,
        Scope::Keys(keys) => keys.iter().any(|key| !matches!(key, Key::Route(_))),
    }
}

impl Apply for Applier {
    type Key = Key;
    type Value = Value;

    fn apply(&mut self, desired: &BTreeMap<Key, Value>, scope: &Scope<Key>) -> Report {
        let mut report = Report::default();
        if let (Scope::Everything, Some(Value::Node(own))) = (scope, desired.get(&Key::Node)) {
            settings::apply(&mut report, &own.families);
        }
        self.apply_routes(desired, scope, &mut report);
        if concerns_rules(scope) {
            self.apply_rules(desired, scope, &mut report);
        }
        if *scope == Scope::Everything {
            match foreign::problems(&mut self.rules) {
                Ok(problems) => report.problems.extend(problems),
                Err(error) => tracing::debug!(%error, "the rules of others cannot be read"),
            }
        }
        let (members, routes) = counts(desired, &self.found.state.routes);
        report.counts = BTreeMap::from([
            ("routes", routes as u64),
            ("tunnels", self.found.state.tunnels.len() as u64),
            ("ranges and nodes", members as u64),
        ]);
        report
    }

    fn item(&self, key: &Key) -> Option<String> {
        match key {
            Key::Route(prefix) => Some(format!("route {prefix}")),
            _ => None,
        }
    }
}
