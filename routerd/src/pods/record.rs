//! The files that outlive a restart of the daemon: one of JSON for each attachment.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use cni_plugin::env::is_identifier;
use cni_plugin::socket::Attach;

/// A record of an attachment is a few hundred bytes.
const MOST_BYTES: u64 = 64 * 1024;

/// Why a record could not be written, read or removed.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {path}: {source}")]
pub struct RecordError {
    operation: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// The folder of records.
#[derive(Debug)]
pub(super) struct Records {
    folder: PathBuf,
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> RecordError {
    let path = path.to_owned();
    move |source| RecordError { operation, path, source }
}

impl Records {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The file of an attachment. A container's id has no `@` and no `/`, an interface's name no `/`.
    fn path(&self, container: &str, interface: &str) -> Result<PathBuf, RecordError> {
        let name = format!("{container}@{interface}.json");
        let path = self.folder.join(&name);
        if is_identifier(container) && !interface.contains(['/', '\0']) {
            return Ok(path);
        }
        Err(failed("refuse", &path)(io::Error::new(
            ErrorKind::InvalidInput,
            "the name could leave the folder",
        )))
    }

    /// Writes an attachment's file in one step. It need not outlive a power cut, which ends the pods too.
    pub(super) fn write(&self, attach: &Attach) -> Result<(), RecordError> {
        let path = self.path(&attach.container_id, &attach.interface)?;
        let aside = path.with_extension("new");
        let json = serde_json::to_vec(attach).map_err(io::Error::other).map_err(failed("encode", &path))?;
        if fs::write(&aside, &json).is_err() {
            // The folder is made when it is missed: it is there all the time but once.
            fs::create_dir_all(&self.folder).map_err(failed("make folder", &self.folder))?;
            fs::write(&aside, json).map_err(failed("write", &aside))?;
        }
        fs::rename(&aside, &path).map_err(failed("move to its name", &path))
    }

    /// Removes an attachment's file; none is fine.
    pub(super) fn remove(&self, container: &str, interface: &str) -> Result<(), RecordError> {
        let path = self.path(container, interface)?;
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Reads all. What cannot be read is removed and told of: its pod is closed until the API server shows it.
    pub(super) fn read_all(&self) -> Vec<Attach> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                tracing::error!(folder = %self.folder.display(), %error, "cannot read the records of attachments");
                return Vec::new();
            }
        };
        let paths = entries.flatten().map(|entry| entry.path());
        paths.filter_map(|path| read(&path).inspect_err(|error| discard(&path, error)).ok()).collect()
    }
}

fn read(path: &Path) -> Result<Attach, RecordError> {
    let metadata = fs::symlink_metadata(path).map_err(failed("look at", path))?;
    if !metadata.is_file() || metadata.len() > MOST_BYTES || path.extension().is_none_or(|it| it != "json") {
        return Err(failed("read", path)(io::Error::new(ErrorKind::InvalidData, "not a record")));
    }
    let json = fs::read(path).map_err(failed("read", path))?;
    serde_json::from_slice(&json).map_err(io::Error::other).map_err(failed("decode", path))
}

fn discard(path: &Path, error: &RecordError) {
    tracing::warn!(%error, "removed what is no record of an attachment");
    // It would only be told of again.
    drop(fs::remove_file(path));
}
