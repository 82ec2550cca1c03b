//! What a socket is not woken for: a program of the classic packet filter, which the kernel runs for each message before
//! it gives it to the socket.
//!
//! Source: `Documentation/networking/filter.rst`, `include/uapi/linux/filter.h`.

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::libc::{self, sock_filter};

use crate::error::{KernelError, Result};

/// Load the octet, or the two octets in network order, at a place of the message.
const LOAD_OCTET: u16 = 0x30;
const LOAD_TWO: u16 = 0x28;
/// Go on behind so many more instructions when what was loaded is equal, or is not.
const IF_EQUAL: u16 = 0x15;
/// Give the socket so many octets of the message.
const RETURN: u16 = 0x06;

/// Which message a condition speaks of; places count from the message's header on (`struct nlmsghdr`).
#[derive(Debug, Clone, Copy)]
pub(crate) enum Is {
    /// The message type.
    Kind(u16),
    /// The octet at this place.
    Octet(u32, u8),
    /// Another octet than this.
    NotOctet(u32, u8),
}

/// Messages for which all conditions of one of `rules` hold are not given to the socket.
pub(super) fn drop_matching(socket: BorrowedFd<'_>, rules: &[&[Is]]) -> Result<()> {
    let mut program: Vec<sock_filter> = rules.iter().flat_map(|rule| encode(rule)).collect();
    program.push(statement(RETURN, u32::MAX));
    let failed = |errno| KernelError::new("filter what a netlink socket is told", errno);
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| failed(Errno::E2BIG))?,
        filter: program.as_mut_ptr(),
    };
    let size = libc::socklen_t::try_from(size_of_val(&filter)).map_err(|_| failed(Errno::EINVAL))?;
    // SAFETY: the descriptor is open for as long as it is borrowed; the kernel reads the structure and the instructions
    // that it points at, both of which live until the call has returned.
    #[expect(unsafe_code, reason = "nix has no safe wrapper for this option")]
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            std::ptr::from_ref(&filter).cast(),
            size,
        )
    };
    Errno::result(result).map(drop).map_err(failed)
}

/// One rule: two instructions for each condition, then the end for a message that meets all of them.
fn encode(rule: &[Is]) -> Vec<sock_filter> {
    let mut program = Vec::new();
    for (at, condition) in rule.iter().enumerate() {
        // Behind the end of this rule the next one begins.
        let left = (rule.len() - at - 1) * 2 + 1;
        let next = u8::try_from(left).unwrap_or(u8::MAX);
        let (load, place, value, jumps) = match *condition {
            // The header is in the order of this machine, which the filter does not know.
            Is::Kind(kind) => (LOAD_TWO, 4, u32::from(u16::from_be_bytes(kind.to_ne_bytes())), (0, next)),
            Is::Octet(place, value) => (LOAD_OCTET, place, u32::from(value), (0, next)),
            Is::NotOctet(place, value) => (LOAD_OCTET, place, u32::from(value), (next, 0)),
        };
        program.push(statement(load, place));
        program.push(sock_filter { code: IF_EQUAL, jt: jumps.0, jf: jumps.1, k: value });
    }
    program.push(statement(RETURN, 0));
    program
}

fn statement(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}
