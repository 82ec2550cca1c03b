//! Who is at work in a network namespace, so that what several processes share is taken away by the last one only.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;

use crate::netns::NetNs;

/// How long one that is alone is waited for. It needs a few system calls, unless it is stopped.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(1);

/// A process at work in a namespace. Any number can be there at once; one of them can be alone.
///
/// It is a lock on one byte of a file that all namespaces have in common (`F_OFD_SETLK`, fcntl(2)), the one whose number
/// is the namespace's inode. It ends with the process. Only root can open the file: a lock on the namespace itself,
/// which everybody can open, would let any process in it say that it is alone, for ever.
#[derive(Debug)]
pub struct Presence {
    /// `None` if this process could not say that it is there.
    lock: Option<ByteLock>,
}

impl Presence {
    /// Says that this process is at work in the calling thread's namespace, by the file `lock` in `folder`, which is made
    /// for root alone. One that is alone there is waited for, for two seconds.
    ///
    /// This cannot fail, as nobody may be kept from work by it. Where the file cannot be had, or another one does not
    /// end, this process is there unannounced, and [never alone](Self::is_alone).
    pub fn enter(folder: &Path) -> Self {
        Self { lock: ByteLock::open(folder).ok().filter(ByteLock::share) }
    }

    /// True if no other process is at work there; none comes until this value is dropped.
    pub fn is_alone(&self) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.set(libc::F_WRLCK).is_ok())
    }
}

/// The byte of the lock file that stands for one namespace.
#[derive(Debug)]
struct ByteLock {
    file: File,
    byte: libc::off_t,
}

impl ByteLock {
    /// For the calling thread's namespace.
    fn open(folder: &Path) -> io::Result<Self> {
        let byte = libc::off_t::try_from(NetNs::current_id().map_err(io::Error::other)?.inode)
            .map_err(io::Error::other)?;
        let open = || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            options.custom_flags(libc::O_NOFOLLOW).open(folder.join("lock"))
        };
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
                open()
            }
            opened => opened,
        }?;
        Ok(Self { file, byte })
    }

    /// Shares the lock with others; `false` if it is not to be had.
    fn share(&self) -> bool {
        let start = Instant::now();
        loop {
            match self.set(libc::F_RDLCK) {
                Ok(()) => return true,
                Err(Errno::EAGAIN | Errno::EACCES) if start.elapsed() < PATIENCE => {}
                Err(_) => return false,
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Sets the lock, or changes the one that is held, without waiting.
    #[expect(clippy::cast_possible_truncation, reason = "the kinds of locks and SEEK_SET are small numbers")]
    fn set(&self, kind: libc::c_int) -> Result<(), Errno> {
        let lock = libc::flock {
            l_type: kind as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: self.byte,
            l_len: 1,
            l_pid: 0,
        };
        fcntl(&self.file, FcntlArg::F_OFD_SETLK(&lock)).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestNs;

    #[test]
    fn several_are_there_at_once_and_only_the_last_is_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (namespace, other) = (TestNs::new("presence"), TestNs::new("presence"));
        let enter = || Presence::enter(folder.path());
        let (first, second, elsewhere) =
            (namespace.run_in(enter), namespace.run_in(enter), other.run_in(enter));
        assert!(elsewhere.is_alone(), "another namespace is another place");
        assert!(!first.is_alone() && !second.is_alone());
        drop(first);
        assert!(second.is_alone());
        std::thread::scope(|scope| {
            let third = scope.spawn(|| namespace.run_in(enter));
            std::thread::sleep(Duration::from_millis(20));
            assert!(!third.is_finished(), "nobody comes to one that is alone");
            drop(second);
            assert!(third.join().unwrap().is_alone());
        });
    }

    #[test]
    fn who_cannot_say_that_it_is_there_works_all_the_same_and_is_never_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (namespace, enter) = (TestNs::new("presence"), || Presence::enter(folder.path()));
        let stuck = namespace.run_in(enter);
        assert!(stuck.is_alone());
        let unannounced = namespace.run_in(enter);
        drop(stuck);
        assert!(!unannounced.is_alone());
        assert!(namespace.run_in(enter).is_alone(), "and keeps nobody else from being so");
        std::fs::write(folder.path().join("file"), "").unwrap();
        let nowhere = folder.path().join("file/under");
        assert!(!namespace.run_in(|| Presence::enter(&nowhere)).is_alone());
    }

    #[test]
    fn the_file_is_made_for_root_alone() {
        use std::os::unix::fs::PermissionsExt;
        let above = tempfile::tempdir().unwrap();
        let folder = above.path().join("made");
        drop(Presence::enter(&folder));
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&folder.join("lock"))), (0o700, 0o600));
    }
}
