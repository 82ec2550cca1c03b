//! Frees what pods have left behind: a runtime such as containerd never calls GC, and after a restart of the node nobody
//! says DEL for the pods of before.
//!
//! ```text
//!   inventory (leases, rules, devices, files of our network) ──► no sign of life?  ── seen twice, and for the grace period
//!                                                             │
//!   signs of life: netns of record and libcni's cache, device │         ──► last look: signs again, and the address is
//!                                                                           called on the bridge ──► freed, told, counted
//! ```
//!
//! Only the networks of our configuration are looked at. What frees is the plugin's own code (lease store, netfilter,
//! legacy), attachment by attachment: never "all but those", as a pod may come while we look. Time is counted by a
//! clock that nobody sets, and a new daemon counts anew.

mod evidence;
mod free;
mod inventory;
mod network;
mod places;
mod probe;
mod sightings;
mod status;
#[cfg(test)]
mod tests;

pub use status::{JanitorStatus, Pool};

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use cni_plugin::netfilter;
use kernel::nft::Nft;
use tokio::sync::watch;

use self::evidence::Evidence;
use self::free::Freed;
use self::network::Network;
pub(crate) use self::network::leased;
use self::sightings::Sightings;

/// How it works.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How often it looks.
    pub every: Duration,
    /// How long nothing may have a sign of life before it is freed. An ADD gives up after about half a minute.
    pub grace: Duration,
    /// The network configuration, whose networks are ours.
    pub conflist: PathBuf,
    /// The folder of the daemon's records of attachments.
    pub records: PathBuf,
    /// The folder of libcni's cache.
    pub results: PathBuf,
}

impl Settings {
    /// The defaults: a look every 30 s, freed after 3 minutes without a sign of life.
    pub fn new(conflist: PathBuf, records: PathBuf) -> Self {
        Self {
            every: Duration::from_secs(30),
            grace: Duration::from_mins(3),
            conflist,
            records,
            results: "/var/lib/cni/results".into(),
        }
    }

    /// With what `variable` says, for tests and labs: `ROUTERD_JANITOR_EVERY_MS`, `ROUTERD_JANITOR_GRACE_MS`,
    /// `ROUTERD_CNI_CACHE`. What is not a number is ignored.
    #[must_use]
    pub fn overridden(mut self, variable: impl Fn(&str) -> Option<String>) -> Self {
        let milliseconds = |name| Some(Duration::from_millis(variable(name)?.parse().ok()?));
        self.every = milliseconds("ROUTERD_JANITOR_EVERY_MS").unwrap_or(self.every);
        self.grace = milliseconds("ROUTERD_JANITOR_GRACE_MS").unwrap_or(self.grace);
        self.results = variable("ROUTERD_CNI_CACHE").map_or(self.results, PathBuf::from);
        self
    }
}

/// How often the addresses are counted.
const COUNT_EVERY: Duration = Duration::from_secs(5);

/// Starts the thread. It runs as long as the process.
pub fn spawn(settings: Settings) -> io::Result<watch::Receiver<JanitorStatus>> {
    let (publish, status) = watch::channel(JanitorStatus::default());
    let mut janitor = Janitor::new(settings, publish);
    std::thread::Builder::new().name("janitor".to_owned()).spawn(move || {
        let mut next_round = Instant::now();
        loop {
            if next_round <= Instant::now() {
                janitor.round();
                next_round = Instant::now() + janitor.settings.every;
            }
            janitor.count();
            std::thread::sleep(COUNT_EVERY.min(janitor.settings.every));
        }
    })?;
    Ok(status)
}

/// What the thread owns.
pub(crate) struct Janitor {
    settings: Settings,
    sightings: Sightings,
    publish: watch::Sender<JanitorStatus>,
}

impl Janitor {
    pub(crate) fn new(settings: Settings, publish: watch::Sender<JanitorStatus>) -> Self {
        Self { settings, sightings: Sightings::default(), publish }
    }

    /// One look, and what follows from it.
    pub(crate) fn round(&mut self) {
        let begun = Instant::now();
        let mut problems = Vec::new();
        let freed = self.work(&mut problems);
        let mended = mend(&mut problems);
        let new = |problem: &&String| !self.publish.borrow().problems.contains(*problem);
        for problem in problems.iter().filter(new) {
            tracing::warn!("janitor: {problem}");
        }
        let suspects = self.sightings.len() as u64;
        self.publish.send_modify(|status| {
            status.mended += mended;
            status.record(&freed, suspects, problems, begun.elapsed());
        });
    }

    fn work(&mut self, problems: &mut Vec<String>) -> Vec<Freed> {
        let mut told = |problem: String| problems.push(problem);
        let networks = match network::read(&self.settings.conflist) {
            Ok(networks) => networks,
            Err(error) => {
                told(error);
                return Vec::new();
            }
        };
        // Without all signs of life nothing can be said to have none.
        let evidence = match Evidence::gather(&self.settings, &networks) {
            Ok(evidence) => evidence,
            Err(error) => {
                told(error);
                return Vec::new();
            }
        };
        let things = inventory::list(&networks, &evidence, &mut told);
        let suspects = things.into_iter().filter(|thing| !evidence.is_alive(thing)).collect();
        let due = self.sightings.look(suspects, Instant::now(), self.settings.grace);
        if due.is_empty() {
            return Vec::new();
        }
        free::all(&self.settings, &networks, due, &mut told)
    }

    /// Counts the addresses of our networks.
    pub(crate) fn count(&self) {
        let Ok(networks) = network::read(&self.settings.conflist) else { return };
        let pools: Vec<Pool> = networks.iter().flat_map(Network::pools).collect();
        self.publish.send_if_modified(|status| {
            let changed = status.pools != pools;
            status.pools = pools;
            changed
        });
    }
}

/// Mends what pods share of the plugin's rules: an ADD finds out only that something is missing, not that it was changed.
/// Tells how much there was to mend.
fn mend(problems: &mut Vec<String>) -> u64 {
    match Nft::open().map_err(Into::into).and_then(|mut nft| netfilter::tidy(&mut nft)) {
        Ok(faults) => {
            for fault in &faults {
                tracing::warn!("mended the rules of pods: {fault}");
            }
            faults.len() as u64
        }
        Err(error) => {
            problems.push(format!("cannot mend the rules of pods: {error}"));
            0
        }
    }
}
