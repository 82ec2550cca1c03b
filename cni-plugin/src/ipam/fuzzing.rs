//! The files of a lease folder under a fuzzer; see [`crate::fuzzing`].

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;

use super::index::{self, Index};
use super::lease::{Content, Owner, address_of};
use super::resolv;

/// The first byte says which file the rest is.
pub(crate) fn fuzz_files(data: &[u8]) {
    let Some((kind, data)) = data.split_first() else { return };
    match kind % 4 {
        0 => content(data),
        1 => name(&String::from_utf8_lossy(data)),
        2 => drop(resolv::parse(&String::from_utf8_lossy(data))),
        _ => assert!(table(data).is_ok(), "the table ends badly"),
    }
}

/// What is a lease is one when it is written again.
fn content(data: &[u8]) {
    if let Content::Lease(owner) = Content::parse(data) {
        assert_eq!(Content::parse(owner.content().as_bytes()), Content::Lease(owner));
    }
}

fn name(name: &str) {
    if let Some(address) = address_of(name) {
        assert_eq!(address.to_string(), name);
    }
}

/// Any slots behind a header that counts: nothing loops or panics, and what is put in is found.
fn table(data: &[u8]) -> io::Result<()> {
    let lock = memory()?;
    let Some(mut table) = Index::write(&lock, &[]) else { return Ok(()) };
    let room = index::FEWEST * super::slot::SLOT;
    lock.write_all_at(&data[..data.len().min(room)], index::HEADER as u64)?;
    let (owner, address) = (Owner::new("c1", "eth0"), IpAddr::from([10, 1, 2, 3]));
    let before = table.find(&lock, owner.hash())?;
    if table.insert(&lock, owner.hash(), address).is_ok() {
        assert!(table.find(&lock, owner.hash())?.contains(&address));
        table.remove(&lock, owner.hash(), address)?;
    }
    let mut after = table.find(&lock, owner.hash())?;
    after.push(address);
    // The same lease may have been there before.
    assert!(before.iter().all(|address| after.contains(address)));
    Ok(())
}

/// A file without a name, in memory.
fn memory() -> io::Result<File> {
    let flags = nix::sys::memfd::MFdFlags::MFD_CLOEXEC;
    Ok(nix::sys::memfd::memfd_create("routerd-fuzz", flags).map(File::from)?)
}
