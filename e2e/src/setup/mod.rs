//! Makes what a run needs and does not find: packages, the nodes' kernel, the binaries, Go programs.

use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::cli::Nodes;
use crate::guest::NodeKind;

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
