//! The course of a run inside its name spaces: the cluster, the tests, what came of them, and nothing left.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::program::{LOG, NODES, Orders, REPORT, Run};
use super::progress::{Event, Progress};
use super::report::{self, Report};
use super::summary::{self, Summary};
use super::{Order, images};
use crate::cluster::{Cluster, DUAL_STACK, IPV4, boot};
use crate::process::tail;
use crate::sandbox::Inside;

/// How often it is looked whether everything still runs.
const PAUSE: Duration = Duration::from_millis(500);

/// Where the state of the nodes at the end goes, when something failed.
const AT_THE_END: &str = "at-the-end";

/// The whole course. Returns the exit status.
pub(super) fn run(inside: &Inside, order: &Order) -> Result<u8> {
    ensure!(!order.names().is_empty(), "every test is left out");
    let begin = Instant::now();
    let folder = inside.folder.join("cluster");
    fs::create_dir_all(&folder)?;
    let ranges = if order.dual_stack { DUAL_STACK } else { IPV4 };
    let lab = boot(inside, &order.parts, NODES, ranges)?;
    let mut cluster = Cluster::new(lab, folder, ranges).with_flags(&order.flags);
    match tests(&mut cluster, order) {
        Ok(summary) => {
            if !summary.is_good() {
                println!("  {}", keep(&cluster, &order.results.join(AT_THE_END)));
            }
            cluster.end()?;
            println!("\n{}", summary.text(order, begin.elapsed()));
            Ok(u8::from(!summary.is_good()))
        }
        Err(error) => Err(error.context(cluster.evidence(&order.results.join(AT_THE_END)))),
    }
}

fn tests(cluster: &mut Cluster, order: &Order) -> Result<Summary> {
    cluster.bring_up(&order.parts, images::of(order)?)?;
    if order.services.is_some() {
        cluster.pods_for_the_api_server()?;
        cluster.name_service()?;
    }
    println!("  routerd before: {}", state(cluster)?);
    let (names, kubeconfig) = (order.names(), cluster.kubeconfig()?.to_owned());
    let kubectl = kubectl(order, &kubeconfig.with_file_name("kubectl"))?;
    let orders = Orders {
        program: &order.program,
        folder: &order.results,
        kubeconfig: &kubeconfig,
        kubectl: &kubectl,
        suite: &order.suite,
        names: &names,
    };
    println!("  {} tests; reports and logs go to {}", names.len(), order.results.display());
    let mut run = Run::start(&orders)?;
    let mut watch = Watch { done: 0, all: names.len(), log: Progress::new(&order.results.join(LOG), &names) };
    let status = loop {
        std::thread::sleep(PAUSE);
        // Asked before the log is read, so that nothing is written after that.
        let ended = run.ended()?;
        watch.look(cluster, order)?;
        if let Some(status) = ended {
            break status;
        }
        cluster.still_running()?;
    };
    let report = read(order, &status.to_string())?;
    let after = state(cluster);
    Ok(Summary::new(&order.cases, report, after, &order.results))
}

/// kubectl as a file of its own, which is a word of a larger program here.
fn kubectl(order: &Order, to: &Path) -> Result<PathBuf> {
    let (program, word) = order.parts.programs.kubernetes("kubectl");
    let text = format!("#!/bin/sh\nexec {} {} \"$@\"\n", program.display(), word.unwrap_or_default());
    fs::write(to, text)?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o755))?;
    Ok(to.to_owned())
}

/// The program's own report. Without one it did not come to its end, and its log says why.
fn read(order: &Order, status: &str) -> Result<Report> {
    let log = order.results.join(LOG);
    report::read(&order.results.join(REPORT)).with_context(|| {
        format!("the tests' program ended with {status}; its log is {}:\n{}", log.display(), tail(&log, 25))
    })
}

fn state(cluster: &Cluster) -> Result<String> {
    Ok(format!("{}; {}", cluster.health()?, cluster.memory()?))
}

/// Keeps the state of all nodes and says where. What it says of every pod is in the folder, too, and too much here.
fn keep(cluster: &Cluster, to: &Path) -> String {
    cluster.evidence(to).lines().last().unwrap_or_default().to_owned()
}

/// Says what ended, as it ends.
struct Watch {
    done: usize,
    all: usize,
    log: Progress,
}

impl Watch {
    fn look(&mut self, cluster: &Cluster, order: &Order) -> Result<()> {
        for event in self.log.events()? {
            match event {
                Event::Ended(name, end) => {
                    self.done += 1;
                    println!("  {:>3}/{}  {end:<26}  {name}", self.done, self.all);
                }
                Event::Failing(name) => {
                    let to = order.results.join(summary::FAILED).join(summary::folder_name(&name));
                    println!("  failing: {}", keep(cluster, &to));
                }
            }
        }
        Ok(())
    }
}
