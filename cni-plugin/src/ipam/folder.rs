//! The files of a lease folder, one function an operation. What may be done when is said by [`super::store`].

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

use super::error::{Result, failed};
use super::lease::{self, Content, Owner};

/// The name of what lies in a folder.
pub(super) struct Entry {
    pub(super) name: String,
    /// A folder or a pipe of an address's name is no lease, and is not read.
    pub(super) is_file: bool,
}

/// A lease folder.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Everything in it whose name is text, one after the other: there may be many.
    pub(super) fn entries(&self) -> Result<impl Iterator<Item = Result<Entry>>> {
        let listed = fs::read_dir(&self.0).map_err(failed("read folder", &self.0))?;
        Ok(listed.filter_map(|entry| match entry {
            Ok(entry) => {
                let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
                entry.file_name().into_string().ok().map(|name| Ok(Entry { name, is_file }))
            }
            Err(error) => Some(Err(failed("read folder", &self.0)(error))),
        }))
    }

    /// The addresses that are taken, by name only.
    pub(super) fn taken(&self) -> Result<HashSet<IpAddr>> {
        let mut taken = HashSet::new();
        for entry in self.entries()? {
            taken.extend(lease::address_of(&entry?.name));
        }
        Ok(taken)
    }

    /// What the file of an address says; `None` if there is none. What cannot be read is not ours to judge.
    pub(super) fn content(&self, address: IpAddr) -> Option<Content> {
        let file = match File::open(self.path(&address.to_string())) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(_) => return Some(Content::Foreign),
        };
        let mut bytes = Vec::with_capacity(128);
        match file.take(lease::MOST_CONTENT).read_to_end(&mut bytes) {
            Ok(_) => Some(Content::parse(&bytes)),
            Err(_) => Some(Content::Foreign),
        }
    }

    /// Removes a file; none is success.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Writes a lease aside.
    pub(super) fn write_new(&self, owner: &Owner) -> Result<()> {
        let path = self.path(lease::NEW);
        let create = || File::options().write(true).create_new(true).mode(0o600).open(&path);
        let file = match create() {
            // Of one of us that was killed. It may be a lease's other name, so it is never written into.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                self.remove(lease::NEW)?;
                create()
            }
            outcome => outcome,
        };
        file.and_then(|mut file| file.write_all(owner.content().as_bytes())).map_err(|error| {
            let error = failed("write lease", &path)(error);
            // The first error is the one to tell; what stays is removed by the next of us.
            drop(self.remove(lease::NEW));
            error
        })
    }

    /// Gives the lease that was written aside its name; `false` if the address is taken. An empty lease is nobody's:
    /// we hold the lock, so its writer died.
    pub(super) fn publish(&self, address: IpAddr) -> Result<bool> {
        let (new, path) = (self.path(lease::NEW), self.path(&address.to_string()));
        for _ in 0..2 {
            if place(&new, &path)? {
                return Ok(true);
            }
            if !fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file() && metadata.len() == 0) {
                return Ok(false);
            }
            fs::remove_file(&path).map_err(failed("remove empty lease", &path))?;
        }
        Ok(false)
    }

    /// The address of pool `set` that was handed out last; garbage is as none.
    pub(super) fn last_reserved(&self, set: usize) -> Option<IpAddr> {
        let mut text = String::new();
        let file = File::open(self.path(&lease::last_reserved_name(set))).ok()?;
        file.take(lease::MOST_CONTENT).read_to_string(&mut text).ok()?;
        text.trim().parse().ok()
    }

    /// Remembers it. That it cannot be written only makes the round robin start over, so it is no error.
    ///
    /// The file is written over and not truncated first: ext4 sends a file that was truncated to the disk when it is
    /// closed, and everybody else would wait for that disk at the lock.
    pub(super) fn set_last_reserved(&self, set: usize, address: IpAddr) {
        let path = self.path(&lease::last_reserved_name(set));
        let options = File::options().write(true).create(true).truncate(false).mode(0o600).open(path);
        let Ok(file) = options else { return };
        let text = address.to_string();
        let shorter = file.metadata().is_ok_and(|before| before.len() > text.len() as u64);
        if file.write_all_at(text.as_bytes(), 0).is_ok() && shorter {
            drop(file.set_len(text.len() as u64));
        }
    }
}

/// Renames `new` to `path` if nothing has that name; `false` if something has.
fn place(new: &Path, path: &Path) -> Result<bool> {
    let renamed = match renameat2(AT_FDCWD, new, AT_FDCWD, path, RenameFlags::RENAME_NOREPLACE) {
        // A file system that knows no such renaming (NFS) has links all the same.
        Err(Errno::EINVAL | Errno::ENOSYS) => fs::hard_link(new, path).and_then(|()| fs::remove_file(new)),
        outcome => outcome.map_err(Into::into),
    };
    match renamed {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed("make lease", path)(error)),
    }
}
