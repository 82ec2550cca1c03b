//! The course of a run inside its name spaces: the cluster, the tests, what came of them, and nothing left.

use std::fs;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Order;
use super::program::{NODES, Orders, REPORT, Run};
use super::progress::{self, Ended};
use super::report::{self, Report};
use super::summary::{self, Summary};
use crate::cluster::{Cluster, boot};
use crate::progress::step;
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
    let mut cluster = Cluster::new(boot(inside, &order.parts, NODES)?, folder);
    match tests(&mut cluster, order) {
        Ok(summary) => {
            if !summary.is_good() {
                println!("{}", cluster.evidence(&order.results.join(AT_THE_END)));
            }
            cluster.end()?;
            println!("\n{}", summary.text(order, begin.elapsed()));
            Ok(u8::from(!summary.is_good()))
        }
        Err(error) => Err(error.context(cluster.evidence(&order.results.join(AT_THE_END)))),
    }
}

fn tests(cluster: &mut Cluster, order: &Order) -> Result<Summary> {
    cluster.bring_up(&order.parts, &order.image)?;
    println!("  routerd before: {}", state(cluster)?);
    let (names, progress) = (order.names(), progress::listen()?);
    let kubeconfig = cluster.kubeconfig()?.to_owned();
    let orders = Orders {
        program: &order.program,
        folder: &order.results,
        kubeconfig: &kubeconfig,
        progress: &progress.url,
        suite: &order.suite,
        names: &names,
    };
    println!("  {} tests; reports and logs go to {}", names.len(), order.results.display());
    let mut watch = Watch { done: 0, all: names.len(), last: Instant::now() };
    let mut run = Run::start(&orders)?;
    let status = loop {
        match progress.ended.recv_timeout(PAUSE) {
            Ok(ended) => watch.show(&ended, cluster, order),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if let Some(status) = run.ended()? {
            break status;
        }
        cluster.still_running()?;
    };
    progress.ended.try_iter().for_each(|ended| watch.show(&ended, cluster, order));
    let report = read(order, &status.to_string())?;
    let after = state(cluster);
    Ok(Summary::new(&order.cases, report, after, &order.results))
}

/// The program's own report. Without one it did not come to its end, and its log says why.
fn read(order: &Order, status: &str) -> Result<Report> {
    use anyhow::Context as _;
    let log = order.results.join(super::program::LOG);
    report::read(&order.results.join(REPORT)).with_context(|| {
        format!(
            "the tests' program ended with {status}; its log is {}:\n{}",
            log.display(),
            crate::process::tail(&log, 25)
        )
    })
}

fn state(cluster: &Cluster) -> Result<String> {
    Ok(format!("{}; {}", cluster.health()?, cluster.memory()?))
}

/// Says what ended, as it ends.
struct Watch {
    done: usize,
    all: usize,
    last: Instant,
}

impl Watch {
    fn show(&mut self, ended: &Ended, cluster: &Cluster, order: &Order) {
        self.done += 1;
        let took = ended.at.saturating_duration_since(self.last).as_secs_f64();
        self.last = ended.at;
        let word = if ended.passed { "passed" } else { "FAILED" };
        println!("  {word} {:>3}/{}  {took:>6.1} s  {}", self.done, self.all, ended.name);
        if !ended.passed {
            let to = order.results.join(summary::FAILED).join(summary::folder_name(&ended.name));
            // It is for looking at later; what the API says of every pod now would drown the progress.
            let kept = step("state of the nodes", |_| {
                Ok(((), cluster.evidence(&to).lines().last().unwrap_or_default().to_owned()))
            });
            if let Err(error) = kept {
                println!("  the state could not be kept: {error:#}");
            }
        }
    }
}
