//! Gives addresses, on the node that has the Lease.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::desired::{Claim, Key, Standing, Value};
use super::memory::Memory;
use super::plan::Plan;
use super::pool::Pool;
use super::{NAME, Settings};
use crate::cluster::balancing::{Edit, Handle, Term, Written};
use crate::cluster::objects::{ObjectName, Service};
use crate::runner::{Apply, Problem, Report, Scope};

/// The wait for the watch to show what another one has written.
const OUTDATED: Duration = Duration::from_millis(500);

/// After so many refusals in one go it may be all of them; the others wait for the next.
const MOST_REFUSED: usize = 8;

/// The API server as the plane needs it. The real one is [`Handle`]; tests have one in memory.
pub trait Api: Send + 'static {
    /// The term in which this node alone gives addresses.
    fn term(&self) -> Option<Term>;
    /// All Services as they are now.
    fn services(&mut self) -> Result<Vec<Service>, String>;
    /// Writes the addresses of a Service.
    fn write(&mut self, service: &ObjectName, edit: &Edit) -> Result<Written, String>;
}

impl Api for Handle {
    fn term(&self) -> Option<Term> {
        Handle::term(self)
    }

    fn services(&mut self) -> Result<Vec<Service>, String> {
        Handle::services(self)
    }

    fn write(&mut self, service: &ObjectName, edit: &Edit) -> Result<Written, String> {
        Handle::write(self, service, edit)
    }
}

/// The half of the plane that writes.
#[derive(Debug)]
pub struct Applier<A> {
    api: A,
    settings: Settings,
    pool: Pool,
    /// The term in which all Services were asked for.
    begun: Option<u64>,
    memory: Memory,
    /// Services whose addresses the API server refused at the last try. They come last: those of others need not wait.
    refused: BTreeSet<ObjectName>,
}

impl<A: Api> Applier<A> {
    /// An applier that has given nothing yet.
    pub fn new(api: A, settings: &Settings) -> Self {
        let pool = Pool::new(settings);
        Self {
            api,
            settings: settings.clone(),
            pool,
            begun: None,
            memory: Memory::default(),
            refused: BTreeSet::new(),
        }
    }

    /// The API server it writes to.
    pub fn api(&mut self) -> &mut A {
        &mut self.api
    }

    /// What an earlier leader has written may not have come by the watch yet.
    fn begin(&mut self, number: u64, claims: &BTreeMap<ObjectName, Claim>) -> Result<(), String> {
        if self.begun != Some(number) {
            let services = self.api.services()?;
            self.memory = Memory::of(&services, claims, &self.settings, Instant::now());
            self.begun = Some(number);
        }
        Ok(())
    }

    fn run(
        &mut self,
        term: Term,
        claims: &mut BTreeMap<ObjectName, Claim>,
        nodes: &BTreeSet<IpAddr>,
    ) -> Report {
        let mut report = Report::default();
        let shown: BTreeMap<_, _> =
            claims.iter().map(|(name, claim)| (name.clone(), claim.held.clone())).collect();
        self.memory.correct(claims, Instant::now());
        let plan = Plan::between(claims, nodes, &mut self.pool);
        report
            .problems
            .extend(plan.problems.into_iter().map(|(name, message)| problem(&name, message, false)));
        let (late, first): (Vec<_>, Vec<_>) =
            plan.edits.into_iter().partition(|(name, _)| self.refused.contains(name));
        self.refused = late.iter().map(|(name, _)| name.clone()).collect();
        let mut refused = 0;
        for (name, edit) in first.into_iter().chain(late) {
            if self.api.term().map(|term| term.number) != Some(term.number) {
                break;
            }
            match self.api.write(&name, &edit) {
                Ok(Written::Done) => {
                    let shown = shown.get(&name).cloned();
                    if let Some(claim) = claims.get_mut(&name) {
                        claim.held.retain(|address| !edit.remove.contains(address));
                        claim.held.extend(&edit.add);
                        self.memory.learn(&name, shown, claim.held.clone(), Instant::now());
                    }
                    self.refused.remove(&name);
                    tracing::info!(service = %name, given = ?edit.add, taken = ?edit.remove, "load balancer addresses");
                }
                Ok(Written::Outdated) => report.again = Some(OUTDATED),
                Ok(Written::Refused(error)) => {
                    report.problems.push(not_written(&name, &error));
                    self.refused.insert(name);
                    refused += 1;
                    if refused == MOST_REFUSED {
                        break;
                    }
                }
                Err(error) => {
                    report.problems.push(not_written(&name, &error));
                    // The next would fail the same way, each after its time.
                    break;
                }
            }
        }
        report
    }

    fn counts(&self, claims: &BTreeMap<ObjectName, Claim>) -> BTreeMap<&'static str, u64> {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let wanting = claims.values().filter(|claim| claim.standing == Standing::Wants);
        let without = wanting.clone().filter(|claim| {
            claim
                .families
                .iter()
                .any(|family| !claim.held.iter().any(|held| prefix::Family::of(*held) == *family))
        });
        let used = claims.values().flat_map(|claim| claim.held.iter().chain(&claim.others));
        let used: BTreeSet<&IpAddr> = used.filter(|address| self.settings.holds(**address)).collect();
        BTreeMap::from([
            ("leader", 1),
            ("services", count(wanting.count())),
            ("without address", count(without.count())),
            ("addresses in use", count(used.len())),
        ])
    }
}

fn item(name: &ObjectName) -> String {
    format!("Service {name}")
}

fn not_written(name: &ObjectName, error: &str) -> Problem {
    problem(name, format!("its load balancer addresses cannot be written: {error}; it is tried again"), true)
}

fn problem(name: &ObjectName, message: String, retry: bool) -> Problem {
    Problem { item: item(name), message, retry }
}

impl<A: Api> Apply for Applier<A> {
    type Key = Key;
    type Value = Value;

    fn apply(&mut self, desired: &BTreeMap<Key, Value>, _: &Scope<Key>) -> Report {
        let Some(term) = self.api.term() else {
            self.begun = None;
            return Report { counts: BTreeMap::from([("leader", 0)]), ..Report::default() };
        };
        let mut claims = BTreeMap::new();
        let mut nodes = BTreeSet::new();
        for (key, value) in desired {
            match (key, value) {
                (Key::Service(name), Value::Service(claim)) => _ = claims.insert(name.clone(), claim.clone()),
                (Key::Nodes, Value::Nodes(addresses)) => nodes.clone_from(addresses),
                _ => {}
            }
        }
        if let Err(error) = self.begin(term.number, &claims) {
            let message =
                format!("no addresses are given: the Services cannot be listed: {error}; it is tried again");
            let problem = Problem { item: format!("{NAME} on this node"), message, retry: true };
            return Report { problems: vec![problem], ..Report::default() };
        }
        let mut report = self.run(term, &mut claims, &nodes);
        report.counts = self.counts(&claims);
        report
    }

    fn item(&self, key: &Key) -> Option<String> {
        match key {
            Key::Nodes => None,
            Key::Service(name) => Some(item(name)),
        }
    }
}
