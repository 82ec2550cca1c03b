//! Lets a namespace forward packets, also when several processes want it at once.
//!
//! A write to `net.ipv4.ip_forward` stores the number first, and then carries it to every link under the lock of all
//! network changes. Where that lock is taken the kernel puts the old number back and begins again
//! (`devinet_sysctl_forward` in `net/ipv4/devinet.c`). A second writer that comes in between sees "1 already" and is done,
//! and the first one, begun again, sees the second one's 1: the setting says 1 and no link forwards, until somebody writes
//! 0 and 1. Fifty first pods of a node at once met it in every sixth run. So writers are one after the other, and look at
//! what they did. The IPv6 setting is carried under the lock from the start.

use std::fs::File;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use prefix::Family;

use crate::error::{KernelError, Result};
use crate::sysctl;

/// What new links inherit, and so where the kernel's carrying shows.
const CARRIED: &str = "net.ipv4.conf.default.forwarding";
const IPV4: &str = "net.ipv4.ip_forward";
const IPV6: &str = "net.ipv6.conf.all.forwarding";
/// How long another writer is waited for: it needs a few system calls, unless it is stopped.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(1);
/// How often the number may be seen before it is carried. A writer elsewhere may be about to.
const LOOKS: u32 = 20;
/// How often the setting is written anew.
const TRIES: u32 = 10;

/// Lets the calling thread's namespace forward packets of a family (`net.ipv4.ip_forward` or
/// `net.ipv6.conf.all.forwarding` is 1); `true` if something was written.
///
/// Nothing is written where the setting is 1: an administrator may keep it from single links.
pub fn forward(family: Family) -> Result<bool> {
    if family == Family::V6 {
        return sysctl::set(IPV6, "1");
    }
    if sysctl::get(IPV4)? == "1" {
        return Ok(false);
    }
    // Writers with a /proc of their own (containers) and other programs do not see the lock: hence the looks as well.
    let _alone = alone();
    if !sysctl::set(IPV4, "1")? {
        return Ok(false);
    }
    for _ in 0..TRIES {
        if is_carried()? {
            return Ok(true);
        }
        sysctl::set(IPV4, "0")?;
        sysctl::set(IPV4, "1")?;
    }
    Err(KernelError::new("let every link forward IPv4", Errno::EAGAIN)
        .with_detail(format!("{IPV4} is 1 and {CARRIED} stays 0; write 0 and then 1 to the first")))
}

fn is_carried() -> Result<bool> {
    for look in 0..LOOKS {
        if look > 0 {
            std::thread::sleep(PAUSE);
        }
        if sysctl::get(CARRIED)? == "1" {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The lock of writers that share our /proc: on the setting's own file, which every namespace has one of. Without it
/// (a stopped process has it) the looks have to do.
fn alone() -> Option<Flock<File>> {
    let mut file = File::open("/proc/sys/net/ipv4/ip_forward").ok()?;
    let start = Instant::now();
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Some(lock),
            Err((same, Errno::EAGAIN)) if start.elapsed() < PATIENCE => file = same,
            Err(_) => return None,
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::testing::TestNs;

    /// The namespace's own setting and what its links inherit.
    fn settings(namespace: &TestNs) -> (String, String) {
        namespace.run_in(|| (sysctl::get(IPV4).unwrap(), sysctl::get(CARRIED).unwrap()))
    }

    /// Eight writers at once beside two that keep the lock of network changes busy; how often (of `rounds`) the links
    /// did not get it. With a plain write of the setting it is 4 to 11 of 40.
    fn lost(rounds: u32, write: fn()) -> u32 {
        let mut lost = 0;
        for _ in 0..rounds {
            let namespace = TestNs::new("forward");
            let start = Barrier::new(10);
            std::thread::scope(|scope| {
                for _ in 0..8 {
                    scope.spawn(|| namespace.run_in(|| (start.wait(), write()).1));
                }
                for name in ["busy0", "busy1"] {
                    let (namespace, start) = (&namespace, &start);
                    scope.spawn(move || {
                        start.wait();
                        for _ in 0..5 {
                            namespace.run("ip", &["link", "add", name, "type", "bridge"]);
                            namespace.run("ip", &["link", "del", name]);
                        }
                    });
                }
            });
            let (own, carried) = settings(&namespace);
            assert_eq!(own, "1");
            lost += u32::from(carried != "1");
        }
        lost
    }

    #[test]
    fn many_writers_at_once_leave_every_link_forwarding() {
        assert_eq!(lost(8, || assert!(forward(Family::V4).is_ok())), 0);
    }

    #[test]
    fn it_is_written_once_and_every_new_link_has_it() {
        let namespace = TestNs::new("forward");
        assert!(namespace.run_in(|| forward(Family::V4).unwrap()));
        assert_eq!(settings(&namespace), ("1".to_owned(), "1".to_owned()));
        assert!(!namespace.run_in(|| forward(Family::V4).unwrap()), "nothing to do");
        assert!(namespace.run_in(|| forward(Family::V6).unwrap()));
    }

    #[test]
    fn what_an_administrator_keeps_from_new_links_stays() {
        let namespace = TestNs::new("forward");
        namespace.run("sysctl", &["-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.default.forwarding=0"]);
        assert!(!namespace.run_in(|| forward(Family::V4).unwrap()));
        assert_eq!(settings(&namespace), ("1".to_owned(), "0".to_owned()));
    }
}
