//! The half that speaks with the speaker.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bgp::bfd::Bfd;
use bgp::clock::SystemClock;
use bgp::{BlockingHandle, Shutdown, Speaker, SpeakerConfig, SpeakerGone, SpeakerHandle, Start};
use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc;

use super::desired::{Advertise, Identity, Key, Value};
use super::drain::Wait;
use super::earlier;
use super::learnt::{self, Feed};
use super::link::{self, Link, Stage};
use super::plan::{Dirty, Model, Plan, State};
use super::sessions::Sessions;
use crate::cluster::objects::LearntRoute;
use crate::config::BgpConfig;
use crate::runner::{Apply, Plane, Problem, Report, Scope};

/// How soon a listener that does not listen yet is looked at again, and how often sessions are.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// What is told of a speaker that goes on although its node is wrong. The plane as a whole works.
const HELD: &str = "BGP speaker";

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
    learnt: mpsc::UnboundedSender<Feed>,
    link: Link,
    model: Model,
    running: Option<Running>,
    /// What may have changed and could not be told: the node is not known, or wrong.
    untold: Dirty,
    /// Since when the node's object is not there.
    missing: Option<Instant>,
    wait: Wait,
    sessions: Sessions,
    /// What the next speaker is to its peers.
    start: Start,
}

impl Applier {
    /// The speaker runs in `runtime`; what it learns goes to `routes`, its handle to `link`.
    pub fn new(bgp: BgpConfig, runtime: Runtime, routes: mpsc::Sender<Vec<LearntRoute>>, link: Link) -> Self {
        let wait = Wait::new(bgp.drain_time);
        let (learnt, feeds) = mpsc::unbounded_channel();
        runtime.spawn(learnt::forward(feeds, routes, link.clone(), bgp.hold_time));
        Self {
            bgp,
            runtime,
            learnt,
            link,
            model: Model::default(),
            running: None,
            untold: Dirty::default(),
            missing: None,
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
        self.make_way(identity);
        let _inside = self.runtime.enter();
        let start = std::mem::take(&mut self.start);
        let config = self.speaker_config(identity, start);
        let (handle, events) = Speaker::start(config).map_err(|error| error.to_string())?;
        // It ends with the daemon.
        let _ = self.learnt.send(Feed::Speaker(events));
        let (bfd, paths) = Bfd::start(SystemClock::default());
        self.runtime.spawn(link::end_lost(paths, handle.clone()));
        tracing::info!(router_id = %identity.router_id, asn = identity.asn, ?start, "BGP speaker started");
        self.link.set(Stage::Running(handle.clone(), bfd.clone()));
        let (identity, told) = (identity.clone(), State::default());
        self.running = Some(Running { identity, handle, bfd, told, told_all: false, view_told: false });
        Ok(())
    }

    /// Ends the speaker for one of another identity. Peers of an AS that stays keep our routes meanwhile, as over a restart.
    fn make_way(&mut self, identity: &Identity) {
        let same = self.running.as_ref().is_some_and(|running| running.identity.asn == identity.asn);
        let reason = "routerd is told to be another speaker".to_owned();
        self.stop(if same { Shutdown::Quiet } else { Shutdown::Cease(reason) });
    }

    /// Ends the speaker. What it knew is kept for a while.
    fn stop(&mut self, how: Shutdown) {
        if let Some(running) = self.running.take() {
            self.link.set(Stage::Absent);
            let quiet = how == Shutdown::Quiet;
            // One that has ended by itself is as good.
            let _ = self.runtime.block_on(running.handle.shutdown(how));
            if quiet {
                // No failure of the path, over which peers would drop what they are to keep (RFC 5882 §3.2).
                self.runtime.block_on(running.bfd.remove_all());
            }
        }
    }

    /// The node is wrong: its speaker goes on as what it was, and so do its peers. What it announces follows what can be told.
    fn hold(&mut self, mut dirty: Dirty, report: &mut Report) -> Result<(), SpeakerGone> {
        let Some(running) = &self.running else { return Ok(()) };
        let Identity { asn, router_id, .. } = running.identity;
        for problem in report.problems.iter_mut().filter(|problem| problem.item == Advertise::NAME) {
            HELD.clone_into(&mut problem.item);
            problem.message =
                format!("it goes on as AS {asn} with router ID {router_id}, because {}", problem.message);
        }
        let sure = self.model.knows_its_prefixes();
        let prefixes = if sure { std::mem::take(&mut dirty.prefixes) } else { BTreeSet::new() };
        self.untold = dirty;
        self.tell(&Dirty { prefixes, ..Dirty::default() }, report)
    }

    /// The node's object is not there. It may be made again at once; after the time that a silent peer gets, it is gone for good.
    fn miss(&mut self, dirty: Dirty, report: &mut Report) {
        if self.running.is_none() {
            return;
        }
        self.untold = dirty;
        let left = self.bgp.hold_time.saturating_sub(self.missing.get_or_insert_with(Instant::now).elapsed());
        if left.is_zero() {
            self.stop(Shutdown::Cease("routerd does not know what this node is".to_owned()));
            // It ends with the daemon.
            let _ = self.learnt.send(Feed::Nobody);
        } else {
            report.again = Some(left);
        }
    }

    /// Does what the node asks for.
    fn follow(&mut self, node: Option<&Value>, mut dirty: Dirty, report: &mut Report) -> Result<(), String> {
        report.judged.insert(HELD.to_owned());
        if !matches!(node, None | Some(Value::Unknown(_))) {
            self.missing = None;
        }
        match node {
            Some(Value::Speaker(identity)) => {
                self.drain(identity, &mut dirty, report);
                self.ensure_running(identity)?;
                self.tell(&dirty, report).map_err(|gone| gone.to_string())
            }
            Some(Value::Wrong(_)) => self.hold(dirty, report).map_err(|gone| gone.to_string()),
            _ => {
                self.miss(dirty, report);
                Ok(())
            }
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
        let mut dirty = std::mem::take(&mut self.untold);
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
        let dirty = self.take(desired, scope, &mut report);
        if let Err(reason) = self.follow(desired.get(&Key::Speaker), dirty, &mut report) {
            self.stop(Shutdown::Cease("routerd begins again".to_owned()));
            let item = Advertise::NAME.to_owned();
            report.problems.push(Problem { item, message: reason, retry: true });
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
