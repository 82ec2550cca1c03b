//! The process' own memory, of which it takes most at its start.

use nix::libc;

/// Lets all threads share two pools of memory: of many, each would keep for itself what was freed in it. To be called before
/// threads are started. With another C library than glibc it does nothing.
pub fn share_pools() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: the call takes numbers and no pointers. It is refused only for numbers that mean nothing, and then all
        // stays as it was.
        #[expect(unsafe_code, reason = "there is no safe wrapper of mallopt(3)")]
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, 2);
        }
    }
}

/// Gives what is free back to the kernel, as after the work of a start. With another C library than glibc it does nothing.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: the call takes the number of octets to keep at the top and no pointers, and only touches memory that nobody
        // has; it locks what it needs.
        #[expect(unsafe_code, reason = "there is no safe wrapper of malloc_trim(3)")]
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

/// Lets go of the program's code, most of which only its start needed: what is used again comes back from the kernel's cache of the
/// program's file, a few pages at a time.
pub fn leave_code() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    for (address, length) in maps.lines().filter_map(code) {
        // SAFETY: the kernel says that this range holds code of a file, which is neither written (it is mapped to be read and executed, and
        // no other way) nor anything that is not in the file. A page that is gone is read from the file when somebody needs it, also by who
        // executes it now. A refusal changes nothing.
        #[expect(unsafe_code, reason = "the wrapper of madvise(2) is unsafe, too")]
        unsafe {
            libc::madvise(std::ptr::with_exposed_provenance_mut(address), length, libc::MADV_DONTNEED);
        }
    }
}

/// Address and length of code that comes from a file, in a line of `/proc/self/maps` (proc(5)).
fn code(line: &str) -> Option<(usize, usize)> {
    let mut words = line.split_whitespace();
    let (from, to) = words.next()?.split_once('-')?;
    let mut rest = words.filter(|word| *word == "r-xp" || word.starts_with('/'));
    rest.next().filter(|permissions| *permissions == "r-xp")?;
    rest.next()?;
    let (from, to) = (usize::from_str_radix(from, 16).ok()?, usize::from_str_radix(to, 16).ok()?);
    Some((from, to.checked_sub(from)?))
}

/// How many octets of memory are handed out, as the C library counts them (with its own headers). 0 with another library than
/// glibc. For tests of what values take.
#[cfg(any(test, feature = "testing"))]
pub fn in_use() -> usize {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: the call takes nothing and returns numbers; it locks what it needs.
        #[expect(unsafe_code, reason = "there is no safe wrapper of mallinfo2(3)")]
        let info = unsafe { libc::mallinfo2() };
        info.uordblks + info.hblkhd
    }
    #[cfg(not(target_env = "gnu"))]
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// KiB of files that are in this process' memory.
    fn of_files() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssFile:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    #[test]
    fn code_that_was_left_takes_no_memory_until_it_runs_again() {
        // Other tests run at the same time, and bring theirs back.
        let less = (0..100).any(|_| {
            let before = of_files();
            leave_code();
            of_files() < before
        });
        assert!(less, "{} KiB are there still", of_files());
    }

    #[test]
    fn only_the_code_of_files_is_found() {
        let line = "00401000-00403000 r-xp 00001000 fe:00 99 /usr/bin/a program";
        assert_eq!(code(line), Some((0x0040_1000, 0x2000)));
        for line in [
            "00401000-00403000 r--p 00001000 fe:00 99 /usr/bin/program",
            "00401000-00403000 rwxp 00001000 fe:00 99 /usr/bin/program",
            "7ffd1000-7ffd3000 r-xp 00000000 00:00 0 [vdso]",
            "7ffd1000-7ffd3000 r-xp 00000000 00:00 0",
        ] {
            assert_eq!(code(line), None, "{line}");
        }
    }
}
