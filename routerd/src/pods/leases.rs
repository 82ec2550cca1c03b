//! Whose an address is, by the files of the lease store: the one truth that outlives every process.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::Path;

use cni_plugin::ipam::Owner;
use cni_plugin::socket::Attach;

use super::refusal::{Reason, Refusal};

/// What the lease of an address says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// It is the attachment's.
    Theirs,
    /// It is another's, or nobody's.
    Other,
    /// The store cannot be seen from here.
    Unknown,
}

/// Asks the lease of `address` in `folder` if it is `owner`'s. It takes no lock: a lease comes and goes in one step.
pub(super) fn ask(folder: &Path, address: IpAddr, owner: &Owner) -> Word {
    if folder.as_os_str().is_empty() {
        return Word::Unknown;
    }
    match fs::read(folder.join(address.to_string())) {
        Ok(content) if is_of(&content, owner) => Word::Theirs,
        Ok(_) => Word::Other,
        Err(error) if error.kind() == ErrorKind::NotFound && folder.is_dir() => Word::Other,
        Err(_) => Word::Unknown,
    }
}

/// `<container id>\r\n<interface>`; old versions of the reference plugin wrote only the id.
fn is_of(content: &[u8], owner: &Owner) -> bool {
    let text = content.trim_ascii();
    let (id, ifname) = (owner.container_id.as_bytes(), owner.ifname.as_bytes());
    text == id || text.strip_prefix(id).and_then(|rest| rest.strip_prefix(b"\r\n")) == Some(ifname)
}

/// Refuses an attachment whose address was taken back meanwhile: its ADD was stopped for so long that it was taken as
/// dead, or a DEL overtook it.
pub(super) fn confirm(attach: &Attach) -> Result<(), Refusal> {
    let owner = Owner::new(attach.container_id.as_str(), attach.interface.as_str());
    let lost = |address: &&IpAddr| ask(&attach.leases, **address, &owner) == Word::Other;
    match attach.addresses.iter().find(lost) {
        Some(address) => Err(Refusal::new(
            Reason::Lease,
            format!(
                "the lease of {address} in {} is not the pod's any more: it was taken back while the pod was being added",
                attach.leases.display()
            ),
        )),
        None => Ok(()),
    }
}

/// True if the lease store says that one of the attachment's addresses is not its own.
pub(super) fn is_stale(attach: &Attach) -> bool {
    confirm(attach).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_decides_and_what_cannot_be_seen_decides_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("10.1.0.2"), "c1\r\neth0").unwrap();
        fs::write(folder.path().join("10.1.0.3"), "c1").unwrap();
        fs::write(folder.path().join("10.1.0.4"), "").unwrap();
        let owner = Owner::new("c1", "eth0");
        let word = |address: &str, owner: &Owner| ask(folder.path(), address.parse().unwrap(), owner);
        assert_eq!(word("10.1.0.2", &owner), Word::Theirs);
        assert_eq!(word("10.1.0.3", &owner), Word::Theirs);
        assert_eq!(word("10.1.0.2", &Owner::new("c2", "eth0")), Word::Other);
        assert_eq!(word("10.1.0.2", &Owner::new("c1", "eth1")), Word::Other);
        assert_eq!(word("10.1.0.4", &owner), Word::Other, "a torn lease is nobody's");
        assert_eq!(word("10.1.0.9", &owner), Word::Other);
        assert_eq!(ask(Path::new("/nonexistent"), "10.1.0.2".parse().unwrap(), &owner), Word::Unknown);
        assert_eq!(ask(Path::new(""), "10.1.0.2".parse().unwrap(), &owner), Word::Unknown);
    }
}
