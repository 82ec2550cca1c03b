//! GC: files of attachments that are not there any more.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::backup::{OWNER, folder};
use crate::config::NetConf;
use crate::error::CniError;
use crate::ipam::Owner;
use crate::tag::Tag;

/// Removes the files of the configuration's network that are of none of `valid`, and tells how many. A file without
/// an owner (the reference plugin's) may be another network's and stays; it goes with the next restart of the node.
pub fn collect(conf: &NetConf, valid: &BTreeSet<Owner>) -> Result<usize, CniError> {
    let valid: BTreeSet<Tag> = valid.iter().map(|owner| Tag::of(&conf.name, owner)).collect();
    let mut removed = 0;
    for (path, tag) in kept(&folder(conf))? {
        if tag.is_in(&conf.name) && !valid.contains(&tag) {
            removed += usize::from(forget(&path)?);
        }
    }
    Ok(removed)
}

/// The files in `folder` that say whose they are, of all networks. A folder that is not there has none.
pub fn kept(folder: &Path) -> Result<Vec<(PathBuf, Tag)>, CniError> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| CniError::io(format!("read {}", folder.display()), &error))?,
    };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    Ok(paths.filter_map(|path| owner_of(&path).map(|tag| (path, tag))).collect())
}

/// Removes such a file; `false` if it was gone.
pub fn forget(path: &Path) -> Result<bool, CniError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        removed => {
            removed.map(|()| true).map_err(|error| CniError::io(format!("remove {}", path.display()), &error))
        }
    }
}

fn owner_of(path: &Path) -> Option<Tag> {
    let content: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    content.get(OWNER)?.as_str()?.parse().ok()
}
