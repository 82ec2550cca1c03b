//! Whose commit it was: a program with several connections recognises its own changes in what a [`super::Watch`] tells.

use std::hash::{BuildHasher as _, RandomState};

use nix::errno::Errno;

use crate::error::{KernelError, Result};
use crate::netlink::{Protocol, Socket};

/// Connections of one identity are numbered by this many bits of their port.
const NUMBER_BITS: u32 = 8;
/// The kernel numbers sockets by process (at most 2^22) or counts down from 2^32, so nobody gets these by himself.
const OWN_RANGE: u32 = 1 << 30;

/// The connections of one program, as the kernel tells of them. Cheap to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity(u32);

impl Default for Identity {
    fn default() -> Self {
        Self::new()
    }
}

impl Identity {
    /// One that no other program has: 22 bits are chosen by chance.
    pub fn new() -> Self {
        let chance = RandomState::new().hash_one(std::process::id());
        let number = u32::try_from(chance % u64::from(OWN_RANGE >> NUMBER_BITS)).unwrap_or(0);
        Self(OWN_RANGE | number << NUMBER_BITS)
    }

    /// True if a change `by` this socket ([`super::Change`]) was made by a connection of this identity.
    pub fn made(self, by: u32) -> bool {
        by >> NUMBER_BITS == self.0 >> NUMBER_BITS
    }

    /// A socket with the first number that is free.
    pub(super) fn socket(self) -> Result<Socket> {
        for number in 0..1 << NUMBER_BITS {
            match Socket::open_at(Protocol::Netfilter, self.0 | number) {
                Err(error) if error.errno == Errno::EADDRINUSE => {}
                done => return done,
            }
        }
        Err(KernelError::new("open a netlink socket for nf_tables", Errno::EADDRINUSE)
            .with_detail(format!("this program has {} of them open", 1 << NUMBER_BITS)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_program_and_the_kernel_are_not_taken_for_this_one() {
        let (one, other) = (Identity(OWN_RANGE | 5 << NUMBER_BITS), Identity(OWN_RANGE | 6 << NUMBER_BITS));
        assert!(one.made(one.0) && one.made(one.0 | 255));
        assert!(
            !one.made(other.0) && !one.made(0) && !one.made(std::process::id()) && !one.made(u32::MAX - 9)
        );
    }
}
