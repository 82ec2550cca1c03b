//! The lab's kernel: User Mode Linux from Debian's kernel source, in the cache under a name made
//! from its configuration and source version.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::paths::{cache, fingerprint};
use crate::process::{capture, command, describe, logged, tail};
use crate::progress::{Step, step};

/// What is switched on over the architecture's default.
const FRAGMENT: &str = include_str!("../../data/kernel.config");
const PACKAGE: &str = "linux-source-6.12";
const ARCHIVE: &str = "/usr/src/linux-source-6.12.tar.xz";

/// Objects that this configuration compiles, about: only for the bar.
const OBJECTS: u64 = 1400;

/// The kernel's path; built when the cache has none. The package must be installed.
pub fn prepare() -> Result<PathBuf> {
    let version = capture(command("dpkg-query").args(["--show", "--showformat", "${Version}", PACKAGE]))?;
    let folder = cache()?.join(format!("kernel-{}", fingerprint(&[FRAGMENT, &version])));
    let kernel = folder.join("linux");
    step(&format!("Linux kernel of the nodes ({version})"), |step| {
        if kernel.is_file() {
            return Ok(((), "in the cache".into()));
        }
        build(step, &folder)?;
        Ok(((), format!("built into {}", folder.display())))
    })?;
    Ok(kernel)
}

fn build(step: &mut Step, folder: &Path) -> Result<()> {
    // Nothing under the final name until all of it is there: two runs at once do no harm.
    let work = super::build_folder("kernel", &cache()?)?;
    let log = cache()?.join("kernel-build.log");
    logged(command("tar").args(["--extract", "--file", ARCHIVE, "--directory"]).arg(work.path()), &log)?;
    let tree = work.path().join(PACKAGE);
    let fragment = work.path().join("kernel.config");
    fs::write(&fragment, FRAGMENT)?;
    logged(make(&tree).arg("defconfig"), &log)?;
    let mut merge = command("scripts/kconfig/merge_config.sh");
    logged(merge.current_dir(&tree).args(["-m", ".config"]).arg(&fragment), &log)?;
    logged(make(&tree).arg("olddefconfig"), &log)?;
    check_configuration(&fs::read_to_string(tree.join(".config"))?)?;
    compile(step, &tree, &log)?;
    let ready = work.path().join("ready");
    fs::create_dir(&ready)?;
    fs::copy(tree.join("linux"), ready.join("linux")).context("the build made no kernel")?;
    fs::copy(tree.join(".config"), ready.join("config"))?;
    match fs::rename(&ready, folder) {
        // Another run was quicker.
        Err(_) if folder.join("linux").is_file() => Ok(()),
        result => result.with_context(|| format!("naming {}", folder.display())),
    }
}

fn make(tree: &Path) -> Command {
    let mut make = command("make");
    make.current_dir(tree).arg("ARCH=um");
    make
}

/// An option that the source does not know is dropped without a word; the lab would miss it much later.
fn check_configuration(config: &str) -> Result<()> {
    let lost = lost_options(FRAGMENT, config);
    // Options of a newer or older source than the fragment was made for are no reason to stop, these are.
    let needed =
        ["CONFIG_IP_VS", "CONFIG_NF_TABLES_INET", "CONFIG_NET_IPIP", "CONFIG_UML_NET_VECTOR", "CONFIG_VETH"];
    if let Some(name) = needed.iter().find(|name| lost.contains(name)) {
        bail!("{PACKAGE} did not take {name}=y from e2e/data/kernel.config");
    }
    Ok(())
}

fn lost_options<'a>(fragment: &'a str, config: &str) -> Vec<&'a str> {
    let set: std::collections::HashSet<&str> = config.lines().collect();
    let wanted = fragment.lines().filter(|line| line.ends_with("=y"));
    wanted.filter(|line| !set.contains(line)).filter_map(|line| line.split('=').next()).collect()
}

fn compile(step: &mut Step, tree: &Path, log: &Path) -> Result<()> {
    let jobs = std::thread::available_parallelism().map_or(2, usize::from);
    let mut make = make(tree);
    make.arg(format!("-j{jobs}"))
        .arg("linux")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(log)?);
    let mut running = make.spawn().context("make could not be started")?;
    let mut objects = 0;
    if let Some(stdout) = running.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            if is_object(&line?) {
                objects += 1;
                step.update(objects, OBJECTS.max(objects), "objects");
            }
        }
    }
    let status = running.wait()?;
    if !status.success() {
        bail!(
            "{} ended with {status}; what it said is in {}:\n{}",
            describe(&make),
            log.display(),
            tail(log, 20)
        );
    }
    Ok(())
}

fn is_object(line: &str) -> bool {
    let mut words = line.split_whitespace();
    matches!(words.next(), Some("CC" | "AS"))
        && words.next().is_some_and(|file| Path::new(file).extension().is_some_and(|end| end == "o"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_compiled_objects_count_as_progress() {
        assert!(is_object("  CC      net/ipv4/tcp.o"));
        assert!(is_object("  AS      arch/x86/um/setjmp_64.o"));
        assert!(!is_object("  LD      vmlinux"));
        assert!(!is_object("  CC"));
    }

    #[test]
    fn an_option_that_the_source_dropped_is_seen() {
        assert_eq!(
            lost_options("CONFIG_A=y\nCONFIG_B=y\nCONFIG_C=n\n", "CONFIG_A=y\n# CONFIG_B is not set\n"),
            ["CONFIG_B"]
        );
    }

    #[test]
    fn the_fragment_asks_for_what_the_lab_is_for() {
        assert!(lost_options("CONFIG_IP_VS=y\nCONFIG_NET_IPIP=y", FRAGMENT).is_empty());
    }
}
