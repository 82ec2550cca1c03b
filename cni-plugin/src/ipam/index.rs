//! Who holds which address, as a hash table in the file `lock`: cost does not grow with the number of leases.
//!
//! The reference plugin opens that file for its `flock` only and never looks at what is in it as more than a text that
//! is no lease, so the folder keeps exactly the files that the reference plugin makes.
//!
//! The table is a hint that must earn its trust each time. It counts only if
//!
//! - it was written since the machine started: after a power cut, parts of a file may be older than others;
//! - the folder's modification time is the moment that the table names, long ago, which no clock gives again. We set it
//!   when we are done; whatever creates or removes a file after that (the reference plugin, an administrator, we before
//!   being killed) gives the folder the present time.
//!
//! And what it says of a lease is verified by the lease's content. Otherwise all leases are read and it is made anew.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime};

use super::slot::{SLOT, Slot};

const MAGIC: &[u8; 16] = b"routerd leases 1";
/// Bytes before the first slot.
pub(super) const HEADER: usize = 96;
/// The fewest slots of a table.
pub(super) const FEWEST: usize = 256;
/// Slots that are read at once.
const WINDOW: usize = 64;
/// The text of a boot's id.
const BOOT_ID: usize = 36;
/// Moments that say "the table is complete" begin at 2001-09-09 01:46:40 UTC, in seconds since 1970.
const LONG_AGO: u64 = 1_000_000_000;
/// So many moments there are, all of them before 2010.
const MOMENTS: u64 = 250_000_000;

/// A table that counts.
#[derive(Debug)]
pub(super) struct Index {
    boot: [u8; BOOT_ID],
    /// The folder's modification time while the table is complete, in seconds since 1970.
    moment: u64,
    /// Slots, a power of two.
    slots: usize,
    /// Slots that are not free for the end of a search: leases and what was removed.
    used: usize,
}

impl Index {
    /// The table in `lock`, if it counts: `None` if there is none, or `folder` changed since.
    pub(super) fn load(lock: &File, folder: &File) -> Option<Self> {
        let mut bytes = [0; HEADER];
        lock.read_exact_at(&mut bytes, 0).ok()?;
        let index = Self::decode(&bytes)?;
        let modified = folder.metadata().ok()?.modified().ok()?;
        (modified == index.time() && index.boot == boot_id()?).then_some(index)
    }

    /// Writes a table of `leases` (owner's hash and address). `None` if it cannot be written.
    pub(super) fn write(lock: &File, leases: &[(u64, IpAddr)]) -> Option<Self> {
        let slots = FEWEST.max((leases.len() * 3 / 2).next_power_of_two());
        let nanos = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.subsec_nanos();
        // Another moment each time: a copy of a folder with its times must not pass for the folder.
        let moment = LONG_AGO + u64::from(nanos) % MOMENTS;
        let index = Self { boot: boot_id()?, moment, slots, used: leases.len() };
        let mut bytes = vec![0; HEADER + slots * SLOT];
        bytes[..HEADER].copy_from_slice(&index.encode());
        for (hash, address) in leases {
            let mut number = index.home(*hash);
            while Slot::decode(slot_bytes(&bytes, number)) != Slot::Free {
                number = (number + 1) % slots;
            }
            let at = HEADER + number * SLOT;
            bytes[at..at + SLOT].copy_from_slice(&Slot::Lease(*hash, *address).encode());
        }
        lock.write_all_at(&bytes, 0).ok()?;
        lock.set_len(bytes.len() as u64).ok()?;
        Some(index)
    }

    /// The moment to set as the folder's modification time when all changes are in the table.
    pub(super) fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(self.moment)
    }

    /// The addresses that an owner with `hash` may hold.
    pub(super) fn find(&self, lock: &File, hash: u64) -> io::Result<Vec<IpAddr>> {
        let mut found = Vec::new();
        self.search(lock, hash, |_, slot| {
            match slot {
                Slot::Lease(theirs, address) if theirs == hash => found.push(address),
                _ => {}
            }
            false
        })?;
        Ok(found)
    }

    /// Adds a lease. A table that gets full is an error: it is to be made anew.
    pub(super) fn insert(&mut self, lock: &File, hash: u64, address: IpAddr) -> io::Result<()> {
        let place = self.search(lock, hash, |_, slot| !matches!(slot, Slot::Lease(..)))?;
        let Some((number, slot)) = place else { return Err(io::ErrorKind::StorageFull.into()) };
        if slot == Slot::Free {
            if (self.used + 1) * 4 > self.slots * 3 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.used += 1;
            lock.write_all_at(&self.encode(), 0)?;
        }
        put(lock, number, Slot::Lease(hash, address))
    }

    /// Takes a lease out.
    pub(super) fn remove(&self, lock: &File, hash: u64, address: IpAddr) -> io::Result<()> {
        let wanted = Slot::Lease(hash, address);
        match self.search(lock, hash, |_, slot| slot == wanted)? {
            Some((number, slot)) if slot == wanted => put(lock, number, Slot::Removed),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn home(&self, hash: u64) -> usize {
        // The number of slots is a power of two that fits.
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
        let low = hash as usize;
        low & (self.slots - 1)
    }

    /// Shows the slots where `hash` may be to `wanted` until it says that this is it, or one is free.
    fn search(
        &self,
        lock: &File,
        hash: u64,
        mut wanted: impl FnMut(usize, Slot) -> bool,
    ) -> io::Result<Option<(usize, Slot)>> {
        let mut bytes = [0; WINDOW * SLOT];
        let (mut number, mut seen) = (self.home(hash), 0);
        while seen < self.slots {
            let count = WINDOW.min(self.slots - number);
            let window = &mut bytes[..count * SLOT];
            lock.read_exact_at(window, (HEADER + number * SLOT) as u64)?;
            for bytes in window.as_chunks().0 {
                let slot = Slot::decode(bytes);
                if wanted(number, slot) || slot == Slot::Free {
                    return Ok(Some((number, slot)));
                }
                number += 1;
            }
            seen += count;
            number %= self.slots;
        }
        Ok(None)
    }

    fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..16].copy_from_slice(MAGIC);
        bytes[16..16 + BOOT_ID].copy_from_slice(&self.boot);
        for (at, number) in [(56, self.moment), (64, self.slots as u64), (72, self.used as u64)] {
            bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    fn decode(bytes: &[u8; HEADER]) -> Option<Self> {
        let number = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let boot = bytes.get(16..16 + BOOT_ID)?.try_into().ok()?;
        let index = Self {
            boot,
            moment: number(56)?,
            slots: usize::try_from(number(64)?).ok()?,
            used: usize::try_from(number(72)?).ok()?,
        };
        let sane = index.slots.is_power_of_two()
            && (FEWEST..1 << 32).contains(&index.slots)
            && index.used <= index.slots
            && (LONG_AGO..LONG_AGO + MOMENTS).contains(&index.moment);
        (&bytes[..16] == MAGIC && sane).then_some(index)
    }
}

fn slot_bytes(table: &[u8], number: usize) -> &[u8; SLOT] {
    const FREE: &[u8; SLOT] = &[0; SLOT];
    table[HEADER..].as_chunks().0.get(number).unwrap_or(FREE)
}

fn put(lock: &File, number: usize, slot: Slot) -> io::Result<()> {
    lock.write_all_at(&slot.encode(), (HEADER + number * SLOT) as u64)
}

/// The id of the time since the machine started. It is another one after each power cut.
fn boot_id() -> Option<[u8; BOOT_ID]> {
    let mut id = [0; BOOT_ID];
    File::open("/proc/sys/kernel/random/boot_id").ok()?.read_exact_at(&mut id, 0).ok()?;
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn ip(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    fn sorted(mut list: Vec<IpAddr>) -> Vec<IpAddr> {
        list.sort();
        list
    }

    #[test]
    fn a_table_counts_only_while_the_folder_has_its_moment() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, handle) = (tempfile::tempfile().unwrap(), File::open(folder.path()).unwrap());
        assert!(Index::load(&lock, &handle).is_none());
        let index = Index::write(&lock, &[(7, ip(1))]).unwrap();
        assert!(Index::load(&lock, &handle).is_none());
        handle.set_modified(index.time()).unwrap();
        assert_eq!(Index::load(&lock, &handle).unwrap().find(&lock, 7).unwrap(), [ip(1)]);
        std::fs::write(folder.path().join("x"), "").unwrap();
        assert!(Index::load(&lock, &handle).is_none());
    }

    #[test]
    fn a_table_of_an_earlier_boot_or_a_damaged_one_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let (lock, handle) = (tempfile::tempfile().unwrap(), File::open(folder.path()).unwrap());
        let index = Index::write(&lock, &[]).unwrap();
        handle.set_modified(index.time()).unwrap();
        for at in [0, 16, 56, 66] {
            let mut byte = [0];
            lock.read_exact_at(&mut byte, at).unwrap();
            lock.write_all_at(&[byte[0] ^ 1], at).unwrap();
            assert!(Index::load(&lock, &handle).is_none(), "byte {at}");
            lock.write_all_at(&byte, at).unwrap();
        }
        assert!(Index::load(&lock, &handle).is_some());
        // Cut off by somebody: what cannot be read is no "nobody holds it".
        lock.set_len(HEADER as u64).unwrap();
        assert!(Index::load(&lock, &handle).unwrap().find(&lock, 7).is_err());
    }

    #[test]
    fn a_table_that_gets_full_says_so_before_searches_get_long() {
        let lock = tempfile::tempfile().unwrap();
        let mut index = Index::write(&lock, &[]).unwrap();
        let taken = (0..=255).take_while(|number| index.insert(&lock, 3, ip(*number)).is_ok()).count();
        assert_eq!(taken, FEWEST * 3 / 4);
        assert_eq!(index.find(&lock, 3).unwrap().len(), taken);
    }

    proptest! {
        /// Few hashes at the table's end, so that searches run into each other and around it.
        #[test]
        fn a_table_answers_as_a_list_of_leases_would(
            steps in prop::collection::vec((any::<bool>(), 252u64..258, 0u8..6), 1..120)
        ) {
            let lock = tempfile::tempfile().unwrap();
            let mut index = Index::write(&lock, &[]).unwrap();
            let mut model = BTreeSet::new();
            for (adds, hash, number) in steps {
                let lease = (hash, ip(number));
                if adds && model.insert(lease) {
                    index.insert(&lock, hash, ip(number)).unwrap();
                } else if !adds {
                    prop_assert_eq!(index.remove(&lock, hash, ip(number)).is_ok(), model.remove(&lease));
                }
                for hash in 252..258 {
                    let expected: Vec<IpAddr> =
                        model.iter().filter(|lease| lease.0 == hash).map(|lease| lease.1).collect();
                    prop_assert_eq!(sorted(index.find(&lock, hash).unwrap()), expected);
                }
            }
            let all: Vec<(u64, IpAddr)> = model.into_iter().collect();
            let again = Index::write(&lock, &all).unwrap();
            for (hash, address) in &all {
                prop_assert!(again.find(&lock, *hash).unwrap().contains(address));
            }
        }
    }
}
