//! kube-router, which benches compare with.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use super::copy;
use crate::paths::workspace;
use crate::process::{capture, command};

/// Names kube-router, where it is not given as `--peer`.
const VARIABLE: &str = "ROUTERD_BENCH_PEER";

/// Where kube-router is looked for when nobody says, beside the workspace.
const DEFAULT: &str = "../shared/lab/peers/kube-router-2.11.xz";

/// What it runs, and what unpacks it.
pub(super) const PACKAGES: &[&str] = &["iptables", "ipset", "ipvsadm", "conntrack", "xz-utils"];

/// Which peer.
#[derive(Debug, Clone, Args, Serialize, Deserialize)]
pub struct Peer {
    /// kube-router, plain or packed by xz [default: $ROUTERD_BENCH_PEER, else ../shared/lab/peers/kube-router-2.11.xz].
    #[arg(long, value_name = "PATH")]
    pub peer: Option<PathBuf>,
    /// Ours alone.
    #[arg(long)]
    pub without_peer: bool,
}

impl Peer {
    /// kube-router in this folder, unpacked; nothing when it is not wanted or not there by default.
    pub(super) fn unpack(&self, folder: &Path) -> Result<Option<PathBuf>> {
        if self.without_peer {
            return Ok(None);
        }
        let given = self.peer.clone().or_else(|| std::env::var_os(VARIABLE).map(PathBuf::from));
        let path = given.clone().unwrap_or_else(|| workspace().join(DEFAULT));
        if !path.is_file() {
            if given.is_some() {
                bail!("{} is no file: kube-router, plain or packed by xz, is wanted there", path.display());
            }
            println!(
                "  kube-router is not at {}: it is left out. Name it with --peer or {VARIABLE}",
                path.display()
            );
            return Ok(None);
        }
        let to = folder.join("bin/kube-router");
        copy(&path, &to)?;
        if path.extension().is_some_and(|kind| kind == "xz") {
            let packed = folder.join("bin/kube-router.xz");
            std::fs::rename(&to, &packed)?;
            capture(command("xz").arg("--decompress").arg(&packed)).context("unpacking kube-router")?;
        }
        std::fs::set_permissions(&to, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        Ok(Some(to))
    }
}
