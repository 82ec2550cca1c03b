//! What lies in a lease folder: names and contents of its files, shared with the reference plugin.
//!
//! | name | content |
//! | --- | --- |
//! | `lock` | `flock`; the reference plugin leaves it empty, we keep the [index](super::index) in it |
//! | `10.1.0.2`, `2001:db8::2` | the lease: `<container id>\r\n<interface>`; of old versions only the id |
//! | `last_reserved_ip.<set>` | the address handed out last, for the round robin |
//! | `.new-lease` | ours: a lease being written; never seen by others for longer than a few system calls |

use std::net::IpAddr;

use crate::env::is_identifier;

/// The lock's name.
pub(super) const LOCK: &str = "lock";
/// A lease that is being written.
pub(super) const NEW: &str = ".new-lease";
/// No lease is longer: a container's id and a name of an interface.
pub(super) const MOST_CONTENT: u64 = 4096;

/// What the content of a file with an address for its name says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Somebody holds the address.
    Lease(Owner),
    /// Nothing: its writer was killed, or the power was cut and zeros came instead of what was written.
    Torn,
    /// Something else. Whoever wrote it (an administrator, to keep the address free) means it: it stays.
    Foreign,
}

impl Content {
    /// Reads a lease's content.
    pub(super) fn parse(content: &[u8]) -> Self {
        if content.iter().all(u8::is_ascii_whitespace) || content.contains(&0) {
            return Self::Torn;
        }
        let Ok(text) = std::str::from_utf8(content) else { return Self::Foreign };
        let (id, ifname) = text.trim().split_once("\r\n").unwrap_or((text.trim(), ""));
        let printable = !ifname.bytes().any(|byte| byte.is_ascii_control());
        if is_identifier(id) && printable { Self::Lease(Owner::new(id, ifname)) } else { Self::Foreign }
    }
}

/// An attachment that holds leases.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Owner {
    /// The container's id.
    pub container_id: String,
    /// The interface in it; empty in leases of old versions, which did not write it.
    pub ifname: String,
}

impl Owner {
    /// The attachment `ifname` of `container_id`.
    pub fn new(container_id: impl Into<String>, ifname: impl Into<String>) -> Self {
        Self { container_id: container_id.into(), ifname: ifname.into() }
    }

    /// True if a lease of this owner may be what an administrator wrote to keep the address free: one word that is no
    /// id a runtime makes. Nobody takes it away who was not called for that container.
    ///
    /// Ids are lower case hexadecimal digits: 64 (containerd, CRI-O, dockershim, podman), a UUID (rkt, Mesos), or 20 behind
    /// `cnitool-`. Fewer are what a power cut left of one. Leases that name an interface are none of an administrator's.
    pub fn may_be_a_word(&self) -> bool {
        let id = self.container_id.strip_prefix("cnitool-").unwrap_or(&self.container_id);
        let is_id = id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
        self.ifname.is_empty() && !is_id
    }

    /// The same container as an old version wrote it.
    pub(super) fn without_interface(&self) -> Self {
        Self::new(self.container_id.clone(), "")
    }

    /// The content of a lease.
    pub(super) fn content(&self) -> String {
        if self.ifname.is_empty() {
            self.container_id.clone()
        } else {
            format!("{}\r\n{}", self.container_id, self.ifname)
        }
    }

    /// A number that is the same for the same owner and seldom for others: the FNV-1a checksum, which is stable for
    /// ever, unlike the hashes of the standard library.
    pub(super) fn hash(&self) -> u64 {
        self.content()
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }
}

/// The address a file's name stands for.
pub(super) fn address_of(name: &str) -> Option<IpAddr> {
    let address: IpAddr = name.parse().ok()?;
    (address.to_string() == name).then_some(address)
}

/// The name of the round robin's mark for the pool `set`.
pub(super) fn last_reserved_name(set: usize) -> String {
    format!("last_reserved_ip.{set}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_written_as_the_reference_writes_it() {
        let owner = Owner::new("c1", "eth0");
        assert_eq!(owner.content().as_bytes(), b"c1\r\neth0");
        assert_eq!(Content::parse(b"c1\r\neth0"), Content::Lease(owner.clone()));
        assert_eq!(Content::parse(b"c1\n"), Content::Lease(owner.without_interface()));
        assert_ne!(owner.hash(), owner.without_interface().hash());
    }

    #[test]
    fn empty_and_torn_contents_belong_to_nobody_and_foreign_ones_to_their_writer() {
        for content in [&b""[..], b" \r\n", b"\0\0\0\0", b"c1\0\0", b"c1\r\neth\0\0"] {
            assert_eq!(Content::parse(content), Content::Torn, "{content:?}");
        }
        for content in [&b"kept for the printer"[..], b"\xff\xfe", b"../x", b"c1\neth0", b"c1\r\neth0\r\n2"] {
            assert_eq!(Content::parse(content), Content::Foreign, "{content:?}");
        }
    }

    #[test]
    fn a_word_is_told_from_the_ids_that_runtimes_make() {
        let hash = "3f4a9c".repeat(10) + "0a1b";
        let uuid = "6e2a5c1e-4b7f-4f6d-9c59-0a7d1f3b2c44";
        for id in [hash.as_str(), &hash[..7], "cnitool-77383ca0a0715733ca6f", uuid] {
            assert!(!Owner::new(id, "").may_be_a_word(), "{id}");
        }
        for word in ["printer", "reserved-by-ops", "10.1.0.2", "RESERVED", "cnitool"] {
            assert!(Owner::new(word, "").may_be_a_word() && !Owner::new(word, "eth0").may_be_a_word());
        }
    }

    #[test]
    fn only_canonical_addresses_are_leases() {
        assert!(address_of("10.1.0.2").is_some() && address_of("fd00::2").is_some());
        for name in ["lock", "last_reserved_ip.0", "010.1.0.2", "fd00:0::2", "10.1.0.2.tmp"] {
            assert!(address_of(name).is_none(), "{name}");
        }
    }
}
