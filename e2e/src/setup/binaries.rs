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
    let triple = host_triple()?;
    let target = target()?;
    println!("  release binaries: cargo build, static, for {triple}, into {}", target.display());
    step("release binaries", |_| {
        let status = cargo(&triple, &target).status().context("cargo could not be started")?;
        if !status.success() {
            bail!("cargo build ended with {status}");
        }
        Ok(((), NAMES.join(", ")))
    })?;
    Ok(target.join(triple).join("release"))
}

/// Static by the C library of the host: musl has no target here. `--target` keeps the flag away from what
/// runs during the build (procedural macros must stay dynamic).
fn cargo(triple: &str, target: &Path) -> std::process::Command {
    let flags = format!("CARGO_TARGET_{}_RUSTFLAGS", triple.to_uppercase().replace('-', "_"));
    let mut cargo = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--release", "--locked", "--target", triple]);
    cargo.args(["--package", "routerd", "--package", "cni-plugin", "--package", "init"]);
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
