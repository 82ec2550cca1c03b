//! Tests that need what the machine's own kernel may not have (IPVS, IPIP, FoU), in a guest that has it.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::guest::client::Cmd;
use crate::guest::{Extras, NodeKind};
use crate::lab::{Lab, Plan};
use crate::paths::cache;
use crate::sandbox::{self, Inside};
use crate::setup::{kernel, packages};

/// Where the kernel is, for the process inside.
const KERNEL: &str = "kernel-path";

/// Runs the ignored tests of test programs in a guest; returns the exit status. Both sides of the name spaces.
pub fn command(programs: &[PathBuf], arguments: &[String]) -> Result<u8> {
    if let Some(inside) = Inside::enter()? {
        return inner(&inside, programs);
    }
    packages::ensure(&[packages::RUN, packages::KERNEL], &cache()?)?;
    let kernel = kernel::prepare()?;
    sandbox::run_with("guest", (KERNEL, &kernel), arguments)
}

fn inner(inside: &Inside, programs: &[PathBuf]) -> Result<u8> {
    let kernel = Some(serde_json::from_slice(&fs::read(inside.folder.join(KERNEL))?)?);
    let lab = Lab::boot(
        inside,
        &Plan { kind: NodeKind::Uml, kernel, memory: 800, count: 1, extras: Extras::default() },
    )?;
    let node = lab.node(1)?;
    let mut failed = 0_u8;
    for program in programs {
        // Asking costs one exec; most programs have no such tests.
        let path = program.to_string_lossy();
        let names = node.run(Cmd::new(&*path).words("--list --ignored --format terse"))?;
        if names.lines().count() == 0 {
            continue;
        }
        println!("{}", program.display());
        // One by one: they share the guest's kernel.
        let ended = node.output(Cmd::new(&*path).words("--ignored --test-threads=1"))?;
        print!("{}{}", ended.stdout, ended.stderr);
        failed += u8::from(ended.code != 0);
    }
    Ok(failed.min(1))
}
