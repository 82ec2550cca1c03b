//! The half that speaks with the speaker.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bgp::bfd::Bfd;
use bgp::clock::SystemClock;
use bgp::{BlockingHandle, Shutdown, Speaker, SpeakerConfig, SpeakerGone, SpeakerHandle, Start};
use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc;

use super::desired::{Advertise, Identity, Key, Value};
use super::drain::Wait;
use super::earlier;
use super::link::{self, Link, Stage};
use super::plan::{Dirty, Model, Plan, State};
use super::sessions::Sessions;
use crate::cluster::objects::LearntRoute;
use crate::config::BgpConfig;
use crate::runner::{Apply, Plane, Problem, Report, Scope};

/// How soon a listener that does not listen yet is looked at again, and how often sessions are.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

struct Running {
    identity: Identity,
    handle: SpeakerHandle,
    bfd: Bfd,
    told: State,
    told_all: bool,
    view_told: bool,
}

/// Starts the speaker when the node is known, and tells it what changes.
pub struct Applier {
    bgp: BgpConfig,
    runtime: Runtime,
    routes: mpsc::Sender<Vec<LearntRoute>>,
    link: Link,
    model: Model,
    running: Option<Running>,
    wait: Wait,
    sessions: Sessions,
    /// What the next speaker is to its peers.
    start: Start,
}

impl Applier {
    /// The speaker runs in `runtime`; what it learns goes to `routes`, its handle to `link`.
    pub fn new(bgp: BgpConfig, runtime: Runtime, routes: mpsc::Sender<Vec<LearntRoute>>, link: Link) -> Self {
        let wait = Wait::new(bgp.drain_time);
        Self {
            bgp,
            runtime,
            routes,
            link,
            model: Model::default(),
            running: None,
            wait,
            sessions: Sessions::default(),
            start: earlier::start(),
        }
    }

    fn speaker_config(&self, identity: &Identity, start: Start) -> SpeakerConfig {
        let seconds = u16::try_from(self.bgp.hold_time.as_secs()).unwrap_or(u16::MAX);
        SpeakerConfig {
            listen: identity.listen.clone(),
            hold_time: seconds,
            start,
            ..SpeakerConfig::new(identity.asn, identity.router_id)
        }
    }

    /// Sees to it that a speaker with `identity` runs. Other addresses to listen at touch no session.
    fn ensure_running(&mut self, identity: &Identity) -> Result<(), String> {
        if let Some(running) = &mut self.running {
            let is = |one: &Identity| (one.asn, one.router_id);
            if is(&running.identity) == is(identity) {
                if running.identity.listen != identity.listen {
                    let listen = running.handle.blocking().listen(identity.listen.clone());
                    listen.map_err(|gone| gone.to_string())?;
                }
                running.identity = identity.clone();
                return Ok(());
            }
        }
        self.stop("routerd is told to be another speaker");
        let _inside = self.runtime.enter();
        let start = std::mem::take(&mut self.start);
        let config = self.speaker_config(identity, start);
        let (handle, events) = Speaker::start(config).map_err(|error| error.to_string())?;
        self.runtime.spawn(link::forward(events, self.routes.clone(), self.link.clone()));
        let (bfd, paths) = Bfd::start(SystemClock::default());
        self.runtime.spawn(link::end_lost(paths, handle.clone()));
        tracing::info!(router_id = %identity.router_id, asn = identity.asn, ?start, "BGP speaker started");
        self.link.set(Stage::Running(handle.clone(), bfd.clone()));
        let (identity, told) = (identity.clone(), State::default());
        self.running = Some(Running { identity, handle, bfd, told, told_all: false, view_told: false });
        Ok(())
    }

    fn stop(&mut self, reason: &str) {
        if let Some(running) = self.running.take() {
            self.link.set(Stage::Absent);
            // One that has ended by itself is as good.
            let _ = self.runtime.block_on(running.handle.shutdown(Shutdown::Cease(reason.to_owned())));
        }
    }

    /// Withholds the addresses of Services once others have had the time to look for another way.
    fn drain(&mut self, identity: &Identity, dirty: &mut Dirty, report: &mut Report) {
        let now = Instant::now();
        self.wait.note(identity.leaving, now);
        self.model.withhold(self.wait.is_over(now), dirty);
        report.again = self.wait.end().filter(|end| *end > now).map(|end| end - now);
    }

    fn tell(&mut self, dirty: &Dirty, report: &mut Report) -> Result<(), SpeakerGone> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let speaker = running.handle.blocking();
        // A speaker that was told nothing yet is told all.
        let plan = if running.told_all {
            Plan::between(&running.told, &self.model, dirty)
        } else {
            Plan::between(&running.told, &self.model, &self.model.all())
        };
        carry_out(&speaker, &running.bfd, &plan)?;
        running.told_all = true;
        if running.identity.complete && !running.view_told {
            speaker.view_complete()?;
            running.view_told = true;
        }
        report.writes += plan.len() as u64;
        self.link.count(&plan);
        plan.applied_to(&mut running.told);
        self.link.leave_with_words(&running.told, running.identity.asn, self.wait.end());
        look_at_listeners(&speaker, report)
    }

    fn counts(&self) -> BTreeMap<&'static str, u64> {
        let (peers, prefixes) = self.model.counts();
        BTreeMap::from([("peers", peers as u64), ("prefixes", prefixes as u64)])
    }

    /// Takes over what has changed.
    fn take(&mut self, desired: &BTreeMap<Key, Value>, scope: &Scope<Key>, report: &mut Report) -> Dirty {
        let mut dirty = Dirty::default();
        for key in &self.model.concerned(desired, scope) {
            let value = desired.get(key);
            self.model.put(key, value, &mut dirty);
            if let Some(reasons) = value.and_then(Value::problem) {
                report.problems.extend(reasons.lines().map(|reason| wrong(key, reason.to_owned())));
            }
        }
        // Who had lost an address to another may have it now.
        let claimants = dirty.peers.iter().flat_map(|address| self.model.claimants(address));
        report.judged.extend(claimants.map(item));
        for (key, address) in self.model.doubled() {
            let message = format!("somebody else has its address {address} already; it gets no session");
            report.problems.push(wrong(key, message));
        }
        dirty
    }
}

/// Routes before peers: a new session then gets all of them in its first update.
fn carry_out(speaker: &BlockingHandle, bfd: &Bfd, plan: &Plan) -> Result<(), SpeakerGone> {
    for prefix in &plan.withdraw {
        speaker.withdraw(*prefix)?;
    }
    for (prefix, announcement) in &plan.announce {
        speaker.announce(*prefix, announcement.clone())?;
    }
    for (prefix, ours) in &plan.protect {
        speaker.protect(*prefix, *ours)?;
    }
    for address in &plan.remove_peers {
        speaker.remove_peer(*address)?;
        bfd.remove(*address);
    }
    for peer in &plan.set_peers {
        speaker.set_peer(peer.config.clone())?;
        let address = peer.config.address;
        match peer.bfd {
            Some(config) => bfd.set(address, peer.config.local_address, config),
            None => bfd.remove(address),
        }
    }
    Ok(())
}

fn look_at_listeners(speaker: &BlockingHandle, report: &mut Report) -> Result<(), SpeakerGone> {
    for listener in speaker.status()?.listeners {
        let item = format!("listener {}", listener.address);
        report.judged.insert(item.clone());
        if !listener.listening {
            report.again = Some(report.again.map_or(LOOK_AGAIN, |again| again.min(LOOK_AGAIN)));
        }
        if let Some(error) = listener.error {
            let advice = if listener.listening {
                "sessions with them come up only as far as this node makes them; is net.core.optmem_max too small for so many passwords?"
            } else {
                "sessions come up only as far as this node makes them; is another BGP daemon running?"
            };
            // The speaker itself tries again.
            report.problems.push(Problem { item, message: format!("{error}; {advice}"), retry: false });
        }
    }
    Ok(())
}

fn item(key: &Key) -> String {
    match key {
        Key::Speaker => Advertise::NAME.to_owned(),
        Key::Node(name) => format!("Node {name}"),
        Key::Peer(address) => format!("peer {address}"),
        Key::Prefix(prefix) | Key::Range(prefix) => format!("prefix {prefix}"),
        Key::Service(name) => format!("Service {name}"),
    }
}

fn wrong(key: &Key, message: String) -> Problem {
    Problem { item: item(key), message, retry: false }
}

impl Apply for Applier {
    type Key = Key;
    type Value = Value;

    fn apply(&mut self, desired: &BTreeMap<Key, Value>, scope: &Scope<Key>) -> Report {
        let mut report = Report::default();
        if self.link.is_ending() {
            return report;
        }
        let mut dirty = self.take(desired, scope, &mut report);
        match desired.get(&Key::Speaker) {
            Some(Value::Speaker(identity)) => {
                self.drain(identity, &mut dirty, &mut report);
                let told = match self.ensure_running(identity) {
                    Ok(()) => self.tell(&dirty, &mut report).map_err(|gone| gone.to_string()),
                    Err(reason) => Err(reason),
                };
                if let Err(reason) = told {
                    self.stop("routerd begins again");
                    let item = Advertise::NAME.to_owned();
                    report.problems.push(Problem { item, message: reason, retry: true });
                }
            }
            _ => self.stop("routerd does not know what this node is"),
        }
        if *scope == Scope::Everything {
            report.problems.extend(self.sessions.problems());
        }
        report.counts = self.counts();
        report
    }

    fn tend(&mut self, _: &BTreeMap<Key, Value>) -> Option<Report> {
        let (running, seen) = (self.running.as_ref()?, self.link.seen()?);
        let peers = running.told.peers.values().map(|peer| &peer.config);
        let outside = peers.filter(|peer| peer.export.outside).map(|peer| peer.address).collect();
        let judged = self.sessions.look(&seen, &outside, self.bgp.hold_time)?;
        let problems = self.sessions.problems().filter(|problem| judged.contains(&problem.item)).collect();
        Some(Report { problems, judged, counts: self.counts(), ..Report::default() })
    }

    fn tend_after(&self) -> Option<Duration> {
        self.running.is_some().then_some(LOOK_AGAIN)
    }

    fn item(&self, key: &Key) -> Option<String> {
        Some(item(key))
    }
}
