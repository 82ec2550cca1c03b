//! The half that speaks with the speaker.

use std::collections::BTreeMap;
use std::time::Duration;

use bgp::{Announcement, BlockingHandle, Shutdown, Speaker, SpeakerConfig, SpeakerGone, SpeakerHandle};
use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc;

use super::desired::{Advertise, Identity, Key, Value};
use super::link::{self, Link, Stage};
use super::plan::{Plan, State};
use crate::cluster::objects::LearntRoute;
use crate::config::BgpConfig;
use crate::runner::{Apply, Plane, Problem, Report, Scope};

/// How soon a listener that does not listen yet is looked at again.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

struct Running {
    identity: Identity,
    handle: SpeakerHandle,
    told: State,
    view_told: bool,
}

/// Starts the speaker when the node is known, and tells it what changes.
pub struct Applier {
    bgp: BgpConfig,
    runtime: Runtime,
    routes: mpsc::Sender<Vec<LearntRoute>>,
    link: Link,
    running: Option<Running>,
}

impl Applier {
    /// The speaker runs in `runtime`; what it learns goes to `routes`, its handle to `link`.
    pub fn new(bgp: BgpConfig, runtime: Runtime, routes: mpsc::Sender<Vec<LearntRoute>>, link: Link) -> Self {
        Self { bgp, runtime, routes, link, running: None }
    }

    fn speaker_config(&self, identity: &Identity) -> SpeakerConfig {
        let seconds = u16::try_from(self.bgp.hold_time.as_secs()).unwrap_or(u16::MAX);
        SpeakerConfig {
            listen: identity.listen.clone(),
            hold_time: seconds,
            ..SpeakerConfig::new(self.bgp.asn, identity.router_id)
        }
    }

    /// Sees to it that a speaker with `identity` runs.
    fn ensure_running(&mut self, identity: &Identity) -> Result<(), String> {
        if self.running.as_ref().is_some_and(|running| running.identity == *identity) {
            return Ok(());
        }
        self.stop();
        let _inside = self.runtime.enter();
        let (handle, events) =
            Speaker::start(self.speaker_config(identity)).map_err(|error| error.to_string())?;
        self.runtime.spawn(link::forward(events, self.routes.clone(), self.link.clone()));
        tracing::info!(router_id = %identity.router_id, asn = self.bgp.asn, "BGP speaker started");
        self.link.set(Stage::Running(handle.clone()));
        self.running =
            Some(Running { identity: identity.clone(), handle, told: State::default(), view_told: false });
        Ok(())
    }

    fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            self.link.set(Stage::Absent);
            // One that has ended by itself is as good.
            let _ = self.runtime.block_on(
                running.handle.shutdown(Shutdown::Cease("routerd stops its BGP speaker".to_owned())),
            );
        }
    }

    fn tell(&mut self, desired: &State, report: &mut Report) -> Result<(), SpeakerGone> {
        let Some(running) = &mut self.running else { return Ok(()) };
        let speaker = running.handle.blocking();
        let plan = Plan::between(&running.told, desired);
        carry_out(&speaker, &plan)?;
        if !running.view_told {
            speaker.view_complete()?;
            running.view_told = true;
        }
        report.writes += plan.len() as u64;
        running.told = desired.clone();
        look_at_listeners(&speaker, report)
    }
}

/// Routes before peers: a new session then gets all of them in its first update.
fn carry_out(speaker: &BlockingHandle, plan: &Plan) -> Result<(), SpeakerGone> {
    for prefix in &plan.withdraw {
        speaker.withdraw(*prefix)?;
    }
    for (prefix, next_hop) in &plan.announce {
        speaker.announce(*prefix, Announcement::via(*next_hop))?;
    }
    for address in &plan.remove_peers {
        speaker.remove_peer(*address)?;
    }
    for peer in &plan.set_peers {
        speaker.set_peer(peer.clone())?;
    }
    Ok(())
}

fn look_at_listeners(speaker: &BlockingHandle, report: &mut Report) -> Result<(), SpeakerGone> {
    for listener in speaker.status()?.listeners {
        if !listener.listening {
            report.again = Some(LOOK_AGAIN);
        }
        if let Some(error) = listener.error {
            let advice =
                "sessions come up only as far as this node makes them; is another BGP daemon running?";
            let item = format!("listener {}", listener.address);
            // The speaker itself tries again.
            report.problems.push(Problem { item, message: format!("{error}; {advice}"), retry: false });
        }
    }
    Ok(())
}

fn wrong(key: &Key, reason: &str) -> Problem {
    let item = match key {
        Key::Speaker => Advertise::NAME.to_owned(),
        Key::Node(name) => format!("Node {name}"),
        Key::Prefix(prefix) => format!("prefix {prefix}"),
    };
    Problem { item, message: reason.to_owned(), retry: false }
}

impl Apply for Applier {
    type Key = Key;
    type Value = Value;

    fn apply(&mut self, desired: &BTreeMap<Key, Value>, _: &Scope<Key>) -> Report {
        let mut report = Report::default();
        if self.link.is_ending() {
            return report;
        }
        for (key, value) in desired {
            if let Value::Wrong(reason) = value {
                report.problems.push(wrong(key, reason));
            }
        }
        let (state, doubled) = State::of(desired);
        report.problems.extend(doubled.into_iter().map(|(name, address)| {
            wrong(
                &Key::Node(name),
                &format!("another node has its address {address}; its pods cannot be reached"),
            )
        }));
        match desired.get(&Key::Speaker) {
            Some(Value::Speaker(identity)) => {
                let told = match self.ensure_running(identity) {
                    Ok(()) => self.tell(&state, &mut report).map_err(|gone| gone.to_string()),
                    Err(reason) => Err(reason),
                };
                if let Err(reason) = told {
                    self.stop();
                    let item = Advertise::NAME.to_owned();
                    report.problems.push(Problem { item, message: reason, retry: true });
                }
            }
            _ => self.stop(),
        }
        report.counts =
            BTreeMap::from([("peers", state.peers.len() as u64), ("prefixes", state.prefixes.len() as u64)]);
        report
    }
}
