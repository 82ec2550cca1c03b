//! GC: files of attachments that are not there any more.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

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
    let folder = folder(conf);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        entries => entries.map_err(|error| CniError::io(format!("read {}", folder.display()), &error))?,
    };
    let mut removed = 0;
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let stale = owner_of(&path).is_some_and(|tag| tag.is_in(&conf.name) && !valid.contains(&tag));
        if stale {
            remove(&path)?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn remove(path: &Path) -> Result<(), CniError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(CniError::io(format!("remove {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}

fn owner_of(path: &Path) -> Option<Tag> {
    let content: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    content.get(OWNER)?.as_str()?.parse().ok()
}
