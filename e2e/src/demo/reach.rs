//! Scenes: pods reach pods, and a Service spreads over its pods.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};

use super::report::{Report, Shown, millis, percentile};
use super::world::{PORT, World};
use crate::process::wait_for;
use crate::tool;

/// Pod to pod on one node and across nodes.
pub(super) fn pods(world: &World, report: &mut Report) {
    report.check("pod to pod on one node (TCP)", || ask_pod(world, "web-1", ""));
    report.check("pod to pod across nodes (TCP)", || ask_pod(world, "web-2", ""));
    report.check("pod to pod across nodes (UDP)", || ask_pod(world, "web-3", "--udp"));
}

fn ask_pod(world: &World, name: &str, options: &str) -> Result<Shown> {
    let client = world.pod("client")?.ip()?;
    let server = SocketAddr::new(world.pod(name)?.ip()?, PORT);
    let answers = world.ask("client", &server.to_string(), &format!("--count 20 {options}"))?;
    let wanted = format!("{name} {client}");
    if let Some((_, other)) = answers.iter().find(|(_, answer)| *answer != wanted) {
        bail!("{server} answered {other:?} instead of {wanted:?}");
    }
    if answers.len() < 20 {
        bail!("{} of 20 were answered by {server}", answers.len());
    }
    let mut times: Vec<u64> = answers.into_iter().map(|(micros, _)| micros).collect();
    Ok(Shown::Good(format!("20 of 20 answered, half of them within {}", millis(percentile(&mut times, 50)))))
}

/// A ClusterIP and a NodePort over three pods.
pub(super) fn service(world: &World, report: &mut Report) {
    let address = SocketAddr::new(world.web.address, world.web.port);
    let from_pod = |count: u32, options: &str| {
        world.ask("client", &address.to_string(), &format!("--timeout 300 --count {count} {options}"))
    };
    report.check("a ClusterIP over three pods by IPVS (TCP)", || {
        needs_ipvs(world, || spread(|count| from_pod(count, "")))
    });
    report.check("a ClusterIP over three pods by IPVS (UDP)", || {
        needs_ipvs(world, || spread(|count| from_pod(count, "--udp")))
    });
    report.check("a NodePort from outside the cluster", || {
        needs_ipvs(world, || {
            let outside =
                SocketAddr::new(world.lab.node(2)?.address, world.web.node_port.unwrap_or_default());
            spread(|count| Ok(tool::ask_here(outside, count)))
        })
    });
}

fn needs_ipvs(world: &World, check: impl FnOnce() -> Result<Shown>) -> Result<Shown> {
    if world.absent.contains(&"services") {
        return Ok(Shown::Absent("this kernel has no IPVS; the nodes' own (--kernel uml) has".into()));
    }
    check()
}

/// Waits for the first answer, then wants all of a round and every backend in it.
fn spread(mut ask: impl FnMut(u32) -> Result<Vec<(u64, String)>>) -> Result<Shown> {
    wait_for("a first answer", Duration::from_secs(5), || Ok((ask(1)?.len() == 1).then_some(())))?;
    let answers = wait_for("answers of all three pods", Duration::from_secs(5), || {
        let answers = ask(30)?;
        if answers.len() == 30 && count(&answers).len() == 3 {
            return Ok(Some(answers));
        }
        bail!("{} of 30 answered, by {:?}", answers.len(), count(&answers))
    })?;
    let shares: Vec<String> =
        count(&answers).iter().map(|(name, number)| format!("{name} {number}")).collect();
    let mut times: Vec<u64> = answers.into_iter().map(|(micros, _)| micros).collect();
    Ok(Shown::Good(format!(
        "30 asked: {}; half within {}",
        shares.join(", "),
        millis(percentile(&mut times, 50))
    )))
}

fn count(answers: &[(u64, String)]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for (_, answer) in answers {
        *counts.entry(answer.split(' ').next().unwrap_or_default()).or_insert(0) += 1;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_the_pod_that_gave_them() {
        let answers = [
            (1, "web-1 10.0.0.1".to_owned()),
            (2, "web-2 10.0.0.1".to_owned()),
            (3, "web-1 10.0.0.1".to_owned()),
        ];
        assert_eq!(count(&answers), BTreeMap::from([("web-1", 2), ("web-2", 1)]));
    }

    #[test]
    fn a_round_with_a_backend_missing_is_no_spread() {
        let result = wait_for("x", Duration::ZERO, || -> Result<Option<()>> { bail!("never") });
        assert!(result.is_err());
    }
}
