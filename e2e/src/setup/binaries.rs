//! The release binaries, static, as they go into the image.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::paths::{target, workspace};
use crate::process::{capture, command};
use crate::progress::step;

/// The programs that make up the product.
pub const NAMES: [&str; 3] = ["routerd", "routerd-cni", "routerd-init"];

/// The folder with the programs: a given one, checked, or cargo's after a build.
pub fn prepare(given: Option<&Path>) -> Result<PathBuf> {
    let folder = match given {
        Some(folder) => {
            folder.canonicalize().with_context(|| format!("{} is no folder", folder.display()))?
        }
        None => build()?,
    };
    match NAMES.iter().find(|name| !folder.join(name).is_file()) {
        Some(name) => bail!("{} has no {name}", folder.display()),
        None => Ok(folder),
    }
}

fn build() -> Result<PathBuf> {
    let packages = ["--package", "routerd", "--package", "cni-plugin", "--package", "init"];
    release("release binaries", &packages, &NAMES.join(", "))?;
    folder()
}

/// Builds an example program of a package in the same way.
pub fn build_example(package: &str, name: &str) -> Result<()> {
    release(&format!("example {name} of {package}"), &["--package", package, "--example", name], name)
}

/// Where [`build_example`] puts it.
pub fn example(name: &str) -> Result<PathBuf> {
    Ok(folder()?.join("examples").join(name))
}

fn folder() -> Result<PathBuf> {
    Ok(target()?.join(host_triple()?).join("release"))
}

/// Builds with these words for cargo.
fn release(what: &str, words: &[&str], result: &str) -> Result<()> {
    let triple = host_triple()?;
    let target = target()?;
    println!("  {what}: cargo build, static, for {triple}, into {}", target.display());
    step(what, |_| {
        let status = cargo(&triple, &target).args(words).status().context("cargo could not be started")?;
        if !status.success() {
            bail!("cargo build ended with {status}");
        }
        Ok(((), result.to_owned()))
    })
}

/// Static by the C library of the host: musl has no target here. `--target` keeps the flag away from what
/// runs during the build (procedural macros must stay dynamic).
fn cargo(triple: &str, target: &Path) -> std::process::Command {
    let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", triple.to_uppercase().replace('-', "_"));
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--release", "--locked", "--target", triple]);
    cargo.current_dir(workspace()).stdin(Stdio::null());
    cargo.env("CARGO_TARGET_DIR", target).env(flags, "-C target-feature=+crt-static");
    cargo
}

/// What this machine compiles for, as `rustc` names it.
pub(crate) fn host_triple() -> Result<String> {
    let told = capture(command("rustc").arg("-vV"))?;
    let host = told.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc does not say what it compiles for")
}
