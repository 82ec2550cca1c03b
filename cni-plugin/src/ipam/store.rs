//! The lease folder, shared in place with the reference plugin: same files, same lock.
//!
//! Two things are better here. **No empty lease**: a lease is written aside and then renamed to its name, so a process
//! that dies at any moment leaves either a whole lease or none; empty or torn ones of others are repaired. **Cost
//! does not grow with the number of leases**: the [index](super::index) in the lock's file answers who holds what.
//!
//! Nothing is synchronised to the disk. A power cut ends the pods, too, so a lease that it takes back is nobody's; one
//! whose content it takes is torn, and repaired as any other; one that it leaves is freed by DEL or GC. To wait for the
//! disk would cost each pod more than all the rest, and save none of them.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use super::error::{Result, StoreError, failed};
use super::folder::Folder;
use super::index::Index;
use super::lease::{self, Content, Owner};
use super::lock::{self, LockError};

/// The leases of one network, locked: nobody else changes them until this is dropped.
#[derive(Debug)]
pub struct Store {
    folder: Folder,
    handle: File,
    lock: File,
    /// Whose lease is written aside, to be given a name.
    prepared: Option<Owner>,
    /// All leases were read since the lock was taken, so nothing torn is left.
    repaired: bool,
    /// Something in the folder changed.
    changed: bool,
    /// The index, while it holds every lease.
    index: Option<Index>,
}

impl Store {
    /// Locks the leases in `folder`, making it if it is not there; waits at most `wait` for the lock.
    pub fn open(folder: &Path, wait: Duration) -> Result<Self> {
        if let Some(store) = Self::open_existing(folder, wait)? {
            return Ok(store);
        }
        fs::create_dir_all(folder).map_err(failed("make folder", folder))?;
        let missing = || failed("lock", folder)(ErrorKind::NotFound.into());
        Self::open_existing(folder, wait)?.ok_or_else(missing)
    }

    /// The same, but `None` if there is no such folder: nothing was ever leased.
    pub fn open_existing(folder: &Path, wait: Duration) -> Result<Option<Self>> {
        let path = folder.join(lease::LOCK);
        let lock = match lock::lock(&path, wait) {
            Ok(lock) => lock,
            Err(LockError::Io(error)) if is_nowhere(&error) => return Ok(None),
            Err(LockError::Io(error)) => return Err(failed("lock", &path)(error)),
            Err(LockError::Held(holder)) => return Err(StoreError::Locked { path, holder, waited: wait }),
        };
        let handle = File::open(folder).map_err(failed("open folder", folder))?;
        let index = Index::load(&lock, &handle);
        let folder = Folder::new(folder);
        let mut store = Self { folder, handle, lock, prepared: None, repaired: false, changed: false, index };
        if store.index.is_none() {
            store.rebuild(|_, _| ())?;
        }
        Ok(Some(store))
    }

    /// Every lease with its owner, by reading them all. Empty and torn ones are removed, and the index is rebuilt.
    pub fn leases(&mut self) -> Result<BTreeMap<IpAddr, Owner>> {
        let mut leases = BTreeMap::new();
        self.rebuild(|address, owner| drop(leases.insert(address, owner)))?;
        Ok(leases)
    }

    fn rebuild(&mut self, mut see: impl FnMut(IpAddr, Owner)) -> Result<()> {
        self.changed = true;
        let mut indexed = Vec::new();
        for entry in self.folder.entries()? {
            let entry = entry?;
            if !entry.is_file {
                continue;
            }
            let Some(address) = lease::address_of(&entry.name) else {
                if entry.name == lease::NEW && self.prepared.is_none() {
                    self.folder.remove(&entry.name)?;
                }
                continue;
            };
            match self.folder.content(address) {
                Some(Content::Lease(owner)) => {
                    indexed.push((owner.hash(), address));
                    see(address, owner);
                }
                Some(Content::Torn) => self.folder.remove(&entry.name)?,
                Some(Content::Foreign) | None => {}
            }
        }
        // Without an index (no room for it, no /proc) the next of us reads all leases again.
        self.index = Index::write(&self.lock, &indexed);
        self.repaired = true;
        Ok(())
    }

    /// The addresses that `owner` holds.
    pub fn held_by(&mut self, owner: &Owner) -> Result<Vec<IpAddr>> {
        if let Some(held) = self.indexed(owner) {
            return Ok(held);
        }
        let mut held = Vec::new();
        self.rebuild(|address, holder| held.extend((holder == *owner).then_some(address)))?;
        Ok(held)
    }

    /// The same by the index, in order; `None` if there is none, or a lease does not hold what the index says.
    fn indexed(&self, owner: &Owner) -> Option<Vec<IpAddr>> {
        let hash = owner.hash();
        let mut held = self.index.as_ref()?.find(&self.lock, hash).ok()?;
        let mut others = Vec::new();
        for address in &held {
            match self.folder.content(*address) {
                Some(Content::Lease(holder)) if holder == *owner => {}
                // Two owners of one hash.
                Some(Content::Lease(holder)) if holder.hash() == hash => others.push(*address),
                _ => return None,
            }
        }
        held.retain(|address| !others.contains(address));
        held.sort();
        Some(held)
    }

    /// Gives `address` to `owner`; `false` if it is taken.
    pub fn reserve(&mut self, address: IpAddr, owner: &Owner) -> Result<bool> {
        self.changed = true;
        if self.prepared.as_ref() != Some(owner) {
            self.folder.write_new(owner)?;
            self.prepared = Some(owner.clone());
        }
        if !self.folder.publish(address)? {
            return Ok(false);
        }
        self.prepared = None;
        let lock = &self.lock;
        let kept = |index: &mut Index| index.insert(lock, owner.hash(), address).is_ok();
        // An index that is full or cannot be written is made anew by the next of us; the lease is what counts.
        self.index.take_if(|index| !kept(index));
        Ok(true)
    }

    /// What `owner` made, for an operation that expects something: its leases, else those of old versions, which do not
    /// name the interface, with the owner as the leases have it. Before it is nothing, all leases are read: somebody
    /// may have written into one, which the index cannot know.
    pub fn made_by(&mut self, owner: &Owner) -> Result<(Owner, Vec<IpAddr>)> {
        loop {
            for holder in [owner.clone(), owner.without_interface()] {
                let held = self.held_by(&holder)?;
                if !held.is_empty() {
                    return Ok((holder, held));
                }
            }
            if !self.repair()? {
                return Ok((owner.clone(), Vec::new()));
            }
        }
    }

    /// Takes back all that `owner` holds and tells which addresses that were. A lease of an old version is the
    /// container's if there is no other.
    pub fn release(&mut self, owner: &Owner) -> Result<Vec<IpAddr>> {
        let (holder, held) = self.made_by(owner)?;
        self.take_back(&holder, &held)?;
        Ok(held)
    }

    /// Takes back `addresses` of `owner`, and nothing else of it.
    pub fn release_addresses(&mut self, owner: &Owner, addresses: &[IpAddr]) -> Result<()> {
        let mut held = self.held_by(owner)?;
        held.retain(|address| addresses.contains(address));
        self.take_back(owner, &held)
    }

    fn take_back(&mut self, owner: &Owner, addresses: &[IpAddr]) -> Result<()> {
        for address in addresses {
            self.changed = true;
            self.folder.remove(&address.to_string())?;
            let lock = &self.lock;
            let kept = |index: &mut Index| index.remove(lock, owner.hash(), *address).is_ok();
            self.index.take_if(|index| !kept(index));
        }
        Ok(())
    }

    /// The addresses that are taken, by name only.
    pub fn taken(&self) -> Result<std::collections::HashSet<IpAddr>> {
        self.folder.taken()
    }

    /// Removes what is empty or torn, if that was not done since the lock was taken; `true` if it was done now.
    pub fn repair(&mut self) -> Result<bool> {
        if self.repaired {
            return Ok(false);
        }
        self.rebuild(|_, _| ()).map(|()| true)
    }

    /// The address of pool `set` that was handed out last.
    pub fn last_reserved(&self, set: usize) -> Option<IpAddr> {
        self.folder.last_reserved(set)
    }

    /// Remembers it. That it cannot be written only makes the round robin start over, so it is no error.
    pub fn set_last_reserved(&mut self, set: usize, address: IpAddr) {
        self.changed = true;
        self.folder.set_last_reserved(set, address);
    }
}

/// There is no such folder, nor can there be leases in it.
fn is_nowhere(error: &io::Error) -> bool {
    // A network's name may be longer than any folder's.
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory | ErrorKind::InvalidFilename)
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.prepared.is_some() && self.folder.remove(lease::NEW).is_err() {
            // The next of us removes it while it reads everything.
            return;
        }
        match &self.index {
            // Refused: the next of us reads all leases again.
            Some(index) if self.changed => drop(self.handle.set_modified(index.time())),
            _ => {}
        }
    }
}
