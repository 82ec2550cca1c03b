//! The plugin beside the reference plugins, interleaved in one run on this kernel.

use std::path::Path;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::Value;

use super::copy;
use super::plugin::Plugin;
use super::statistics::Times;
use super::trace::{self, Seen};
use crate::guest::{agent, boot};
use crate::progress::step;
use crate::sandbox::Inside;

/// Debian's package `containernetworking-plugins`.
const REFERENCE: &str = "/usr/lib/cni";

/// How many pods at once.
const AT_ONCE: usize = 50;

/// How often so many at once.
const WAVES: usize = 3;

/// Figures of one plugin.
#[derive(Debug, Default)]
struct Figures {
    add: Times,
    del: Times,
    add_cpu: Times,
    wave_add: Times,
    wave_del: Times,
    wave_add_all: Times,
    wave_del_all: Times,
    traced_add: Seen,
    traced_del: Seen,
}

/// Measures and prints the table.
pub(super) fn run(inside: &Inside, binaries: &Path, rounds: usize) -> Result<()> {
    // Leases, name spaces and bridges of the bench's own.
    boot::private_folders()?;
    let folder = inside.folder.join("ours");
    for name in ["bridge", "host-local"] {
        copy(&binaries.join("routerd-cni"), &folder.join(name))?;
    }
    let plugins = [
        Plugin::new("routerd-cni", &folder, "bridge", "br-ours", "10.251.0.0/16"),
        Plugin::new("reference plugins", Path::new(REFERENCE), "bridge", "br-theirs", "10.252.0.0/16"),
    ];
    let mut figures = [Figures::default(), Figures::default()];
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
    let [ours, theirs] = &figures;
    println!("\n{}", table([plugins[0].label, plugins[1].label], ours, theirs));
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

fn table(labels: [&str; 2], ours: &Figures, theirs: &Figures) -> String {
    let mut lines = vec![format!("  {:36} {:>14} {:>18} {:>8}\n", "", labels[0], labels[1], "ratio")];
    let mut line = |what: &str, unit: &str, of: &dyn Fn(&Figures) -> f64| {
        let (mine, other) = (of(ours), of(theirs));
        let digits = if unit.is_empty() { 0 } else { 2 };
        lines.push(format!(
            "  {what:36} {:>14} {:>18} {:>8.1}\n",
            figure(mine, digits, unit),
            figure(other, digits, unit),
            other / mine
        ));
    };
    for percent in [50, 99] {
        line(&format!("ADD, one by one, p{percent}"), " ms", &|figures| figures.add.percentile(percent));
        line(&format!("DEL, one by one, p{percent}"), " ms", &|figures| figures.del.percentile(percent));
    }
    line("ADD, CPU of one", " ms", &|figures| figures.add_cpu.mean());
    for percent in [50, 99] {
        line(&format!("ADD, {AT_ONCE} at once, p{percent}"), " ms", &|figures| {
            figures.wave_add.percentile(percent)
        });
        line(&format!("DEL, {AT_ONCE} at once, p{percent}"), " ms", &|figures| {
            figures.wave_del.percentile(percent)
        });
    }
    line(&format!("ADD, {AT_ONCE} at once, until the last"), " ms", &|figures| {
        figures.wave_add_all.percentile(50)
    });
    line(&format!("DEL, {AT_ONCE} at once, until the last"), " ms", &|figures| {
        figures.wave_del_all.percentile(50)
    });
    line("programs executed by one ADD", "", &|figures| f64::from(figures.traced_add.programs));
    line("programs executed by one DEL", "", &|figures| f64::from(figures.traced_del.programs));
    line("memory of the largest process", " MiB", &|figures| figures.traced_add.largest());
    lines.concat()
}

fn figure(value: f64, digits: usize, unit: &str) -> String {
    format!("{value:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_says_how_many_times_less_ours_takes() {
        let (mut ours, mut theirs) = (Figures::default(), Figures::default());
        ours.add.push(Duration::from_millis(2));
        theirs.add.push(Duration::from_millis(8));
        let text = table(["a", "b"], &ours, &theirs);
        let line = text.lines().find(|line| line.contains("ADD, one by one, p50")).unwrap();
        assert!(line.contains("2.00 ms") && line.contains("8.00 ms") && line.ends_with("4.0"), "{line}");
    }
}
