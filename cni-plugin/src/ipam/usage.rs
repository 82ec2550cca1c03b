//! How many addresses there are, and how many of them are leased.

use std::io::ErrorKind;
use std::path::Path;

use super::error::StoreError;
use super::folder::Folder;
use super::range::RangeSet;
use crate::error::{CniError, Code};

/// Addresses of some pools.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Addresses that can be handed out; gateways are none.
    pub total: u128,
    /// Those of them that are taken.
    pub used: u128,
}

impl Usage {
    /// Addresses that are still free.
    pub fn free(&self) -> u128 {
        self.total.saturating_sub(self.used)
    }
}

/// Counts the addresses of `sets` and the leases among them in `folder`, the folder of a network's leases; one that is
/// not there has none. It takes no lock, so a lease that is made at this moment may be missing, and it costs one
/// reading of the folder.
pub fn usage(folder: &Path, sets: &[RangeSet]) -> Result<Usage, StoreError> {
    let total = sets.iter().map(RangeSet::size).fold(0, u128::saturating_add);
    let taken = match Folder::new(folder).taken() {
        Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Ok(Usage { total, used: 0 });
        }
        outcome => outcome?,
    };
    let used = taken.iter().filter(|address| sets.iter().any(|set| set.hands_out(**address))).count();
    Ok(Usage { total, used: used as u128 })
}

/// An error for the first pool that has no free address.
pub(super) fn refuse_exhausted(folder: &Path, sets: &[RangeSet]) -> Result<(), CniError> {
    for set in sets {
        if usage(folder, std::slice::from_ref(set))?.free() == 0 {
            let msg = format!("no IP addresses available in range set: {set}");
            return Err(
                CniError::new(Code::NOT_READY, msg).with_details("ipam.statusChecksAddresses asks for this")
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipam::Range;
    use crate::json::Fields;
    use serde_json::json;

    fn set(ranges: &serde_json::Value) -> RangeSet {
        let range = |value| Range::parse(&Fields::of(value, "ipam").unwrap()).unwrap();
        RangeSet::new(ranges.as_array().unwrap().iter().map(range).collect()).unwrap()
    }

    #[test]
    fn gateways_foreign_addresses_and_other_files_do_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let pool = set(&json!([{"subnet": "10.1.0.0/29"}, {"subnet": "10.2.0.0/30", "gateway": "10.9.9.9"}]));
        assert_eq!(
            usage(folder.path(), std::slice::from_ref(&pool)).unwrap(),
            Usage { total: 5 + 2, used: 0 }
        );
        for name in ["10.1.0.1", "10.1.0.2", "10.1.0.7", "10.2.0.1", "10.3.0.1", "lock", "fd00::1"] {
            std::fs::write(folder.path().join(name), "c1").unwrap();
        }
        let six = set(&json!([{"subnet": "fd00::/64"}]));
        let usage_of_both = usage(folder.path(), &[pool, six]).unwrap();
        assert_eq!(usage_of_both, Usage { total: 7 + (1 << 64) - 2, used: 2 });
        assert_eq!(usage_of_both.free(), 5 + (1 << 64) - 2);
    }

    #[test]
    fn a_folder_that_was_never_made_has_no_leases() {
        let all = set(&json!([{"subnet": "::/0"}]));
        assert_eq!(usage(Path::new("/nonexistent/n"), &[all]).unwrap().used, 0);
    }
}
