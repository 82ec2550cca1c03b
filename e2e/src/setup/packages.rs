//! Debian packages: what is missing is named and, as root, installed.

use std::path::Path;

use anyhow::{Result, bail};
use nix::unistd::geteuid;

use crate::process::{command, logged, output};
use crate::progress::step;

/// What makes the lab's kernel.
pub const KERNEL: &[&str] = &[
    "linux-source-6.12",
    "flex",
    "bison",
    "bc",
    "make",
    "gcc",
    "libc6-dev",
    "libelf-dev",
    "libssl-dev",
    "xz-utils",
];

/// What every run uses: to join nodes, and to look at kernels with other eyes than ours.
pub const RUN: &[&str] = &["iproute2", "nftables", "coreutils", "bash"];

/// What a build of the workspace uses.
pub const BUILD: &[&str] = &["gcc", "libc6-dev"];

/// What tests compare with.
pub const TESTS: &[&str] =
    &["ipvsadm", "bird2", "frr", "gobgpd", "runc", "containernetworking-plugins", "conntrack", "iptables"];

/// Makes sure that these packages are there.
pub fn ensure(groups: &[&[&str]], folder: &Path) -> Result<()> {
    let wanted: Vec<&str> = groups.iter().flat_map(|group| group.iter().copied()).collect();
    step("Debian packages", |_| {
        let missing = missing(&wanted)?;
        if missing.is_empty() {
            return Ok(((), format!("{} there", wanted.len())));
        }
        install(&missing, folder)?;
        Ok(((), format!("installed {}", missing.join(" "))))
    })
}

/// Those of the packages that dpkg does not have installed, each once, in order.
fn missing(wanted: &[&str]) -> Result<Vec<String>> {
    let mut query = command("dpkg-query");
    query.args(["--show", "--showformat", "${Package} ${db:Status-Status}\n"]).args(wanted);
    // It ends with status 1 as soon as it knows nothing of one of them.
    let told = output(&mut query)?;
    Ok(not_installed(wanted, &String::from_utf8_lossy(&told.stdout)))
}

fn not_installed(wanted: &[&str], told: &str) -> Vec<String> {
    let mut missing: Vec<String> = Vec::new();
    for name in wanted {
        let there = told.lines().any(|line| line.split_once(' ') == Some((name, "installed")));
        if !there && !missing.iter().any(|known| known == name) {
            missing.push((*name).to_owned());
        }
    }
    missing
}

fn install(missing: &[String], folder: &Path) -> Result<()> {
    let names = missing.join(" ");
    if !geteuid().is_root() {
        bail!("these Debian packages are missing: {names}\n  install them with: apt-get install {names}");
    }
    println!("  apt-get installs: {names}");
    let log = folder.join("apt.log");
    logged(command("apt-get").arg("update"), &log)?;
    let mut apt = command("apt-get");
    apt.args(["install", "--yes", "--no-install-recommends"])
        .args(missing)
        .env("DEBIAN_FRONTEND", "noninteractive");
    logged(&mut apt, &log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_counts_only_when_it_is_installed() {
        let told = "gcc installed\nbison not-installed\nmake config-files\n";
        assert_eq!(not_installed(&["gcc", "bison", "make", "flex", "flex"], told), ["bison", "make", "flex"]);
    }
}
