//! The few facts about links that the kernel tells only in `/sys`.

use std::fs;

use crate::error::{KernelError, Result};

/// Whether somebody has set the link's Ethernet address (`NET_ADDR_SET`), in the namespace that `/sys` was mounted in.
///
/// A bridge whose address nobody set takes that of one of its ports, and changes it when that port goes: every pod
/// then has a wrong entry for its gateway.
pub fn mac_was_set(link: &str) -> Result<bool> {
    let path = format!("/sys/class/net/{link}/addr_assign_type");
    fs::read_to_string(&path)
        .map(|kind| kind.trim() == "3")
        .map_err(|error| KernelError::io(format!("read {path}"), &error))
}
