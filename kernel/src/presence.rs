//! Who is at work in a network namespace, so that what several processes share is taken away by the last one only.

use std::fs::File;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::{KernelError, Result};
use crate::netns::NetNs;

/// How long one may be alone. It needs a few system calls, unless it is stopped.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(1);

/// A process at work in a namespace: a lock (`flock`) on the namespace itself, so it needs no file of its own and ends
/// with the process. Any number can be there at once; one of them can be alone.
#[derive(Debug)]
pub struct Presence {
    lock: Flock<File>,
}

impl Presence {
    /// Says that this process is at work in the calling thread's namespace. One that is alone there is waited for, for
    /// two seconds.
    pub fn enter() -> Result<Self> {
        let operation = "say that this process works in its network namespace";
        let start = Instant::now();
        let mut file = NetNs::current()?.into_file();
        loop {
            match Flock::lock(file, FlockArg::LockSharedNonblock) {
                Ok(lock) => return Ok(Self { lock }),
                Err((same, Errno::EAGAIN)) if start.elapsed() < PATIENCE => file = same,
                Err((_, errno)) => {
                    return Err(KernelError::new(operation, errno)
                        .with_detail("another process has it for itself and does not end"));
                }
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// True if no other process is at work there; none comes until this value is dropped.
    ///
    /// Where it is false, this process is no longer announced: it must not change more of what is shared.
    pub fn is_alone(&self) -> bool {
        self.lock.relock(FlockArg::LockExclusiveNonblock).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestNs;

    #[test]
    fn several_are_there_at_once_and_only_the_last_is_alone() {
        let (namespace, other) = (TestNs::new("presence"), TestNs::new("presence"));
        let enter = || Presence::enter().unwrap();
        let (first, second, elsewhere) =
            (namespace.run_in(enter), namespace.run_in(enter), other.run_in(enter));
        assert!(elsewhere.is_alone(), "another namespace is another place");
        assert!(!first.is_alone());
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
}
