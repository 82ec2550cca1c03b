//! The lease folder, shared in place with the reference plugin: same files, same lock.
//!
//! Two things are better here. **No empty lease**: a lease is written aside and then linked to its name, so a process
//! that dies at any moment leaves either a whole lease or none; empty or torn ones of others are repaired. **Cost
//! does not grow with the number of leases**: an index of symbolic links, `.lease-<n>-<owner>` -> address, answers
//! who holds what.
//!
//! The index is true only while nobody else changed the folder, and the folder itself says so: when we are done we set
//! its modification time to [`INDEXED`], a moment long ago that no clock gives again. Whatever creates or removes a
//! file after that, the reference plugin, an administrator, or we before being killed, gives the folder the present
//! time, and the next of us reads all leases and rebuilds the index. The reference plugin ignores the links, and
//! removes those whose lease it releases, because it reads through them.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::lease::{self, Owner};
use super::lock::{self, LockError};

/// The modification time that says "the index is complete": 2001-09-09 01:46:40 UTC.
const INDEXED: Duration = Duration::from_secs(1_000_000_000);

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A system call on a file failed.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process held the folder's lock all the time.
    #[error("lock {path}: held for {waited:?} by {}", holder_text(*holder))]
    Locked {
        /// The lock's file.
        path: PathBuf,
        /// The process that holds it, if the kernel tells.
        holder: Option<u32>,
        /// How long was waited.
        waited: Duration,
    },
}

fn holder_text(holder: Option<u32>) -> String {
    holder.map_or_else(|| "another process".into(), |pid| format!("process {pid}"))
}

type Result<T> = std::result::Result<T, StoreError>;

/// What a file operation on `path` failed with.
fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { doing, path, source }
}

/// The leases of one network, locked: nobody else changes them until this is dropped.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    handle: File,
    _lock: File,
    /// All leases were read since the lock was taken, so nothing torn is left.
    repaired: bool,
    /// The index holds every lease.
    complete: bool,
}

impl Store {
    /// Locks the leases in `folder`, making it if it is not there; waits at most `wait` for the lock.
    pub fn open(folder: &Path, wait: Duration) -> Result<Self> {
        fs::create_dir_all(folder).map_err(failed("make folder", folder))?;
        Self::lock(folder, wait)
    }

    /// The same, but `None` if there is no such folder: nothing was ever leased.
    pub fn open_existing(folder: &Path, wait: Duration) -> Result<Option<Self>> {
        match fs::metadata(folder) {
            Ok(_) => Self::lock(folder, wait).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("look at folder", folder)(error)),
        }
    }

    fn lock(folder: &Path, wait: Duration) -> Result<Self> {
        let path = folder.join(lease::LOCK);
        let lock = lock::lock(&path, wait).map_err(|error| match error {
            LockError::Io(error) => failed("lock", &path)(error),
            LockError::Held(holder) => StoreError::Locked { path: path.clone(), holder, waited: wait },
        })?;
        let handle = File::open(folder).map_err(failed("open folder", folder))?;
        let mut store =
            Self { folder: folder.to_owned(), handle, _lock: lock, repaired: false, complete: false };
        if store.is_indexed() {
            store.complete = true;
        } else {
            store.rebuild()?;
        }
        Ok(store)
    }

    fn is_indexed(&self) -> bool {
        let modified = self.handle.metadata().and_then(|metadata| metadata.modified());
        modified.is_ok_and(|time| time == SystemTime::UNIX_EPOCH + INDEXED)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Every lease with its owner, by reading them all. Empty and torn ones are removed, and the index is rebuilt.
    pub fn leases(&mut self) -> Result<BTreeMap<IpAddr, Owner>> {
        self.rebuild()
    }

    fn rebuild(&mut self) -> Result<BTreeMap<IpAddr, Owner>> {
        let mut leases = BTreeMap::new();
        let mut links = HashSet::new();
        for name in self.names()? {
            if let Some(address) = lease::address_of(&name) {
                let path = self.path(&name);
                match Owner::parse(&fs::read(&path).map_err(failed("read lease", &path))?) {
                    Some(owner) => {
                        leases.insert(address, owner);
                    }
                    None => self.remove(&name)?,
                }
            } else if name.starts_with(lease::INDEX) {
                links.insert(name);
            } else if name == lease::NEW {
                self.remove(&name)?;
            }
        }
        self.reindex(&leases, links)?;
        self.repaired = true;
        self.complete = true;
        Ok(leases)
    }

    /// Makes the links those of `leases`; `links` are the ones there now.
    fn reindex(&self, leases: &BTreeMap<IpAddr, Owner>, mut links: HashSet<String>) -> Result<()> {
        let mut counts: BTreeMap<&Owner, usize> = BTreeMap::new();
        for (address, owner) in leases {
            let number = counts.entry(owner).or_default();
            let name = owner.index_name(*number);
            *number += 1;
            if links.remove(&name) && self.link_target(&name)? == Some(*address) {
                continue;
            }
            self.link(&name, *address)?;
        }
        links.iter().try_for_each(|name| self.remove(name))
    }

    fn names(&self) -> Result<Vec<String>> {
        let entries = fs::read_dir(&self.folder).map_err(failed("read folder", &self.folder))?;
        let name = |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().into_string().unwrap_or_default());
        entries.map(name).collect::<io::Result<_>>().map_err(failed("read folder", &self.folder))
    }

    fn link(&self, name: &str, address: IpAddr) -> Result<()> {
        let path = self.path(name);
        // A link of that name is a leftover: whoever calls has counted the true ones.
        self.remove(name)?;
        symlink(address.to_string(), &path).map_err(failed("make index link", &path))
    }

    fn link_target(&self, name: &str) -> Result<Option<IpAddr>> {
        let path = self.path(name);
        match fs::read_link(&path) {
            Ok(target) => Ok(target.to_str().and_then(lease::address_of)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => Ok(None),
            Err(error) => Err(failed("read index link", &path)(error)),
        }
    }

    fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// The addresses that `owner` holds.
    pub fn held_by(&mut self, owner: &Owner) -> Result<Vec<IpAddr>> {
        if let Some(held) = self.indexed(owner)? {
            return Ok(held);
        }
        let leases = self.rebuild()?;
        Ok(leases.into_iter().filter(|(_, holder)| holder == owner).map(|(address, _)| address).collect())
    }

    /// The same by the index; `None` if a link does not hold what it says.
    fn indexed(&self, owner: &Owner) -> Result<Option<Vec<IpAddr>>> {
        let mut held = Vec::new();
        while let Some(address) = self.link_target(&owner.index_name(held.len()))? {
            let content = fs::read(self.path(&address.to_string())).ok();
            // After a power cut the link may be older than the lease's content: an empty lease is still its owner's.
            let theirs =
                content.is_some_and(|bytes| bytes.is_empty() || Owner::parse(&bytes).as_ref() == Some(owner));
            if !theirs {
                return Ok(None);
            }
            held.push(address);
        }
        Ok(Some(held))
    }

    /// Gives `address` to `owner`; `false` if it is taken.
    pub fn reserve(&mut self, address: IpAddr, owner: &Owner) -> Result<bool> {
        let (new, path) = (self.path(lease::NEW), self.path(&address.to_string()));
        let number = self.held_by(owner)?.len();
        self.write_new(&new, owner)?;
        let linked = link_lease(&new, &path);
        self.remove(lease::NEW)?;
        if !linked? {
            return Ok(false);
        }
        if let Err(error) = self.link(&owner.index_name(number), address) {
            self.complete = false;
            self.remove(&address.to_string())?;
            return Err(error);
        }
        Ok(true)
    }

    fn write_new(&self, new: &Path, owner: &Owner) -> Result<()> {
        // A leftover may be one file with a lease, so it is never written into.
        self.remove(lease::NEW)?;
        let written = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(new)
            .and_then(|mut file| file.write_all(owner.content().as_bytes()));
        written.map_err(|error| {
            let error = failed("write lease", new)(error);
            // The first error is the one to tell; what stays is removed by the next of us.
            drop(self.remove(lease::NEW));
            error
        })
    }

    /// Takes back all that `owner` holds and tells which addresses that were. A lease of an old version, which does
    /// not name the interface, is the container's if there is no other.
    pub fn release(&mut self, owner: &Owner) -> Result<Vec<IpAddr>> {
        let mut holder = owner.clone();
        let mut held = self.held_by(&holder)?;
        if held.is_empty() {
            holder = owner.without_interface();
            held = self.held_by(&holder)?;
        }
        for (number, address) in held.iter().enumerate().rev() {
            self.remove(&address.to_string())?;
            self.remove(&holder.index_name(number))?;
        }
        Ok(held)
    }

    /// Takes back `addresses` of `owner`, and nothing else of it.
    pub fn release_addresses(&mut self, owner: &Owner, addresses: &[IpAddr]) -> Result<()> {
        let held = self.held_by(owner)?;
        for (number, address) in held.iter().enumerate().rev() {
            if addresses.contains(address) {
                self.remove(&address.to_string())?;
                self.remove(&owner.index_name(number))?;
                // A gap in the numbers would hide what comes after it.
                self.complete &= number + 1 == held.len() || addresses.contains(&held[number + 1]);
            }
        }
        Ok(())
    }

    /// The addresses that are taken, by name only.
    pub fn taken(&self) -> Result<HashSet<IpAddr>> {
        Ok(self.names()?.iter().filter_map(|name| lease::address_of(name)).collect())
    }

    /// Removes what is empty or torn, if that was not done since the lock was taken; `true` if it was done now.
    pub fn repair(&mut self) -> Result<bool> {
        if self.repaired {
            return Ok(false);
        }
        self.rebuild().map(|_| true)
    }

    /// The address of pool `set` that was handed out last.
    pub fn last_reserved(&self, set: usize) -> Option<IpAddr> {
        fs::read_to_string(self.path(&lease::last_reserved_name(set))).ok()?.trim().parse().ok()
    }

    /// Remembers it. That it cannot be written only makes the round robin start over, so it is no error.
    pub fn set_last_reserved(&self, set: usize, address: IpAddr) {
        drop(fs::write(self.path(&lease::last_reserved_name(set)), address.to_string()));
    }
}

/// Gives the file `new` the lease's name too, if no lease has it; an empty one is nobody's.
fn link_lease(new: &Path, path: &Path) -> Result<bool> {
    for _ in 0..2 {
        match fs::hard_link(new, path) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("link lease", path)(error)),
        }
        // We hold the lock, so an empty lease is not being written by anybody: its writer died.
        if !fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0) {
            return Ok(false);
        }
        fs::remove_file(path).map_err(failed("remove empty lease", path))?;
    }
    Ok(false)
}

impl Drop for Store {
    fn drop(&mut self) {
        if self.complete && !self.is_indexed() {
            // Refused: the next of us reads all leases again.
            drop(self.handle.set_modified(SystemTime::UNIX_EPOCH + INDEXED));
        }
    }
}
