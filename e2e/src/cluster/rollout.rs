//! routerd is restarted on one node after the other, as an upgrade does, while its Services are asked all the time.

use std::net::SocketAddr;
use std::sync::mpsc::{self, Sender, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::checks::{NODE_PORT, Scene};
use super::control_plane::ControlPlane;
use super::manifest::{DAEMON_SET, NAMESPACE};
use crate::guest::client::{Cmd, Running};
use crate::tool::{answer, gap};

/// How long a client waits for one answer, as common HTTP clients do.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer may come so much later than the longest silence of a connection that was there before, which only the machine
/// makes: what a restart holds up would be later.
const LATE: Duration = Duration::from_secs(5);

/// How long the restart of all may take, in the words of kubectl.
const LIMIT: &str = "--timeout=3m";

/// What a first full sync breaks may show only with the requests after it.
const AFTER: Duration = Duration::from_secs(2);

/// No request from a pod, a node or outside fails or is held up, and no connection that was there before is cut.
pub(super) fn under_load(scene: &Scene<'_>, plane: &ControlPlane) -> Result<String> {
    let service = SocketAddr::new(scene.service, 80);
    let (Some(client), Some(last)) = (scene.client.first(), scene.lab.nodes.last()) else { bail!("no pods") };
    let node = scene.lab.node(client.node)?;
    let netns = client.netns(scene.lab)?;
    let patience = PATIENCE.as_millis();
    let flood = || Cmd::tool(&format!("flood --timeout {patience} {service}"));
    let stream = || Cmd::tool(&format!("stream --http {service}"));
    let streams = [("a pod's", node.spawn(stream()?.in_pod(&netns))?), ("a node's", last.spawn(stream()?)?)];
    let loads = [("a pod", node.spawn(flood()?.in_pod(&netns))?), ("a node", last.spawn(flood()?)?)];
    let outside = Outside::start(SocketAddr::new(last.address, NODE_PORT));
    let took = restart(plane)?;
    std::thread::sleep(AFTER);
    let mut told = Vec::new();
    let mut machine = Duration::ZERO;
    for (whose, stream) in &streams {
        let longest = unbroken(whose, stream);
        machine = machine.max(longest.as_ref().copied().unwrap_or_default());
        told.push(
            longest.map(|gap| format!("{whose} connection unbroken, longest gap {} ms", gap.as_millis())),
        );
    }
    for (who, load) in &loads {
        told.push(asked(load).and_then(|asked| none_failed(who, asked, machine)));
    }
    told.push(none_failed("outside", outside.end()?, machine));
    all(told).map(|told| format!("in {:.1} s: {told}", took.as_secs_f64()))
}

/// What each client told, also beside a failure: a gap in all of them at that moment is a machine that stood still.
fn all(told: Vec<Result<String>>) -> Result<String> {
    let failed = told.iter().any(Result::is_err);
    let text: Vec<String> =
        told.into_iter().map(|told| told.unwrap_or_else(|error| format!("{error:#}"))).collect();
    ensure!(!failed, "{}", text.join(", "));
    Ok(text.join(", "))
}

fn restart(plane: &ControlPlane) -> Result<Duration> {
    let begin = Instant::now();
    let set = format!("daemonset/{DAEMON_SET}");
    plane.ask(&["rollout", "restart", "--namespace", NAMESPACE, &set])?;
    plane.ask(&["rollout", "status", "--namespace", NAMESPACE, LIMIT, &set])?;
    Ok(begin.elapsed())
}

/// What a client that asks all the time saw.
#[derive(Default)]
struct Asked {
    tries: u64,
    answers: u64,
    /// Over a second when the first packet or its answer was lost.
    slowest: Duration,
    /// What came in place of answers, and when after the client's begin.
    failures: Vec<String>,
}

/// Tries and answers, of which the client tells from time to time: once more, so that the try under way is among them.
fn asked(load: &Running) -> Result<Asked> {
    let begin = Instant::now();
    let said = load.lines_and_one_more(PATIENCE)?;
    let failures = said.iter().filter(|(_, line)| line.starts_with("silent ") && line != "silent 0");
    let failures =
        failures.map(|(at, line)| format!("{:.1} s ago: {line}", (begin - *at).as_secs_f64())).collect();
    let lines: Vec<String> = said.into_iter().map(|(_, line)| line).collect();
    let last = lines.iter().rev().find_map(|line| match line.split(' ').collect::<Vec<_>>().as_slice() {
        ["tries", tries, "answered", answers, "slowest", slowest] => {
            Some((tries.parse().ok()?, answers.parse().ok()?, slowest.parse().ok()?))
        }
        _ => None,
    });
    let (tries, answers, slowest) = last.with_context(|| format!("a client said only {lines:?}"))?;
    Ok(Asked { tries, answers, slowest: Duration::from_millis(slowest), failures })
}

fn none_failed(who: &str, asked: Asked, machine: Duration) -> Result<String> {
    let Asked { tries, answers, slowest, failures } = asked;
    ensure!(tries > 0, "{who} did not ask");
    let failed = tries - answers;
    ensure!(
        failed == 0 && failures.is_empty(),
        "{failed} of {tries} requests from {who} failed: {}",
        failures.join("; ")
    );
    let slowest_ms = slowest.as_millis();
    ensure!(
        slowest <= machine + LATE,
        "one of {tries} requests from {who} was answered after {slowest_ms} ms only"
    );
    Ok(format!("{tries} requests from {who}, none failed, slowest {slowest_ms} ms"))
}

/// The longest silence of a connection that was there before.
fn unbroken(whose: &str, stream: &Running) -> Result<Duration> {
    let lines = stream.lines_and_one_more(PATIENCE).with_context(|| format!("{whose} connection"))?;
    let (_, last) = lines.last().with_context(|| format!("{whose} connection did not come up"))?;
    let (_, longest, _) = gap(last).with_context(|| format!("{whose} connection: {last}"))?;
    Ok(Duration::from_millis(longest))
}

/// This process is the machine outside.
struct Outside {
    stop: Sender<()>,
    thread: JoinHandle<Asked>,
}

impl Outside {
    fn start(to: SocketAddr) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let first = Instant::now();
            let mut asked = Asked::default();
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                let begin = Instant::now();
                let answer = answer(to, PATIENCE);
                let took = begin.elapsed();
                asked.tries += 1;
                asked.slowest = asked.slowest.max(took);
                match answer {
                    Ok(_) => asked.answers += 1,
                    Err(error) => asked.failures.push(format!(
                        "{:.1} s after the first, after {:.2} s: {error:#}",
                        begin.duration_since(first).as_secs_f64(),
                        took.as_secs_f64()
                    )),
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            asked
        });
        Self { stop, thread }
    }

    fn end(self) -> Result<Asked> {
        // The thread waits for nothing else.
        let _ended = self.stop.send(());
        self.thread.join().map_err(|_| anyhow::anyhow!("the machine outside ended badly"))
    }
}
