//! `cargo verify`: every proof there is, one after the other, with a summary.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::cli::Verify;
use crate::paths::cache;
use crate::setup::packages;

mod cargo;
mod count;
mod ending;
mod steps;
mod table;

use table::{Outcome, Row};

/// What a step works with.
#[derive(Debug)]
struct Scene {
    /// Each step's output, in a file of its name.
    logs: PathBuf,
    /// Built before, instead of building; handed on to the steps with nodes.
    binaries: Option<PathBuf>,
}

impl Scene {
    fn log(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }
}

/// A step: its name, what it proves, and how.
struct Step {
    name: &'static str,
    about: &'static str,
    run: fn(&Scene) -> Result<Outcome>,
}

const STEPS: [Step; 11] = [
    Step { name: "fmt", about: "sources are formatted", run: steps::fmt },
    Step { name: "clippy", about: "lints, warnings denied", run: steps::clippy },
    Step { name: "doc", about: "documentation builds, warnings denied", run: steps::doc },
    Step { name: "deny", about: "dependencies: bans, licences, sources, advisories", run: steps::deny },
    Step { name: "test", about: "unit tests, and namespace tests on this kernel", run: steps::test },
    Step { name: "fuzz", about: "fuzz targets build and bear some thousand inputs each", run: steps::fuzz },
    Step { name: "lab", about: "tests that need the nodes' kernel, in a guest", run: steps::lab },
    Step { name: "cni", about: "cnitool and libcni drive the plugin, in every version", run: steps::cni },
    Step {
        name: "routing",
        about: "tunnels of three nodes behind FRR, restarts under traffic",
        run: steps::routing,
    },
    Step { name: "demo", about: "three nodes carry pods, Services and policy", run: steps::demo },
    Step { name: "cluster", about: "a real control plane, kubelets and containers", run: steps::cluster },
];

/// Runs the wanted steps; returns the exit status.
pub fn run(options: &Verify) -> Result<u8> {
    if options.list {
        for step in &STEPS {
            println!("{:8} {}", step.name, step.about);
        }
        return Ok(0);
    }
    let wanted = choose(&options.only, &options.skip)?;
    if !ending::is_inside() {
        return ending::watch();
    }
    let logs = cache()?.join("verify");
    fs::create_dir_all(&logs).with_context(|| format!("making {}", logs.display()))?;
    let groups = [packages::RUN, packages::BUILD, packages::TESTS, crate::image::tools::PACKAGES];
    packages::ensure(&groups, &logs)?;
    let scene = Scene { logs, binaries: options.binaries.clone() };
    let rows: Vec<Row> = wanted.iter().map(|step| one(step, &scene)).collect();
    println!("\n{}", table::table(&rows));
    let (passed, failed) = table::total(&rows);
    // Once more at the end, which is what is read first.
    for row in rows.iter().filter(|row| row.outcome.failed > 0) {
        println!("{} failed: {}", row.name, row.outcome.note);
    }
    let left_out: Vec<&str> =
        STEPS.iter().map(|step| step.name).filter(|name| !rows.iter().any(|row| row.name == *name)).collect();
    let left_out =
        if left_out.is_empty() { String::new() } else { format!("; not asked for: {}", left_out.join(", ")) };
    println!("{passed} passed, {failed} failed{left_out}");
    Ok(u8::from(failed > 0))
}

fn one(step: &Step, scene: &Scene) -> Row {
    println!("{}: {}", step.name, step.about);
    let begin = std::time::Instant::now();
    let outcome = (step.run)(scene).unwrap_or_else(|error| Outcome::failure(format!("{error:#}")));
    if outcome.failed > 0 {
        println!("  FAILED: {}", outcome.note);
    }
    Row { name: step.name, outcome, took: begin.elapsed() }
}

fn choose(only: &[String], skip: &[String]) -> Result<Vec<&'static Step>> {
    for name in only.iter().chain(skip) {
        if !STEPS.iter().any(|step| step.name == name) {
            let known: Vec<&str> = STEPS.iter().map(|step| step.name).collect();
            bail!("there is no step {name:?}; the steps are {}", known.join(", "));
        }
    }
    let has = |list: &[String], step: &Step| list.iter().any(|name| name == step.name);
    let wanted = STEPS.iter().filter(|step| (only.is_empty() || has(only, step)) && !has(skip, step));
    Ok(wanted.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(only: &[&str], skip: &[&str]) -> Result<Vec<&'static str>> {
        let owned = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        Ok(choose(&owned(only), &owned(skip))?.iter().map(|step| step.name).collect())
    }

    #[test]
    fn steps_are_chosen_by_name_and_a_wrong_name_is_refused() {
        assert_eq!(names(&["doc", "fmt"], &[]).unwrap(), ["fmt", "doc"]);
        assert_eq!(names(&[], &["cluster"]).unwrap().len(), STEPS.len() - 1);
        assert!(names(&["frob"], &[]).unwrap_err().to_string().contains("cluster"));
    }
}
