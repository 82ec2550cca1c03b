//! The lock of a lease folder: `flock(2)` on the file `lock`, as the reference plugin takes it, but never for ever.

use std::fs::{File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// Why the lock was not got.
#[derive(Debug)]
pub(super) enum LockError {
    /// Somebody held it all the time; their process id if the kernel tells.
    Held(Option<u32>),
    /// A system call failed.
    Io(io::Error),
}

/// Opens and locks the file at `path`, waiting at most `wait`. It is unlocked when the returned file is dropped, and by
/// the kernel when the process dies.
pub(super) fn lock(path: &Path, wait: Duration) -> Result<File, LockError> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o750)
        .open(path)
        .map_err(LockError::Io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(error)) => Err(LockError::Io(error)),
        Err(TryLockError::WouldBlock) => wait_for(file, wait),
    }
}

/// Waits in the kernel's own queue, which is fair and wakes at once; only a thread can be given up on. If it is, it
/// goes away with the process, or drops the lock as soon as it gets it.
fn wait_for(file: File, wait: Duration) -> Result<File, LockError> {
    let inode = file.metadata().map_err(LockError::Io)?.ino();
    let (sender, receiver) = mpsc::channel();
    let waiter = move || {
        let outcome = file.lock().map(|()| file);
        // Nobody listens any more: the file is dropped and with it the lock.
        drop(sender.send(outcome));
    };
    thread::Builder::new().name("lease-lock".into()).spawn(waiter).map_err(LockError::Io)?;
    match receiver.recv_timeout(wait) {
        Ok(outcome) => outcome.map_err(LockError::Io),
        Err(_) => Err(LockError::Held(holder(inode))),
    }
}

/// Who holds a lock on the file `inode`, by `/proc/locks`: `1: FLOCK ADVISORY WRITE 812 fe:01:131 0 EOF`.
fn holder(inode: u64) -> Option<u32> {
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, place, ..] = words[..] else { return None };
        let found: u64 = place.rsplit(':').next()?.parse().ok()?;
        (found == inode).then(|| pid.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_lock_that_is_never_released_ends_in_an_error_that_names_the_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = lock(&path, Duration::ZERO).unwrap();
        let started = Instant::now();
        let error = lock(&path, Duration::from_millis(60)).unwrap_err();
        assert!(matches!(error, LockError::Held(Some(pid)) if pid == std::process::id()), "{error:?}");
        assert!(started.elapsed() < Duration::from_secs(5));
        drop(held);
    }

    #[test]
    fn a_waiter_gets_the_lock_when_it_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = lock(&path, Duration::ZERO).unwrap();
        let other = path.clone();
        let waiter = thread::spawn(move || lock(&other, Duration::from_secs(20)).is_ok());
        thread::sleep(Duration::from_millis(30));
        drop(held);
        assert!(waiter.join().unwrap());
    }
}
