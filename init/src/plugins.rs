//! The plugin binary and its names.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
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
    /// Bridge, addresses and policy hand-shake in one.
    #[value(name = "routerd-cni")]
    Routerd,
    /// The reference plugin `bridge`.
    Bridge,
    /// The reference plugin `host-local`.
    HostLocal,
    /// The reference plugin `loopback`; containerd runs it for every pod.
    Loopback,
}

impl Role {
    /// All roles the binary has.
    pub const DEFAULT: [Role; 4] = [Role::Routerd, Role::Bridge, Role::HostLocal, Role::Loopback];

    /// The file name.
    pub fn name(self) -> &'static str {
        match self {
            Role::Routerd => "routerd-cni",
            Role::Bridge => "bridge",
            Role::HostLocal => "host-local",
            Role::Loopback => "loopback",
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
    Replaced(PathBuf),
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
            Outcome::Replaced(path) => {
                write!(f, "replaced {}, which was of another origin (--force)", path.display())
            }
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
    let mut first: Option<PathBuf> = None;
    plan.names
        .iter()
        .map(|role| {
            let target = plan.target.join(role.name());
            let outcome = one(&target, &content, plan.force, first.as_deref())?;
            if !matches!(outcome, Outcome::Kept(_)) {
                first.get_or_insert(target);
            }
            Ok(outcome)
        })
        .collect()
}

fn one(target: &Path, content: &[u8], force: bool, first: Option<&Path>) -> Result<Outcome, InstallError> {
    let path = target.to_owned();
    let outcome = match fs::read(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Outcome::Installed(path),
        Err(error) => return Err(failed("read what is there", target)(error)),
        Ok(there) if there == content && is_executable(target) => return Ok(Outcome::Current(path)),
        Ok(there) if is_ours(&there) => Outcome::Updated(path),
        Ok(_) if force => Outcome::Replaced(path),
        Ok(_) => return Ok(Outcome::Kept(path)),
    };
    match first {
        Some(first) => file::link(first, target, content, MODE)?,
        None => file::write(target, content, MODE)?,
    }
    Ok(outcome)
}

fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|data| data.permissions().mode() & MODE == MODE)
}

fn is_ours(content: &[u8]) -> bool {
    content.windows(MARK.len()).any(|window| window == MARK)
}
