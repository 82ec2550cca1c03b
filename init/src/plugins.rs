//! The plugin binary and its names.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::file::{self, InstallError, failed};

/// A text that every build of our plugin contains and no other plugin does: the path of routerd's socket.
const MARK: &[u8] = b"/run/routerd/cni.sock";
/// `rwxr-xr-x`.
const MODE: u32 = 0o755;

/// A name the plugin may be called by; the name picks the role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Role {
    /// Bridge, addresses, port mapping, bandwidth and policy hand-shake in one.
    #[value(name = "routerd-cni")]
    Routerd,
    /// The reference plugin `bridge`.
    Bridge,
    /// The reference plugin `host-local`.
    HostLocal,
    /// The reference plugin `portmap`.
    Portmap,
    /// The reference plugin `loopback`; containerd runs it for every pod.
    Loopback,
    /// The reference plugin `bandwidth`.
    Bandwidth,
    /// The reference plugin `tuning`.
    Tuning,
}

impl Role {
    /// All roles the binary has.
    pub const DEFAULT: [Role; 7] = [
        Role::Routerd,
        Role::Bridge,
        Role::HostLocal,
        Role::Portmap,
        Role::Loopback,
        Role::Bandwidth,
        Role::Tuning,
    ];

    /// The file name.
    pub fn name(self) -> &'static str {
        match self {
            Role::Routerd => "routerd-cni",
            Role::Bridge => "bridge",
            Role::HostLocal => "host-local",
            Role::Portmap => "portmap",
            Role::Loopback => "loopback",
            Role::Bandwidth => "bandwidth",
            Role::Tuning => "tuning",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What to install.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The plugin in the image.
    pub source: PathBuf,
    /// The node's plugin folder.
    pub target: PathBuf,
    /// The names.
    pub names: Vec<Role>,
    /// Replace what others put there.
    pub force: bool,
}

/// What became of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Was not there.
    Installed(PathBuf),
    /// Was ours, of another build.
    Updated(PathBuf),
    /// Is the same already.
    Current(PathBuf),
    /// Is somebody else's, and stays.
    Kept(PathBuf),
    /// Was somebody else's.
    Replaced {
        /// The name.
        path: PathBuf,
        /// Where what was there is kept.
        backup: PathBuf,
        /// Why it was replaced.
        why: &'static str,
    },
    /// Was ours, and what was there before is back.
    PutBack(PathBuf),
    /// Was ours, and is gone.
    Removed(PathBuf),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Installed(path) => write!(f, "installed {}", path.display()),
            Outcome::Updated(path) => write!(f, "updated {}", path.display()),
            Outcome::Current(path) => write!(f, "{} is current", path.display()),
            Outcome::Kept(path) => {
                write!(f, "kept {}: it is of another origin; --force replaces it", path.display())
            }
            Outcome::Replaced { path, backup, why } => {
                let (path, backup) = (path.display(), backup.display());
                write!(f, "replaced {path}, which was of another origin ({why}); it is kept as {backup}")
            }
            Outcome::PutBack(path) => write!(f, "put back {}, as it was before routerd", path.display()),
            Outcome::Removed(path) => write!(f, "removed {}", path.display()),
        }
    }
}

/// Installs every name; one that fails does not stop the others.
pub fn install(plan: &Plan) -> Vec<Result<Outcome, InstallError>> {
    let content = match fs::read(&plan.source) {
        Ok(content) => content,
        Err(error) => return vec![Err(failed("read the plugin", &plan.source)(error))],
    };
    if !is_ours(&content) {
        let reason = io::Error::new(io::ErrorKind::InvalidData, "it is not routerd's plugin");
        return vec![Err(failed("install", &plan.source)(reason))];
    }
    if let Err(error) = fs::create_dir_all(&plan.target) {
        return vec![Err(failed("make the folder", &plan.target)(error))];
    }
    file::remove_abandoned(&plan.target);
    let overrun = overrun(&plan.target);
    let mut first: Option<PathBuf> = None;
    plan.names
        .iter()
        .map(|role| {
            let target = plan.target.join(role.name());
            let why = if plan.force { Some("--force") } else { reason(&target, overrun) };
            let outcome = one(&target, &content, why, first.as_deref())?;
            if !matches!(outcome, Outcome::Kept(_)) {
                first.get_or_insert(target);
            }
            Ok(outcome)
        })
        .collect()
}

/// Installs one name; what is of another origin there is replaced for the reason `why`, and kept without one.
fn one(
    target: &Path,
    content: &[u8],
    why: Option<&'static str>,
    first: Option<&Path>,
) -> Result<Outcome, InstallError> {
    let path = target.to_owned();
    let outcome = match (fs::read(target), why) {
        (Err(error), _) if error.kind() == io::ErrorKind::NotFound => Outcome::Installed(path),
        (Err(error), _) => return Err(failed("read what is there", target)(error)),
        (Ok(there), _) if there == content && has_mode(target, MODE) => return Ok(Outcome::Current(path)),
        (Ok(there), _) if is_ours(&there) => Outcome::Updated(path),
        (Ok(_), Some(why)) => Outcome::Replaced { path, backup: file::keep(target)?, why },
        (Ok(_), None) => return Ok(Outcome::Kept(path)),
    };
    match first {
        Some(first) => file::link(first, target, content, MODE)?,
        None => file::write(target, content, MODE)?,
    }
    Ok(outcome)
}

/// Why a file of another origin cannot stay; `None` if it can.
fn reason(target: &Path, overrun: Option<(u64, u64)>) -> Option<&'static str> {
    if overrun.is_some() && file::identity(target) == overrun {
        return Some("a copy over one of routerd's names, which are one file, went over all of them");
    }
    // As kube-router's installer does it: what cannot be run is nobody's plugin.
    (!has_mode(target, 0o100)).then_some("it could not be executed")
}

/// The file that `routerd-cni` names if its content is not ours any more.
fn overrun(folder: &Path) -> Option<(u64, u64)> {
    let path = folder.join(Role::Routerd.name());
    let there = fs::read(&path).ok()?;
    if is_ours(&there) { None } else { file::identity(&path) }
}

/// The way back: every name that is ours becomes again what it replaced, or goes.
pub fn restore(target: &Path, names: &[Role]) -> Vec<Result<Outcome, InstallError>> {
    let one = |role: &Role| {
        let path = target.join(role.name());
        let ours = match fs::read(&path) {
            Ok(there) => is_ours(&there),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => return Some(Err(failed("read what is there", &path)(error))),
        };
        let outcome = ours.then(|| file::put_back(&path))?;
        Some(outcome.map(|back| if back { Outcome::PutBack(path) } else { Outcome::Removed(path) }))
    };
    names.iter().filter_map(one).collect()
}

fn has_mode(path: &Path, mode: u32) -> bool {
    file::mode_of(path).is_ok_and(|found| found & mode == mode)
}

fn is_ours(content: &[u8]) -> bool {
    content.windows(MARK.len()).any(|window| window == MARK)
}
