//! One daemon a node: two would take each other's sockets and rules.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// The wait before another daemon's lock is tried again: the one before us may take a moment to end.
const RETRY: Duration = Duration::from_millis(500);

/// What begins so in the folder is ours.
const OURS: [&str; 4] = ["lock", super::ADMIN_SOCKET, "cni.sock", crate::pods::ATTACHMENTS];

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error(
    "the folder {path} (--run-dir) cannot be used: {operation}: {source}; routerd needs root and a folder on a local file system"
)]
pub(super) struct LockError {
    path: PathBuf,
    operation: &'static str,
    source: io::Error,
}

/// Makes the folder (mode 0700) and waits until no other daemon uses it. The lock lives as long as what is returned.
pub(super) async fn take(folder: &Path) -> Result<Flock<File>, LockError> {
    let failed = |operation| move |source| LockError { path: folder.to_owned(), operation, source };
    fs::create_dir_all(folder).map_err(failed("make it"))?;
    close(folder).map_err(failed("close it to others"))?;
    let mut file = File::create(folder.join("lock")).map_err(failed("make its lock"))?;
    let mut said = false;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((back, Errno::EWOULDBLOCK)) => {
                if !said {
                    tracing::warn!(folder = %folder.display(), "another routerd runs here; waiting for its end");
                    said = true;
                }
                file = back;
                tokio::time::sleep(RETRY).await;
            }
            Err((_, errno)) => return Err(failed("lock it")(errno.into())),
        }
    }
}

/// Gives the folder mode 0700, but not a folder like `/run`, which others would miss.
fn close(folder: &Path) -> io::Result<()> {
    let is_open = fs::metadata(folder)?.permissions().mode() & 0o077 != 0;
    let foreign = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        !OURS.iter().any(|ours| name.to_string_lossy().starts_with(ours))
    };
    if let Some(found) = fs::read_dir(folder)?.flatten().find(|entry| is_open && foreign(entry)) {
        let reason = format!(
            "others use it too (they can read it, and {} is in it); give routerd a folder of its own",
            found.path().display()
        );
        return Err(io::Error::other(reason));
    }
    fs::set_permissions(folder, Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_folder_that_others_use_is_not_closed_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let mode = || fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777;
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        fs::write(folder.path().join("sshd.pid"), "1").unwrap();
        let error = take(folder.path()).await.unwrap_err().to_string();
        assert!(error.contains("sshd.pid") && error.contains("of its own"), "{error}");
        assert_eq!(mode(), 0o755);
        fs::rename(folder.path().join("sshd.pid"), folder.path().join("admin.sock")).unwrap();
        let _lock = take(folder.path()).await.unwrap();
        assert_eq!(mode(), 0o700, "what is left of an earlier run is ours");
    }

    #[tokio::test]
    async fn a_second_daemon_waits_until_the_first_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let first = take(&path).await.unwrap();
        let waits = tokio::time::timeout(Duration::from_millis(100), take(&path)).await;
        assert!(waits.is_err(), "two have the lock");
        drop(first);
        take(&path).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_named() {
        let error = take(Path::new("/proc/no-such")).await.unwrap_err().to_string();
        assert!(error.contains("/proc/no-such") && error.contains("--run-dir"), "{error}");
    }
}
