//! Work that nobody waits for, in a process of its own.

use std::fs::OpenOptions;
use std::io;

use nix::unistd::{ForkResult, dup2_stderr, dup2_stdin, dup2_stdout, fork};

use crate::error::{KernelError, Result};

/// Does `work` in a child process and returns at once. The child ends with the work; it has no part in this process'
/// input and outputs, so that who waits for their end does not wait for the child. What it finds out is lost.
///
/// For a process that has one thread and is about to end: a lock that another thread holds would stay locked in the
/// child, and nobody here asks how the child ended.
pub fn aside(work: impl FnOnce()) -> Result<()> {
    // SAFETY: with one thread the child may do all that this process may (fork(2)).
    #[expect(unsafe_code, reason = "nix marks it because of programs with several threads")]
    let forked = unsafe { fork() };
    match forked {
        Err(errno) => Err(KernelError::new("start a process for what nobody waits for", errno)),
        Ok(ForkResult::Parent { .. }) => Ok(()),
        Ok(ForkResult::Child) => {
            if leave_streams().is_ok() {
                work();
            }
            #[expect(clippy::exit, reason = "the child must not go on with what its parent does")]
            std::process::exit(0)
        }
    }
}

fn leave_streams() -> io::Result<()> {
    let nowhere = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&nowhere)?;
    dup2_stdout(&nowhere)?;
    dup2_stderr(&nowhere)?;
    Ok(())
}
