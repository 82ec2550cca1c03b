//! `cargo lab conformance`: Kubernetes' own end-to-end tests (`e2e.test`) against three nodes, each with a kernel, a
//! container runtime and a kubelet of its own, a real control plane, and routerd as the only network.

use std::fs;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::cli::Nodes;
use crate::cluster::{Parts, prepare};
use crate::guest::NodeKind;
use crate::image;
use crate::progress::step;
use crate::sandbox::{self, Inside};
use crate::setup::{go, packages};

mod course;
mod group;
mod images;
mod program;
mod progress;
mod report;
mod summary;

use group::{Case, Group};

/// Which tests are run, and against what.
#[derive(Debug, Args, Clone)]
pub struct Options {
    /// The group of tests.
    pub group: Group,
    /// Of the group, those only whose full name matches this regular expression.
    #[arg(long, value_name = "REGEX")]
    pub focus: Option<String>,
    /// Without those whose full name matches this one.
    #[arg(long, value_name = "REGEX")]
    pub skip: Option<String>,
    /// Name the tests and run none.
    #[arg(long)]
    pub dry_run: bool,
    /// A folder with routerd, routerd-cni and routerd-init built before, instead of building them.
    #[arg(long, value_name = "DIR")]
    pub binaries: Option<PathBuf>,
}

/// What the process inside the name spaces is told.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    /// The group's name.
    group: String,
    /// What the cluster is made of.
    parts: Parts,
    /// The tests' program.
    program: PathBuf,
    /// The images that the tests ask for.
    images: Vec<String>,
    /// The folder of what the tests of Services need beside them.
    services: Option<PathBuf>,
    /// The cluster has both families.
    dual_stack: bool,
    /// Flags of routerd, as an operator of such a cluster sets them.
    flags: Vec<String>,
    /// What the tests' suite calls itself.
    suite: String,
    /// The group's tests.
    cases: Vec<Case>,
    /// Where reports, logs and evidence go; they outlive the run.
    results: PathBuf,
}

impl Order {
    /// The names of the tests to run.
    fn names(&self) -> Vec<&str> {
        self.cases.iter().filter(|case| case.left_out.is_none()).map(|case| case.name.as_str()).collect()
    }
}

/// Hands the order to the process inside.
const FILE: &str = "conformance.json";

/// The subcommand: both sides of the name spaces. Returns the exit status.
pub fn command(options: &Options, arguments: &[String]) -> Result<u8> {
    if let Some(inside) = Inside::enter()? {
        let order: Order = serde_json::from_slice(&fs::read(inside.folder.join(FILE))?)?;
        return course::run(&inside, &order);
    }
    let Some(program) = go::conformance()? else { bail!("{}", go::missing()) };
    let (suite, cases) = tests(options, &program)?;
    if options.dry_run {
        print(&cases);
        return Ok(0);
    }
    let services = if options.group.needs_names() { go::services()? } else { None };
    packages::ensure(&[image::tools::PACKAGES], &crate::paths::cache()?)?;
    let nodes = Nodes { kernel: NodeKind::Uml, binaries: options.binaries.clone() };
    let order = Order {
        group: options.group.name().to_owned(),
        parts: prepare(&nodes)?,
        images: program::images(&program)?,
        services,
        dual_stack: options.group.is_dual_stack(),
        flags: options.group.flags(),
        program,
        suite,
        cases,
        results: program::fresh_folder(options.group.name())?,
    };
    sandbox::run_with("conformance", (FILE, &order), arguments)
}

/// What the suite calls itself, and the group's tests in it.
fn tests(options: &Options, program: &std::path::Path) -> Result<(String, Vec<Case>)> {
    step(&format!("tests of the group {}", options.group.name()), |_| {
        let folder = tempfile::tempdir()?;
        let contents = program::contents(program, folder.path())?;
        let names: Vec<String> = contents.tests.into_iter().map(|test| test.name).collect();
        let cases = options.group.choose(&names, options.focus.as_deref(), options.skip.as_deref())?;
        let run = cases.iter().filter(|case| case.left_out.is_none()).count();
        let told =
            format!("{run} to run, {} left out, of {} that Kubernetes has", cases.len() - run, names.len());
        Ok(((contents.suite, cases), told))
    })
}

fn print(cases: &[Case]) {
    for case in cases {
        match &case.left_out {
            None => println!("  {}", case.name),
            Some(why) => println!("  left out ({why}): {}", case.name),
        }
    }
}
