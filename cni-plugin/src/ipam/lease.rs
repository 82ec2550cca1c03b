//! What lies in a lease folder: names and contents of its files, shared with the reference plugin.
//!
//! | name | content |
//! | --- | --- |
//! | `lock` | empty; `flock` |
//! | `10.1.0.2`, `2001:db8::2` | the lease: `<container id>\r\n<interface>`; of old versions only the id |
//! | `last_reserved_ip.<set>` | the address handed out last, for the round robin |
//! | `.lease-<n>-<container id>@<interface>` | ours: a symbolic link to the owner's n-th lease, see [`super::store`] |
//! | `.new-lease` | ours: a lease being written; never seen by others for longer than a system call |

use std::net::IpAddr;

use crate::env::is_identifier;

/// The lock's name.
pub(super) const LOCK: &str = "lock";
/// A lease that is being written.
pub(super) const NEW: &str = ".new-lease";
/// How the names of our index begin.
pub(super) const INDEX: &str = ".lease-";
/// Longest name of a file that every file system takes.
const MOST_NAME: usize = 255;

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

    /// Reads a lease's content. `None` if it is empty or torn: a power cut may leave zeros.
    pub(super) fn parse(content: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(content).ok()?.trim();
        let (id, ifname) = text.split_once("\r\n").unwrap_or((text, ""));
        let printable = !ifname.bytes().any(|byte| byte.is_ascii_control());
        (is_identifier(id) && printable).then(|| Self::new(id, ifname))
    }

    /// The name of the link to this owner's `number`-th lease. A container's id has no `@`, so the name is
    /// unambiguous; one that is too long for a file is cut and gets a checksum.
    pub(super) fn index_name(&self, number: usize) -> String {
        let name = format!("{INDEX}{number}-{}@{}", self.container_id, self.ifname);
        if name.len() <= MOST_NAME {
            return name;
        }
        let cut: String = self.container_id.chars().take(150).collect();
        format!("{INDEX}{number}-{cut}~{:016x}", fnv1a(name.as_bytes()))
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

/// The FNV-1a checksum: stable for ever, unlike the hashes of the standard library.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_written_as_the_reference_writes_it() {
        let owner = Owner::new("c1", "eth0");
        assert_eq!(owner.content().as_bytes(), b"c1\r\neth0");
        assert_eq!(Owner::parse(b"c1\r\neth0"), Some(owner.clone()));
        assert_eq!(Owner::parse(b"c1\n"), Some(owner.without_interface()));
    }

    #[test]
    fn empty_and_torn_contents_belong_to_nobody() {
        for content in [&b""[..], b" \r\n", b"\0\0\0\0", b"c1\0\0", b"\xff\xfe", b"c1\r\neth\0\0", b"../x"] {
            assert_eq!(Owner::parse(content), None, "{content:?}");
        }
    }

    #[test]
    fn index_names_are_unambiguous_and_fit_a_file_system() {
        assert_eq!(Owner::new("c1", "eth0").index_name(1), ".lease-1-c1@eth0");
        assert_ne!(Owner::new("a", "b_c").index_name(0), Owner::new("a_b", "c").index_name(0));
        let (long, other) = (Owner::new("x".repeat(400), "eth0"), Owner::new("x".repeat(400), "eth1"));
        assert!(long.index_name(0).len() <= MOST_NAME);
        assert_ne!(long.index_name(0), other.index_name(0));
    }

    #[test]
    fn only_canonical_addresses_are_leases() {
        assert!(address_of("10.1.0.2").is_some() && address_of("fd00::2").is_some());
        for name in ["lock", "last_reserved_ip.0", "010.1.0.2", "fd00:0::2", "10.1.0.2.tmp"] {
            assert!(address_of(name).is_none(), "{name}");
        }
    }
}
