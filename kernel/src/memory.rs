//! The process' own memory, of which it takes most at its start.

#[cfg(target_env = "gnu")]
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
