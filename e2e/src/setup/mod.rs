//! Makes what a run needs and does not find: packages, the nodes' kernel, the binaries, Go programs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::cli::Nodes;
use crate::guest::NodeKind;
use crate::process::left_behind;

pub mod binaries;
pub mod deny;
pub mod go;
pub mod kernel;
pub mod packages;

/// What a run with nodes was given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ready {
    /// The User Mode Linux kernel, for nodes of that kind.
    pub kernel: Option<PathBuf>,
    /// The folder with the static programs.
    pub binaries: PathBuf,
}

/// A folder for a build of this kind, which goes with the value. Those of builds that were killed go on the way: a kernel's tree is
/// more than a gigabyte.
fn build_folder(kind: &str, within: &Path) -> Result<TempDir> {
    let prefix = format!("{kind}-build-");
    for path in left_behind(within, &prefix)? {
        fs::remove_dir_all(&path).with_context(|| format!("removing {}", path.display()))?;
    }
    let mut builder = tempfile::Builder::new();
    let name = format!("{prefix}{}-", std::process::id());
    builder.prefix(&name).tempdir_in(within).with_context(|| format!("a folder for the build of {kind}"))
}

/// Prepares a run with nodes.
pub fn nodes(nodes: &Nodes) -> Result<Ready> {
    let mut groups = vec![packages::RUN, packages::BUILD];
    if nodes.kernel == NodeKind::Uml {
        groups.push(packages::KERNEL);
    }
    packages::ensure(&groups, &crate::paths::cache()?)?;
    let kernel = match nodes.kernel {
        NodeKind::Uml => Some(kernel::prepare()?),
        NodeKind::Host => None,
    };
    Ok(Ready { kernel, binaries: binaries::prepare(nodes.binaries.as_deref())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_builds_that_were_killed_go_and_those_that_run_stay() {
        let cache = tempfile::tempdir().unwrap();
        // No process has that number: it is beyond what the kernel gives.
        let killed = cache.path().join("kernel-build-4194305-x");
        let other = cache.path().join("kernel-6.12");
        fs::create_dir_all(killed.join("tree")).unwrap();
        fs::create_dir(&other).unwrap();
        let first = build_folder("kernel", cache.path()).unwrap();
        let second = build_folder("kernel", cache.path()).unwrap();
        assert!(!killed.exists() && other.exists() && first.path().exists() && second.path().exists());
    }
}
