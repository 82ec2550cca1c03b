//! `cargo deny`, which judges what we depend on.

use std::path::PathBuf;

use anyhow::Result;

use crate::paths::cache;
use crate::process::{command, logged, output};
use crate::progress::step;

/// The version that is installed when there is none.
const VERSION: &str = "0.20.2";

/// The program, installed into the cache when it is missing.
pub fn prepare() -> Result<PathBuf> {
    let tools = cache()?.join("tools");
    let program = tools.join("bin/cargo-deny");
    if program.is_file() || works("cargo-deny") {
        return Ok(if program.is_file() { program } else { "cargo-deny".into() });
    }
    step(&format!("cargo install cargo-deny {VERSION} (some minutes)"), |_| {
        let mut install = command("cargo");
        install.args(["install", "cargo-deny", "--locked", "--version", VERSION, "--root"]).arg(&tools);
        logged(&mut install, &cache()?.join("cargo-deny.log"))?;
        Ok(((), format!("into {}", tools.display())))
    })?;
    Ok(program)
}

fn works(program: &str) -> bool {
    output(command(program).arg("--version")).is_ok_and(|told| told.status.success())
}
