//! The plugin beside the reference plugins, interleaved in one run on this kernel.

use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;

use super::copy;
use super::daemon::{self, Daemon};
use super::plugin::Plugin;
use super::statistics::Times;
use super::table;
use super::trace::{self, Seen};
use crate::guest::{agent, boot};
use crate::progress::step;
use crate::sandbox::Inside;

/// Debian's package `containernetworking-plugins`.
const REFERENCE: &str = "/usr/lib/cni";

/// How many pods at once.
pub(super) const AT_ONCE: usize = 50;

/// How often so many at once.
const WAVES: usize = 3;

/// Figures of one plugin.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub(super) add: Times,
    pub(super) del: Times,
    pub(super) add_cpu: Times,
    pub(super) wave_add: Times,
    pub(super) wave_del: Times,
    pub(super) wave_add_all: Times,
    pub(super) wave_del_all: Times,
    pub(super) traced_add: Seen,
    pub(super) traced_del: Seen,
}

/// Measures and prints the table.
pub(super) fn run(inside: &Inside, binaries: &Path, rounds: usize) -> Result<()> {
    // Leases, name spaces and bridges of the bench's own.
    boot::private_folders()?;
    let folder = inside.folder.join("ours");
    for name in ["bridge", "host-local"] {
        copy(&binaries.join("routerd-cni"), &folder.join(name))?;
    }
    copy(&binaries.join("routerd-cni"), &folder.join("routerd-cni"))?;
    let mut pods: Vec<String> = (0..AT_ONCE).map(|number| format!("pod{number}")).collect();
    pods.extend(["pod", "traced"].map(str::to_owned));
    let _daemon = Daemon::start(inside, binaries, &pods)?;
    let plugins = [
        Plugin::new("routerd-cni", &folder, "routerd-cni", "kube-bridge", daemon::RANGE),
        Plugin::new("as bridge", &folder, "bridge", "br-ours", "10.251.0.0/16"),
        Plugin::new("reference", Path::new(REFERENCE), "bridge", "br-theirs", "10.252.0.0/16"),
    ];
    let mut figures = [Figures::default(), Figures::default(), Figures::default()];
    step(&format!("{rounds} pods one by one, taking turns"), |step| {
        for round in 0..rounds + 5 {
            for (plugin, figures) in plugins.iter().zip(&mut figures) {
                // The first ones find cold caches and make the bridge.
                one(plugin, figures, round >= 5).with_context(|| plugin.label)?;
            }
            step.update(u64::try_from(round)?, u64::try_from(rounds)?, "pods");
        }
        Ok(((), "done".into()))
    })?;
    step(&format!("{AT_ONCE} pods at once, {WAVES} times, taking turns"), |_| {
        for _ in 0..WAVES {
            for (plugin, figures) in plugins.iter().zip(&mut figures) {
                wave(plugin, figures).with_context(|| plugin.label)?;
            }
        }
        Ok(((), "done".into()))
    })?;
    for (plugin, figures) in plugins.iter().zip(&mut figures) {
        traced(plugin, figures).with_context(|| plugin.label)?;
    }
    println!("\n{}", table::table(&plugins.map(|plugin| plugin.label), &figures));
    println!(
        "  routerd-cni: waits until routerd has committed the pod's policy, as on a node. as bridge: the same program"
    );
    println!(
        "  in the reference plugin's place, without a daemon. reference: Debian's bridge and host-local. The ratios"
    );
    println!("  say how many times more the reference takes.");
    Ok(())
}

fn one(plugin: &Plugin, figures: &mut Figures, counts: bool) -> Result<()> {
    agent::make_netns("pod")?;
    let before = cpu()?;
    let (add, result) = plugin.call("ADD", "pod", None)?;
    let spent = cpu()?.saturating_sub(before);
    let (del, _) = plugin.call("DEL", "pod", Some(&result))?;
    agent::remove_netns("pod")?;
    if counts {
        figures.add.push(add);
        figures.add_cpu.push(spent);
        figures.del.push(del);
    }
    Ok(())
}

/// User and system time of all children that have ended.
fn cpu() -> Result<Duration> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let micros = |time: nix::sys::time::TimeVal| u64::try_from(time.tv_sec() * 1_000_000 + time.tv_usec());
    Ok(Duration::from_micros(micros(usage.user_time())? + micros(usage.system_time())?))
}

fn wave(plugin: &Plugin, figures: &mut Figures) -> Result<()> {
    let pods: Vec<String> = (0..AT_ONCE).map(|number| format!("pod{number}")).collect();
    for pod in &pods {
        agent::make_netns(pod)?;
    }
    let nothing = vec![None; AT_ONCE];
    let (all, results) = at_once(plugin, "ADD", &pods, &nothing)?;
    figures.wave_add_all.push(all);
    let previous = results.iter().map(|(_, result)| Some(result.clone())).collect::<Vec<_>>();
    for (took, _) in &results {
        figures.wave_add.push(*took);
    }
    let (all, results) = at_once(plugin, "DEL", &pods, &previous)?;
    figures.wave_del_all.push(all);
    for (took, _) in &results {
        figures.wave_del.push(*took);
    }
    pods.iter().try_for_each(|pod| agent::remove_netns(pod))
}

type Timed = (Duration, Value);

fn at_once(
    plugin: &Plugin,
    verb: &str,
    pods: &[String],
    previous: &[Option<Value>],
) -> Result<(Duration, Vec<Timed>)> {
    let start = Barrier::new(pods.len() + 1);
    std::thread::scope(|scope| {
        let threads: Vec<_> = pods
            .iter()
            .zip(previous)
            .map(|(pod, result)| {
                let start = &start;
                scope.spawn(move || {
                    start.wait();
                    plugin.call(verb, pod, result.as_ref())
                })
            })
            .collect();
        start.wait();
        let begin = Instant::now();
        let mut results = Vec::new();
        for thread in threads {
            results.push(thread.join().map_err(|_| anyhow!("a thread of the bench ended badly"))??);
        }
        Ok((begin.elapsed(), results))
    })
}

fn traced(plugin: &Plugin, figures: &mut Figures) -> Result<()> {
    agent::make_netns("traced")?;
    figures.traced_add = trace::call(plugin, "ADD", "traced", None)?;
    figures.traced_del = trace::call(plugin, "DEL", "traced", None)?;
    agent::remove_netns("traced")
}
