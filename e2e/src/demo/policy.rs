//! Scene: a policy holds from the first packet on, and follows its file.

use std::net::{IpAddr, SocketAddr};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::report::{Report, Shown};
use super::world::{PORT, World};
use crate::guest::client::Running;
use crate::pods::Spec;

/// The pod under policy, on a node of its own.
pub(super) const GUARDED: &str = "guarded";

/// How long an edit of a policy may take.
const LIMIT: Duration = Duration::from_secs(5);

/// How long a state must last to count.
const STEADY: Duration = Duration::from_millis(250);

/// How long a try of the refused client may take, in ms: many short tries find a short gap.
const REFUSED: u32 = 20;

/// How long a try of the admitted client may take, in ms: less than TCP's second attempt after 1 s, so that a dropped
/// packet shows, and enough for a busy machine.
const ADMITTED: u32 = 700;

/// The policy's file: who may ask the guarded pod.
pub(super) fn policy(admitted: &[&str]) -> String {
    let peers: Vec<String> = admitted
        .iter()
        .map(|role| format!("    - podSelector: {{matchLabels: {{role: {role}}}}}\n"))
        .collect();
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata:\n  name: guard\n  namespace: demo\nspec:\n  \
         podSelector: {{matchLabels: {{app: guarded}}}}\n  policyTypes: [Ingress]\n  ingress:\n  - from:\n{}    \
         ports: [{{protocol: TCP, port: {PORT}}}]\n",
        peers.concat()
    )
}

/// A client that asks the guarded pod all the time.
#[derive(Debug)]
pub(super) struct Asker {
    running: Running,
    /// Whether its last tries were answered, and since when; `None` before the first try.
    state: Option<(bool, Instant)>,
    /// How often it has gone from silent to answered.
    pub(super) breakthroughs: u32,
    /// How often it has gone from answered to silent.
    pub(super) losses: u32,
    /// Its tries so far, as last told.
    pub(super) tries: u64,
}

impl Asker {
    /// Starts asking from inside a pod; every try may take `patience` ms.
    pub(super) fn start(world: &World, from: &str, server: SocketAddr, patience: u32) -> Result<Self> {
        let pod = world.pod(from)?;
        let running =
            world.node_of(pod)?.spawn(pod.tool(&format!("flood {server} --timeout {patience}"))?)?;
        Ok(Self { running, state: None, breakthroughs: 0, losses: 0, tries: 0 })
    }

    /// Takes in what was printed until `end`.
    pub(super) fn listen_until(&mut self, end: Instant) -> Result<()> {
        self.listen(end, |_| false).map(|_| ())
    }

    /// Waits until it is answered (or not any more) and stays so; the moment that began.
    pub(super) fn wait_until(&mut self, answered: bool) -> Result<Instant> {
        let end = Instant::now() + LIMIT;
        let wanted = |state: Option<(bool, Instant)>| state.is_some_and(|(now, _)| now == answered);
        let other = |state: Option<(bool, Instant)>| !wanted(state);
        // One try alone may be late because the machine is busy.
        while !(wanted(self.state) || self.listen(end, wanted)?)
            || self.listen(Instant::now() + STEADY, other)?
        {
            if Instant::now() >= end {
                bail!("still {} after {} s", if answered { "silent" } else { "answered" }, LIMIT.as_secs());
            }
        }
        self.state.map(|(_, since)| since).context("nothing was tried")
    }

    fn listen(&mut self, end: Instant, enough: impl Fn(Option<(bool, Instant)>) -> bool) -> Result<bool> {
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.running.lines.recv_timeout(left) {
                Ok((when, line)) => self.take(when, &line),
                Err(RecvTimeoutError::Timeout) => return Ok(false),
                Err(RecvTimeoutError::Disconnected) => bail!("the asking client ended"),
            }
            if enough(self.state) {
                return Ok(true);
            }
        }
    }

    fn take(&mut self, when: Instant, line: &str) {
        let mut words = line.split(' ');
        let first = words.next().unwrap_or_default();
        if first == "tries" {
            self.tries = words.next().and_then(|number| number.parse().ok()).unwrap_or(self.tries);
            return;
        }
        let answered = first == "answered";
        match self.state {
            None | Some((false, _)) if answered => self.breakthroughs += 1,
            Some((true, _)) if !answered => self.losses += 1,
            _ => {}
        }
        let ago =
            words.next().and_then(|number| number.parse().ok()).map_or(Duration::ZERO, Duration::from_millis);
        self.state = Some((answered, if answered { when } else { when.checked_sub(ago).unwrap_or(when) }));
    }
}

/// The two clients of the guarded pod.
#[derive(Debug)]
pub(super) struct Askers {
    /// The one that the policy names.
    pub(super) admitted: Asker,
    /// The one that it does not.
    pub(super) refused: Asker,
}

/// The pod is born under a policy while two clients ask its address already.
pub(super) fn birth(world: &mut World, report: &mut Report) -> Option<Askers> {
    let mut askers = None;
    report.check("a policy from the first packet on", || {
        let (shown, both) = born_under_policy(world)?;
        askers = Some(both);
        Ok(shown)
    });
    askers
}

fn born_under_policy(world: &mut World) -> Result<(Shown, Askers)> {
    world.manifests.write("policy.yaml", &policy(&["client"]))?;
    let address = next_address(world, 2)?;
    let server = SocketAddr::new(address, PORT);
    let mut askers = Askers {
        admitted: Asker::start(world, "client", server, ADMITTED)?,
        refused: Asker::start(world, "stranger", server, REFUSED)?,
    };
    let before = Instant::now() + Duration::from_millis(300);
    askers.admitted.listen_until(before)?;
    askers.refused.listen_until(before)?;
    ensure!(
        askers.admitted.state.is_some() && askers.refused.state.is_some(),
        "the clients have not begun to ask"
    );
    let spec = Spec { name: GUARDED.into(), labels: vec![("app", "guarded")], node: 2 };
    let pod = world.make_pod(spec)?;
    ensure!(pod.ip()? == address, "the pod got {} and not {address} that was asked", pod.ip()?);
    let took = pod.took;
    let since = askers.admitted.wait_until(true)?;
    askers.refused.listen_until(since + Duration::from_millis(1500))?;
    ensure!(
        askers.refused.breakthroughs == 0,
        "the refused client was answered {} times",
        askers.refused.breakthroughs
    );
    let text = format!(
        "asked since before its birth: one client admitted, the other refused in all of {} tries; ADD took {} ms",
        askers.refused.tries,
        took.as_millis()
    );
    Ok((Shown::Good(text), askers))
}

/// The address that the next pod of a node will get: leases go up one by one.
fn next_address(world: &World, node: u8) -> Result<IpAddr> {
    let used = world.pods.iter().filter(|pod| pod.spec.node == node).filter_map(|pod| pod.address);
    match used.max().context("the node has no pod yet")? {
        IpAddr::V4(last) => Ok(IpAddr::V4((u32::from(last) + 1).into())),
        IpAddr::V6(last) => Ok(IpAddr::V6((u128::from(last) + 1).into())),
    }
}

/// The policy's file is edited and edited back.
pub(super) fn edit(world: &World, askers: &mut Askers, report: &mut Report) {
    report.check("a policy edited to admit another client", || {
        let took = edited(world, askers, &["client", "stranger"], true)?;
        Ok(Shown::Good(format!("in force {} ms after the file was saved", took.as_millis())))
    });
    report.check("the policy edited back", || {
        let took = edited(world, askers, &["client"], false)?;
        ensure!(
            askers.admitted.losses == 0,
            "the client that was always admitted was refused {} times",
            askers.admitted.losses
        );
        askers.refused.breakthroughs = 0;
        Ok(Shown::Good(format!(
            "in force {} ms after the file was saved; the other client never noticed",
            took.as_millis()
        )))
    });
}

fn edited(world: &World, askers: &mut Askers, admitted: &[&str], answered: bool) -> Result<Duration> {
    let saved = Instant::now();
    world.manifests.write("policy.yaml", &policy(admitted))?;
    let since = askers.refused.wait_until(answered)?;
    askers.admitted.listen_until(Instant::now() + Duration::from_millis(50))?;
    Ok(since.saturating_duration_since(saved))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_names_every_admitted_role() {
        let text = policy(&["client", "stranger"]);
        assert!(text.contains("role: client") && text.contains("role: stranger"), "{text}");
        assert!(!policy(&["client"]).contains("stranger"));
    }
}
