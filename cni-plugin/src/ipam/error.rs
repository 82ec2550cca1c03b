//! Why the store could not do something.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{CniError, Code};

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

impl From<StoreError> for CniError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Locked { .. } => Self::new(Code::TRY_AGAIN, error.to_string())
                .with_details("another CNI operation on this network does not end; look at that process"),
            StoreError::Io { .. } => Self::new(Code::IO, error.to_string()),
        }
    }
}

fn holder_text(holder: Option<u32>) -> String {
    holder.map_or_else(|| "another process".into(), |pid| format!("process {pid}"))
}

pub(super) type Result<T> = std::result::Result<T, StoreError>;

/// What a file operation on `path` failed with.
pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { doing, path, source }
}
