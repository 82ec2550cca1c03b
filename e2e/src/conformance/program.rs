//! Kubernetes' own end-to-end tests as a program: what it has, and a run of it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::group::exactly;
use super::report::{self, Report};
use crate::process::{attach_log, capture, command, describe, logged};

/// How many nodes the tests are told of.
pub(super) const NODES: u8 = 3;

/// How long a test may take on average, on a machine that does other things as well. Alone it takes 40 to 65 s.
const A_TEST: Duration = Duration::from_mins(4);

/// How long the suite's own beginning and end may take.
const AROUND: Duration = Duration::from_mins(10);

/// How much later than the program's own time limit it is ended from outside.
const GRACE: Duration = Duration::from_mins(3);

/// Where a run of the program leaves what.
pub(super) const REPORT: &str = "report.json";
/// All that it says.
pub(super) const LOG: &str = "e2e.log";

/// What every run is called with: no second attempt, no colours, no cloud.
fn prepared(program: &Path, folder: &Path) -> Command {
    let mut prepared = command(program);
    prepared.args(["--provider=local", "--ginkgo.no-color", "--ginkgo.flake-attempts=0"]);
    prepared.arg(format!("--ginkgo.json-report={}", folder.join(REPORT).display()));
    prepared.env_remove("KUBECONFIG").env("HOME", folder).current_dir(folder);
    prepared
}

/// Every test that the program has, as the report of a run in which none is really begun.
pub(super) fn contents(program: &Path, folder: &Path) -> Result<Report> {
    logged(prepared(program, folder).arg("--ginkgo.dry-run"), &folder.join(LOG))
        .context("asking for the names of the tests")?;
    report::read(&folder.join(REPORT))
}

/// The names of all images of the public registry that the tests ask for.
pub(super) fn images(program: &Path) -> Result<Vec<String>> {
    let told = capture(command(program).arg("--list-images")).context("asking for the tests' images")?;
    let public = told.lines().filter(|line| line.starts_with("registry.k8s.io/"));
    Ok(public.map(str::to_owned).collect())
}

/// A run of the tests against a cluster, ended when this value is dropped.
pub(super) struct Run {
    child: Child,
    end: Instant,
}

/// What a run is told.
pub(super) struct Orders<'a> {
    /// The program.
    pub(super) program: &'a Path,
    /// Where its reports and its log go.
    pub(super) folder: &'a Path,
    /// How it reaches the API.
    pub(super) kubeconfig: &'a Path,
    /// What tests that run kubectl run.
    pub(super) kubectl: &'a Path,
    /// What the suite calls itself.
    pub(super) suite: &'a str,
    /// The tests to run.
    pub(super) names: &'a [&'a str],
}

impl Run {
    /// Starts the program.
    pub(super) fn start(orders: &Orders<'_>) -> Result<Self> {
        let limit = AROUND + A_TEST * u32::try_from(orders.names.len()).context("too many tests")?;
        let mut run = prepared(orders.program, orders.folder);
        run.arg(format!("--kubeconfig={}", orders.kubeconfig.display()));
        run.arg(format!("--kubectl-path={}", orders.kubectl.display()));
        run.arg(format!("--num-nodes={NODES}"))
            .args(["--allowed-not-ready-nodes=0", "--dns-domain=cluster.local"]);
        run.arg(format!("--report-dir={}", orders.folder.display()));
        run.args(["--ginkgo.v", "--ginkgo.fail-on-empty", "--ginkgo.silence-skips"]);
        run.arg(format!("--ginkgo.timeout={}s", limit.as_secs()));
        run.arg(format!("--ginkgo.focus={}", exactly(orders.suite, orders.names)));
        let child = attach_log(&mut run, &orders.folder.join(LOG))?
            .spawn()
            .with_context(|| format!("{} could not be started", describe(&run)))?;
        Ok(Self { child, end: Instant::now() + limit + GRACE })
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        let status = self.child.try_wait().context("looking after the tests")?;
        if status.is_none() && Instant::now() > self.end {
            bail!("the tests did not even end at their own time limit");
        }
        Ok(status)
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // Ended already, unless something else went wrong.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The folder of a group's last run, empty.
pub(super) fn fresh_folder(group: &str) -> Result<PathBuf> {
    let folder = crate::paths::cache()?.join(format!("conformance-{group}"));
    if folder.exists() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}
