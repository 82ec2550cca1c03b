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
    fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed("close it to others"))?;
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

#[cfg(test)]
mod tests {
    use super::*;

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
