//! `cargo lab fuzz`: libFuzzer on what reads foreign bytes (`cni_plugin::fuzzing`), with the stable toolchain.
//!
//! The compiler writes the counters of libFuzzer's coverage; that needs no sanitizer, and so no nightly toolchain.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::paths::{cache, target, workspace};
use crate::process::{attach_log, command, logged, tail};
use crate::progress::step;
use crate::setup::binaries::host_triple;
use crate::setup::packages;

/// `fuzz`.
#[derive(Debug, Args)]
pub struct Options {
    /// This target only.
    pub target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 30)]
    pub seconds: u32,
    /// The seed of the random numbers; another one each time unless it is given.
    #[arg(long)]
    pub seed: Option<u32>,
}

/// What makes libFuzzer and the programs.
const PACKAGES: &[&str] = &["g++"];

/// Coverage of branches and the operands of comparisons, for libFuzzer; what `cargo fuzz` sets, too.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares";

/// How long a target runs.
#[derive(Debug, Clone, Copy)]
pub enum Length {
    /// Until so many seconds are over.
    Seconds(u32),
    /// So many inputs, however long they take: with a seed and no inputs of earlier runs the same ones on every machine.
    Inputs(u32),
}

/// What came of one target.
#[derive(Debug)]
pub struct Ran {
    /// The target.
    pub name: String,
    /// How many inputs were tried.
    pub inputs: u64,
    /// How many branches were seen.
    pub branches: u64,
    /// The input that ended it badly, and what was said.
    pub crash: Option<String>,
}

/// The subcommand. Returns the exit status.
pub fn run(options: &Options) -> Result<u8> {
    let cache = cache()?;
    let folder = cache.join("fuzz");
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let programs = build(&cache.join("fuzz-build.log"))?;
    let wanted = choose(&names()?, options.target.as_deref())?;
    let mut crashes = 0_u8;
    for name in &wanted {
        let ran = step(&format!("{name}, {} s", options.seconds), |_| {
            let ran = one(&programs, &folder, name, Length::Seconds(options.seconds), options.seed)?;
            let text = format!("{} inputs, {} branches", ran.inputs, ran.branches);
            Ok((ran, text))
        })?;
        if let Some(crash) = ran.crash {
            crashes += 1;
            println!("{crash}");
        }
    }
    println!("{} targets, {crashes} crashes", wanted.len());
    Ok(u8::from(crashes > 0))
}

/// Builds the programs; the folder they are in.
pub fn build(log: &Path) -> Result<PathBuf> {
    packages::ensure(&[packages::BUILD, PACKAGES], &cache()?)?;
    let triple = host_triple()?;
    let output = target()?.join("fuzz");
    let mut cargo = command("cargo");
    cargo.args(["build", "--release", "--locked", "--target", &triple]).current_dir(workspace().join("fuzz"));
    cargo.env("CARGO_TARGET_DIR", &output).env("RUSTFLAGS", FLAGS).env("CARGO_TERM_COLOR", "never");
    step("fuzz targets", |_| logged(&mut cargo, log).map(|()| ((), "built".into())))?;
    Ok(output.join(triple).join("release"))
}

/// The names of the targets: each has a folder of inputs to begin with.
pub fn names() -> Result<Vec<String>> {
    let folder = workspace().join("fuzz/seeds");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

fn choose(names: &[String], wanted: Option<&str>) -> Result<Vec<String>> {
    match wanted {
        None => Ok(names.to_vec()),
        Some(name) if names.iter().any(|known| known == name) => Ok(vec![name.to_owned()]),
        Some(name) => bail!("there is no target {name:?}; the targets are {}", names.join(", ")),
    }
}

/// Runs one target; inputs that see something new are kept in `folder` for the next time.
pub fn one(programs: &Path, folder: &Path, name: &str, length: Length, seed: Option<u32>) -> Result<Ran> {
    let (corpus, crashes) = (folder.join(name), folder.join("crashes"));
    for made in [&corpus, &crashes] {
        fs::create_dir_all(made).with_context(|| format!("making {}", made.display()))?;
    }
    let log = folder.join(format!("{name}.log"));
    let mut fuzzer = command(programs.join(name));
    fuzzer.arg(&corpus).arg(workspace().join("fuzz/seeds").join(name));
    fuzzer.arg(match length {
        Length::Seconds(seconds) => format!("-max_total_time={seconds}"),
        Length::Inputs(inputs) => format!("-runs={inputs}"),
    });
    fuzzer.arg(format!("-seed={}", seed.unwrap_or(0)));
    fuzzer.arg(format!("-artifact_prefix={}/{name}-", crashes.display()));
    // One input may take long only if something is wrong: each is at most some kilobytes.
    fuzzer.args(["-timeout=10", "-rss_limit_mb=1024", "-max_len=8192", "-print_final_stats=1"]);
    let status = attach_log(&mut fuzzer, &log)?.status().with_context(|| format!("starting {name}"))?;
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let crash = (!status.success()).then(|| describe(&text, &log));
    Ok(Ran { name: name.to_owned(), inputs: inputs(&text), branches: branches(&text), crash })
}

fn describe(text: &str, log: &Path) -> String {
    let saved = text.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, path)| path);
    let why = text.lines().skip_while(|line| !line.contains("panicked at")).take(2);
    format!(
        "  input: {}\n  {}\n  log: {}; a fixed input belongs into fuzz/seeds/\n{}",
        saved.unwrap_or("none was saved"),
        why.collect::<Vec<_>>().join(" "),
        log.display(),
        tail(log, 5)
    )
}

/// Of `stat::number_of_executed_units: 8123`.
fn inputs(text: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix("stat::number_of_executed_units:")?.trim().parse().ok())
        .unwrap_or(0)
}

/// Of the last `#4096 pulse  cov: 312 ft: …`.
fn branches(text: &str) -> u64 {
    let of = |line: &str| line.split_once(" cov: ")?.1.split(' ').next()?.parse().ok();
    text.lines().rev().find_map(of).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "#2 INITED cov: 80 ft: 81 corp: 1/1b\n#99 NEW    cov: 312 ft: 900\nthread panicked at x.rs:1:2:\n\
        two lines\n==5== ERROR: libFuzzer: deadly signal\nartifact_prefix='/c/'; Test unit written to /c/gc-crash-1\n\
        stat::number_of_executed_units: 8123\n";

    #[test]
    fn the_figures_and_the_saved_input_are_read_from_libfuzzers_log() {
        assert_eq!((inputs(LOG), branches(LOG)), (8123, 312));
        assert_eq!((inputs(""), branches("")), (0, 0));
        let crash = describe(LOG, Path::new("/nonexistent"));
        assert!(crash.contains("/c/gc-crash-1") && crash.contains("x.rs:1:2: two lines"), "{crash}");
    }

    #[test]
    fn a_wrong_target_is_refused_with_the_right_ones() {
        let names = names().unwrap();
        assert!(names.len() >= 6, "{names:?}");
        let error = choose(&names, Some("frob")).unwrap_err().to_string();
        assert!(error.contains("socket"), "{error}");
    }
}
