//! Files that appear whole or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

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
}

/// What to do about the usual causes.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ReadOnlyFilesystem => "; mount the folder from the node (hostPath) and not read-only",
        io::ErrorKind::PermissionDenied => "; run as root and see that the mount is not read-only",
        io::ErrorKind::NotFound => "; is the folder mounted, and the image complete?",
        _ => "",
    }
}

/// Names the operation and the file of an error.
pub(crate) fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> InstallError {
    let path = path.to_owned();
    move |source| InstallError::Io { operation, path, source }
}

/// A name beside `target` that no other process uses and no runtime reads.
fn beside(target: &Path) -> PathBuf {
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    target.with_file_name(format!(".{name}.{}.new", std::process::id()))
}

/// Makes what was renamed in `folder` survive a power cut.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Renames `new` over `target`; on failure `new` is taken away.
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
    let written = File::create(&new).and_then(|mut file| {
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

fn same_file(one: &Path, other: &Path) -> bool {
    let identity = |path: &Path| fs::metadata(path).map(|data| (data.dev(), data.ino())).ok();
    identity(one).is_some_and(|first| identity(other) == Some(first))
}
