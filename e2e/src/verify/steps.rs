//! The steps.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::cargo::{cargo, test_programs, watched};
use super::table::Outcome;
use super::{Scene, count};
use crate::fuzz::Length;
use crate::process::{command, tail};
use crate::setup::{deny as cargo_deny, go};

pub(super) fn fmt(scene: &Scene) -> Result<Outcome> {
    plain("cargo fmt --check", &mut cargo("fmt --all --check -- --color never")?, &scene.log("fmt"))
}

pub(super) fn clippy(scene: &Scene) -> Result<Outcome> {
    let mut clippy = cargo("clippy --workspace --all-targets --locked -- -D warnings")?;
    plain("cargo clippy", &mut clippy, &scene.log("clippy"))
}

pub(super) fn doc(scene: &Scene) -> Result<Outcome> {
    let mut doc = cargo("doc --workspace --no-deps --locked")?;
    plain("cargo doc", doc.env("RUSTDOCFLAGS", "-D warnings"), &scene.log("doc"))
}

pub(super) fn deny(scene: &Scene) -> Result<Outcome> {
    let program = cargo_deny::prepare()?;
    let check = |words: &str| {
        let mut deny = command(&program);
        deny.args(words.split(' ')).current_dir(crate::paths::workspace());
        deny
    };
    let log = scene.log("deny");
    let mut outcome =
        plain("cargo deny: bans, licences, sources", &mut check("check bans licenses sources"), &log)?;
    let log = scene.log("deny-advisories");
    let status = watched("cargo deny: advisories", &mut check("check advisories"), &log)?;
    let text = fs::read_to_string(&log)?;
    if status.success() {
        outcome.passed += 1;
    } else if text.contains("failed to fetch advisory database") {
        outcome.note += " advisories not checked: their database cannot be reached from here";
    } else {
        outcome.failed += 1;
        outcome.note = end_of(&log);
    }
    Ok(outcome)
}

pub(super) fn test(scene: &Scene) -> Result<Outcome> {
    let log = scene.log("test");
    let mut tests = cargo("test --workspace --locked --no-fail-fast")?;
    let status = watched("cargo test", &mut tests, &log)?;
    let (passed, failed) = count::tests(&fs::read_to_string(&log)?);
    Ok(counted(passed, failed, status.success(), &log))
}

/// How many inputs each target is given: a second or two for each.
const FUZZED: u32 = 50_000;

/// A short run from the seeds alone, with the same random numbers and as many inputs each time: what is red here is red
/// everywhere. `cargo lab fuzz` looks for what is new.
pub(super) fn fuzz(scene: &Scene) -> Result<Outcome> {
    let mut format = cargo("fmt --check --manifest-path fuzz/Cargo.toml -- --color never")?;
    let mut outcome = plain("cargo fmt --check in fuzz/", &mut format, &scene.log("fuzz"))?;
    let programs = crate::fuzz::build(&scene.log("fuzz"))?;
    let folder = scene.logs.join("fuzz");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    for name in crate::fuzz::names()? {
        let ran = crate::fuzz::one(&programs, &folder, &name, Length::Inputs(FUZZED), Some(1))?;
        match ran.crash {
            None if ran.inputs > 0 => outcome.passed += 1,
            None => bail!("{name} tried no input"),
            Some(crash) => {
                outcome.failed += 1;
                println!("{crash}");
                outcome.note = format!("{name} ended badly; see {}", folder.join(&name).display());
            }
        }
    }
    Ok(outcome)
}

/// Tests marked `ignored` are those that the machine's own kernel may not be able to carry.
pub(super) fn lab(scene: &Scene) -> Result<Outcome> {
    let log = scene.log("lab");
    let programs = test_programs(&log)?;
    let mut guest = this_program()?;
    guest.arg("in-guest").args(&programs);
    let status = watched("tests in a guest", &mut guest, &log)?;
    let (passed, failed) = count::tests(&fs::read_to_string(&log)?);
    if status.success() && passed == 0 {
        bail!("no test ran in the guest; see {}", log.display());
    }
    Ok(counted(passed, failed, status.success(), &log))
}

pub(super) fn cni(scene: &Scene) -> Result<Outcome> {
    // Made here, where its progress can be seen.
    if go::cni_drivers()?.is_none() || go::reference_plugins()?.is_none() {
        bail!("{}; or leave it out by `--skip cni`", go::missing());
    }
    let log = scene.log("cni");
    let status = watched("cargo lab cni", with_binaries(this_program()?.arg("cni"), scene), &log)?;
    let text = fs::read_to_string(&log)?;
    let (passed, failed) = count::demo(&text).with_context(|| end_of(&log))?;
    Ok(counted(passed, failed, status.success(), &log))
}

/// The parts that are over soon, with few restarts; `cargo lab routing` shows the others too.
pub(super) fn routing(scene: &Scene) -> Result<Outcome> {
    let log = scene.log("routing");
    let mut routing = this_program()?;
    routing.args(["routing", "--only", "overlay,restarts", "--restarts", "6"]);
    let status = watched("cargo lab routing", with_binaries(&mut routing, scene), &log)?;
    let text = fs::read_to_string(&log)?;
    let (passed, failed) = count::demo(&text).with_context(|| end_of(&log))?;
    Ok(counted(passed, failed, status.success(), &log))
}

pub(super) fn demo(scene: &Scene) -> Result<Outcome> {
    let log = scene.log("demo");
    let status = watched("cargo demo", with_binaries(this_program()?.arg("demo"), scene), &log)?;
    let text = fs::read_to_string(&log)?;
    let (passed, failed) = count::demo(&text).with_context(|| end_of(&log))?;
    Ok(counted(passed, failed, status.success(), &log))
}

pub(super) fn cluster(scene: &Scene) -> Result<Outcome> {
    // Made here, where its progress can be seen.
    if go::Programs::prepare()?.is_none() {
        bail!("{}; or leave it out by `--skip cluster`", go::missing());
    }
    let log = scene.log("cluster");
    let mut cluster = this_program()?;
    let status = watched("cargo lab cluster", with_binaries(cluster.arg("cluster"), scene), &log)?;
    let text = fs::read_to_string(&log)?;
    let (passed, failed) = count::demo(&text).with_context(|| end_of(&log))?;
    // What was measured belongs on the screen, too.
    println!("{}", tail(&log, usize::try_from(passed)? + 1));
    Ok(counted(passed, failed, status.success(), &log))
}

fn this_program() -> Result<Command> {
    Ok(command(std::env::current_exe().context("the lab does not know its own path")?))
}

fn with_binaries<'a>(command: &'a mut Command, scene: &Scene) -> &'a mut Command {
    match &scene.binaries {
        Some(folder) => command.arg("--binaries").arg(folder),
        None => command,
    }
}

/// A command that passes or fails as a whole.
fn plain(text: &str, command: &mut Command, log: &Path) -> Result<Outcome> {
    let status = watched(text, command, log)?;
    Ok(counted(u64::from(status.success()), 0, status.success(), log))
}

/// How many lines of a failed test's output are shown.
const SAID: usize = 30;

/// A command that failed without a failed test (it did not build, it crashed) has failed all the same.
fn counted(passed: u64, failed: u64, success: bool, log: &Path) -> Outcome {
    if success && failed == 0 {
        return Outcome { passed, failed: 0, note: String::new() };
    }
    let failures = count::failures(&fs::read_to_string(log).unwrap_or_default(), SAID);
    if failures.is_empty() {
        println!("{}", end_of(log));
    }
    for failure in &failures {
        println!("  failed: {failure}");
    }
    let names: Vec<&str> = failures.iter().filter_map(|failure| failure.lines().next()).collect();
    let note = format!("{} (see {})", names.join(", "), log.display());
    Outcome { passed, failed: failed.max(1), note: note.trim_start().to_owned() }
}

fn end_of(log: &Path) -> String {
    format!("the end of {}:\n{}", log.display(), tail(log, 30))
}
