//! Files that appear whole or not at all.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the name of a file that we replaced has behind it. No runtime reads or executes such a name.
pub const BACKUP: &str = ".before-routerd";
/// What the name of a file has behind it that is not whole yet.
const UNFINISHED: &str = ".routerd-new";
/// An unfinished file of that age is of a run that did not end.
const ABANDONED: Duration = Duration::from_mins(10);

/// Why something could not be installed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A file operation failed.
    #[error("cannot {operation} {path}: {source}{}", advice(source))]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The template is no network configuration.
    #[error("{path} is no CNI network configuration list: {reason}; nothing was installed from it")]
    Template {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The configuration that is there already is none.
    #[error(
        "the network configuration {path} cannot be used: {reason}; it was left as it is: mend it, or delete it to start from the template"
    )]
    Configuration {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// What to do about the usual causes.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => "; mount the folder from the node (hostPath) and not read-only",
        io::ErrorKind::PermissionDenied => {
            "; run as root, with the capability DAC_OVERRIDE if the folder is another user's (see daemonset/)"
        }
        io::ErrorKind::NotFound => "; is the folder mounted, and the image complete?",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room on the node and start the pod again; what was there before is untouched"
        }
        _ => "",
    }
}

/// Names the operation and the file of an error.
pub(crate) fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::Io { operation, path, source }
}

/// `path` with `suffix` behind its name.
pub(crate) fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// A name beside `target` that no other run uses and no runtime reads. The process number does not tell two runs
/// apart: in a container each is the first process.
fn beside(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    target.with_file_name(format!(".{name}.{}.{now}{UNFINISHED}", std::process::id()))
}

/// Removes what runs left in `folder` that were ended in the middle, as by a power cut.
pub(crate) fn remove_abandoned(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let age = entry.metadata().and_then(|data| data.modified()).ok().and_then(|time| time.elapsed().ok());
        if name.starts_with('.') && name.ends_with(UNFINISHED) && age.is_some_and(|age| age > ABANDONED) {
            // It is in nobody's way; the next run tries again.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Removes the file `path`, also for the time after a power cut.
pub fn remove(path: &Path) -> Result<(), InstallError> {
    let removed = fs::remove_file(path).and_then(|()| path.parent().map_or(Ok(()), sync_folder));
    removed.map_err(failed("remove", path))
}

/// Makes what was renamed in `folder` survive a power cut.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Renames `new` over `target`; on failure `new` is taken away. A program that runs under the name goes on undisturbed,
/// as its file lives on without a name (writing into it would be refused with "text file busy").
fn put_in_place(new: &Path, target: &Path) -> Result<(), InstallError> {
    let renamed = fs::rename(new, target).and_then(|()| target.parent().map_or(Ok(()), sync_folder));
    // Two links of one file stay both, by POSIX' rule for rename.
    let _ = fs::remove_file(new);
    renamed.map_err(failed("put in place", target))
}

/// Writes `content` to `target` with `mode`.
pub fn write(target: &Path, content: &[u8], mode: u32) -> Result<(), InstallError> {
    if let Some(folder) = target.parent() {
        fs::create_dir_all(folder).map_err(failed("make the folder", folder))?;
    }
    let new = beside(target);
    let written = OpenOptions::new().write(true).create_new(true).open(&new).and_then(|mut file| {
        file.write_all(content)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()
    });
    if let Err(error) = written {
        let _ = fs::remove_file(&new);
        return Err(failed("write", target)(error));
    }
    put_in_place(&new, target)
}

/// Makes `target` another name of `existing`; where the file system has no hard links, a copy.
pub fn link(existing: &Path, target: &Path, content: &[u8], mode: u32) -> Result<(), InstallError> {
    if same_file(existing, target) {
        return Ok(());
    }
    let new = beside(target);
    match fs::hard_link(existing, &new) {
        Ok(()) => put_in_place(&new, target),
        Err(_) => write(target, content, mode),
    }
}

/// Keeps what is at `path` under the name that it returns, for the way back. A symbolic link is kept as one. `path`
/// itself stays until it is replaced, so that there is no moment without it.
pub fn keep(path: &Path) -> Result<PathBuf, InstallError> {
    let (new, kept) = (beside(path), with_suffix(path, BACKUP));
    if fs::hard_link(path, &new).is_ok() {
        put_in_place(&new, &kept)?;
    } else {
        let mode = mode_of(path).map_err(failed("look at", path))?;
        write(&kept, &fs::read(path).map_err(failed("read", path))?, mode)?;
    }
    Ok(kept)
}

/// Puts back what [`keep`] kept of `path`; without that, `path` is removed. `true` if something was put back.
pub fn put_back(path: &Path) -> Result<bool, InstallError> {
    let kept = with_suffix(path, BACKUP);
    match fs::symlink_metadata(&kept) {
        Ok(_) => put_in_place(&kept, path).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::remove_file(path).map(|()| false).map_err(failed("remove", path))
        }
        Err(error) => Err(failed("look at", &kept)(error)),
    }
}

/// The permission bits of the file that `path` names in the end.
pub(crate) fn mode_of(path: &Path) -> io::Result<u32> {
    fs::metadata(path).map(|data| data.permissions().mode() & 0o7777)
}

/// The device and the number of the file that `path` names, a symbolic link not followed.
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::symlink_metadata(path).map(|data| (data.dev(), data.ino())).ok()
}

fn same_file(one: &Path, other: &Path) -> bool {
    identity(one).is_some_and(|first| identity(other) == Some(first))
}
