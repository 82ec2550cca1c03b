//! A tar archive in the POSIX ustar form, with nothing of this machine or this minute in it: owner
//! 0, time 0. Two archives of the same content are the same bytes.

use std::io::Write;

use anyhow::{Context, Result, bail};

/// The unit of a tar archive, in bytes.
const BLOCK: usize = 512;

/// The longest name that fits without a prefix field.
const LONGEST_NAME: usize = 100;

/// What an entry is (the type flag of its header).
#[derive(Debug, Clone, Copy)]
enum Kind {
    File = b'0' as isize,
    Link = b'2' as isize,
    Folder = b'5' as isize,
}

/// An archive that is being written.
pub(super) struct Archive<W: Write> {
    to: W,
}

impl<W: Write> Archive<W> {
    /// Begins an archive.
    pub(super) fn new(to: W) -> Self {
        Self { to }
    }

    /// Adds a folder.
    pub(super) fn folder(&mut self, name: &str, mode: u32) -> Result<()> {
        self.to.write_all(&header(&format!("{name}/"), mode, 0, (Kind::Folder, ""))?)?;
        Ok(())
    }

    /// Adds a file.
    pub(super) fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> Result<()> {
        self.to.write_all(&header(name, mode, content.len(), (Kind::File, ""))?)?;
        self.to.write_all(content)?;
        let rest = content.len().next_multiple_of(BLOCK) - content.len();
        self.to.write_all(&[0; BLOCK][..rest])?;
        Ok(())
    }

    /// Adds a symbolic link.
    pub(super) fn link(&mut self, name: &str, target: &str) -> Result<()> {
        self.to.write_all(&header(name, 0o777, 0, (Kind::Link, target))?)?;
        Ok(())
    }

    /// Ends the archive with its two empty blocks and gives the writer back.
    pub(super) fn finish(mut self) -> Result<W> {
        self.to.write_all(&[0; 2 * BLOCK])?;
        self.to.flush()?;
        Ok(self.to)
    }
}

/// One header block: name, mode, owner, group, size, time, checksum, type, magic (POSIX.1-1988, "ustar interchange format").
fn header(name: &str, mode: u32, size: usize, (kind, target): (Kind, &str)) -> Result<[u8; BLOCK]> {
    if let Some(long) = [name, target].into_iter().find(|text| text.len() > LONGEST_NAME) {
        bail!("the name {long} is too long for a tar header: at most {LONGEST_NAME} bytes");
    }
    let mut block = [0_u8; BLOCK];
    block[..name.len()].copy_from_slice(name.as_bytes());
    octal(&mut block[100..108], u64::from(mode))?;
    octal(&mut block[108..116], 0)?;
    octal(&mut block[116..124], 0)?;
    octal(&mut block[124..136], size as u64)?;
    octal(&mut block[136..148], 0)?;
    block[156] = kind as u8;
    block[157..157 + target.len()].copy_from_slice(target.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    // The checksum is taken with its own field full of blanks.
    block[148..156].fill(b' ');
    let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
    octal(&mut block[148..155], sum)?;
    Ok(block)
}

/// Writes a number in octal digits that fill the field but for its last byte, which ends it.
fn octal(field: &mut [u8], value: u64) -> Result<()> {
    let width = field.len() - 1;
    let digits = format!("{value:0width$o}");
    if digits.len() > width {
        return Err(std::fmt::Error)
            .with_context(|| format!("{value} does not fit into {width} octal digits of a tar header"));
    }
    field[..width].copy_from_slice(digits.as_bytes());
    field[width] = 0;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{capture, command};

    #[test]
    fn another_tar_reads_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        let mut archive = Archive::new(std::fs::File::create(&path).unwrap());
        archive.folder("opt", 0o755).unwrap();
        archive.file("opt/program", 0o755, &[7; 513]).unwrap();
        archive.file("empty", 0o600, &[]).unwrap();
        archive.link("again", "opt/program").unwrap();
        archive.finish().unwrap();
        let list = capture(command("tar").arg("-tvf").arg(&path).env("TZ", "UTC").args(["--numeric-owner"]))
            .unwrap();
        let lines: Vec<Vec<&str>> = list.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[0], ["drwxr-xr-x", "0/0", "0", "1970-01-01", "00:00", "opt/"]);
        assert_eq!(lines[1], ["-rwxr-xr-x", "0/0", "513", "1970-01-01", "00:00", "opt/program"]);
        assert_eq!(lines[2], ["-rw-------", "0/0", "0", "1970-01-01", "00:00", "empty"]);
        assert_eq!(lines[3][5..], ["again", "->", "opt/program"]);
        capture(command("tar").arg("-xf").arg(&path).arg("-C").arg(folder.path())).unwrap();
        assert_eq!(std::fs::read(folder.path().join("again")).unwrap(), [7; 513]);
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        assert!(header(&"x".repeat(101), 0o644, 0, (Kind::File, "")).is_err());
    }
}
