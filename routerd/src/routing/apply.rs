//! The kernel half: routes by netlink, the masquerade rules by nf_tables, a few settings.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use kernel::nft::{Identity, Nft};
use kernel::rtnl::{Route, RouteFilter, RouteKind, Rtnl};
use kernel::{KernelError, Result};
use prefix::Prefix;

use super::desired::{Key, Routing, Value};
use super::plan::{Plan, State};
use super::{PROTOCOL, masquerade, settings};
use crate::ruleset::Ruleset;
use crate::runner::{Apply, Plane, Problem, Report, Scope};

/// Writes routes and rules of this node.
#[derive(Debug)]
pub struct Applier {
    routes: Rtnl,
    rules: Nft,
    /// What is in the kernel as far as we know; read back on each full run.
    known: State,
    known_rules: Ruleset,
    /// Until then a route of an earlier run stays though BGP has not learnt it again: traffic must not stop because
    /// the daemon was restarted.
    keep_until: Instant,
}

fn route(prefix: Prefix, hops: &BTreeSet<IpAddr>) -> Route {
    hops.iter().fold(Route::new(prefix).protocol(PROTOCOL), |route, hop| route.via(*hop))
}

fn problem(item: String, error: &KernelError) -> Problem {
    let advice = if error.is_exists() {
        "; a route of another origin to the same destination stays; remove it if the learnt one is wanted"
    } else if error.is_not_found() || error.errno == nix::errno::Errno::ENETUNREACH {
        "; the next hop must be on a network that this node is attached to"
    } else {
        ""
    };
    Problem { item, message: format!("{error}{advice}"), retry: true }
}

impl Applier {
    /// Works in the calling thread's network namespace. Routes of an earlier run are kept for `grace`; its changes of
    /// nf_tables are known as `identity`'s.
    pub fn new(grace: Duration, identity: Identity) -> Result<Self> {
        Ok(Self {
            routes: Rtnl::open()?,
            rules: Nft::open_as(identity)?,
            known: State::default(),
            known_rules: Ruleset::default(),
            keep_until: Instant::now() + grace,
        })
    }

    fn observe_routes(&mut self) -> Result<State> {
        let filter = RouteFilter {
            table: Some(kernel::rtnl::table::MAIN),
            protocol: Some(PROTOCOL),
            ..RouteFilter::default()
        };
        let mut state = State::default();
        for route in self.routes.routes(&filter)? {
            if route.kind == RouteKind::Unicast {
                let hops = route.next_hops.iter().filter_map(|hop| hop.gateway);
                state.routes.entry(route.destination).or_default().extend(hops);
            }
        }
        Ok(state)
    }

    fn write(&mut self, plan: &Plan, report: &mut Report) {
        for (prefix, hops) in &plan.write {
            let wanted = route(*prefix, hops);
            // Only what is ours is written over: a peer must not move a route of the administrator or the kernel.
            let written = if self.known.routes.contains_key(prefix) {
                self.routes.replace_route(&wanted)
            } else {
                self.routes.add_route(&wanted)
            };
            match written {
                Ok(()) => {
                    report.writes += 1;
                    self.known.routes.insert(*prefix, hops.clone());
                }
                Err(error) => {
                    self.known.routes.remove(prefix);
                    report.problems.push(problem(format!("route {prefix}"), &error));
                }
            }
        }
        for prefix in &plan.remove {
            let hops = self.known.routes.get(prefix).cloned().unwrap_or_default();
            match self.routes.delete_route(&route(*prefix, &hops)) {
                Err(error) if !error.is_not_found() => {
                    report.problems.push(problem(format!("route {prefix}"), &error));
                }
                outcome => {
                    report.writes += u64::from(outcome.is_ok());
                    self.known.routes.remove(prefix);
                }
            }
        }
    }

    fn apply_routes(&mut self, desired: &BTreeMap<Key, Value>, scope: &Scope<Key>, report: &mut Report) {
        let wanted = State::of(desired);
        let plan = match scope {
            Scope::Everything => {
                match self.observe_routes() {
                    Ok(observed) => self.known = observed,
                    Err(error) => {
                        report.problems.push(problem(Routing::NAME.to_owned(), &error));
                        return;
                    }
                }
                let mut plan = Plan::between(&self.known, &wanted);
                if Instant::now() < self.keep_until && !plan.remove.is_empty() {
                    plan.remove.clear();
                    report.again = Some(self.keep_until.saturating_duration_since(Instant::now()));
                }
                plan
            }
            Scope::Keys(keys) => Plan::between(&self.known.only(keys), &wanted.only(keys)),
        };
        self.write(&plan, report);
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
        if let (Scope::Everything, Some(Value::Node { families, .. })) = (scope, desired.get(&Key::Node)) {
            settings::apply(&mut report, families);
        }
        self.apply_routes(desired, scope, &mut report);
        if concerns_rules(scope) {
            self.apply_rules(desired, scope, &mut report);
        }
        let members = desired.values().filter(|value| **value == Value::Member).count();
        report.counts = BTreeMap::from([
            ("routes", self.known.routes.len() as u64),
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
