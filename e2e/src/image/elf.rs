//! Is a program static? In an image without a C library nothing else can start, and what the runtime says then
//! ("no such file or directory") misleads.

/// The program header that names a dynamic loader (`PT_INTERP` of the System V ABI).
const INTERPRETER: u32 = 3;

/// Does a 64-bit little-endian ELF program ask for a dynamic loader? What is no such program does not.
pub(super) fn needs_a_loader(program: &[u8]) -> bool {
    if !program.starts_with(b"\x7fELF\x02\x01") {
        return false;
    }
    // Offset of the program headers, their size and their number, at fixed places of the file header.
    let (Some(start), Some(size), Some(count)) =
        (number(program, 32, 8), number(program, 54, 2), number(program, 56, 2))
    else {
        return false;
    };
    (0..count)
        .any(|index| number(program, start.saturating_add(index * size), 4) == Some(INTERPRETER as usize))
}

fn number(program: &[u8], at: usize, width: usize) -> Option<usize> {
    let bytes = program.get(at..at.checked_add(width)?)?;
    Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | usize::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_of_this_system_needs_a_loader_and_a_torn_one_is_no_program() {
        let shell = std::fs::read("/bin/sh").unwrap();
        assert!(needs_a_loader(&shell));
        assert!(!needs_a_loader(&shell[..40]));
        assert!(!needs_a_loader(b"#!/bin/sh"));
    }
}
