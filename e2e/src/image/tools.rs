//! Programs of this machine with the libraries that they need, for the insides of test pods.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::Image;
use crate::process::{capture, command};

/// The Debian packages that the programs come from.
pub const PACKAGES: &[&str] =
    &["bind9-dnsutils", "busybox-static", "curl", "dash", "hostname", "libc-bin", "netcat-openbsd", "wget"];

/// What the tests call, where it is called, and where Debian has it. What looks names up must not be busybox's: a static program
/// ends with a segmentation fault when it finds the image's C library.
const PROGRAMS: [(&str, &str); 7] = [
    ("bin/sh", "/usr/bin/dash"),
    ("usr/bin/curl", "/usr/bin/curl"),
    ("usr/bin/dig", "/usr/bin/dig"),
    ("usr/bin/getent", "/usr/bin/getent"),
    ("usr/bin/hostname", "/usr/bin/hostname"),
    ("usr/bin/wget", "/usr/bin/wget"),
    ("usr/bin/nc", "/usr/bin/nc.openbsd"),
];

/// What has all the small ones, static.
const BUSYBOX: &str = "/usr/bin/busybox";

/// Where a shell in the image looks for programs.
const PATHS: &str = "/usr/sbin:/usr/bin:/sbin:/bin:/";

impl Image {
    /// Adds a shell and what Kubernetes' tests ask with from inside of pods: curl, dig, nc and the usual small programs.
    pub fn with_tools(mut self) -> Result<Self> {
        for (path, from) in PROGRAMS {
            self = self.dynamic(path, Path::new(from))?;
        }
        self = self.program("bin/busybox", Path::new(BUSYBOX))?;
        for applet in capture(command(BUSYBOX).arg("--list"))?.lines() {
            let taken = |path: &&(&str, &str)| path.0.ends_with(&format!("/{applet}"));
            if applet != "busybox" && !PROGRAMS.iter().any(|entry| taken(&entry)) {
                self.links.insert(format!("bin/{applet}"), "busybox".to_owned());
            }
        }
        PATHS.clone_into(&mut self.search_path);
        Ok(self)
    }

    /// Adds a program of this machine with its loader and its libraries, these at their own paths.
    fn dynamic(mut self, path: &str, from: &Path) -> Result<Self> {
        let told = capture(command("ldd").arg(from))
            .with_context(|| format!("the libraries of {} for the image {}", from.display(), self.name))?;
        let needed = libraries(&told);
        ensure!(!needed.is_empty(), "{} names no library:\n{told}", from.display());
        for library in needed {
            let name = library.to_string_lossy().trim_start_matches('/').to_owned();
            self.files.entry(name).or_insert(read(&library)?);
        }
        self.files.insert(path.to_owned(), read(from)?);
        Ok(self)
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("reading {} for an image", path.display()))
}

/// The files that ldd names: `name => /path (address)`, or for the loader `/path (address)`.
fn libraries(told: &str) -> Vec<PathBuf> {
    let path = |line: &str| line.split_whitespace().find(|word| word.starts_with('/')).map(PathBuf::from);
    told.lines().filter_map(path).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ldd_names_is_the_libraries_and_the_loader() {
        let told = "\tlinux-vdso.so.1 (0x0)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x1)\n\t/lib64/ld-linux-x86-64.so.2 (0x2)\n";
        let paths: Vec<String> = libraries(told).iter().map(|path| path.display().to_string()).collect();
        assert_eq!(paths, ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"]);
        assert!(libraries("\tstatically linked\n").is_empty());
    }

    #[test]
    fn a_shell_in_the_image_starts_and_finds_its_programs() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("image.tar");
        let image = Image::new("localhost/tools:dev", &["/bin/sh"], &[]).with_tools().unwrap();
        image.write(&archive).unwrap();
        let root = unpack(folder.path(), &archive);
        let words =
            "curl --version | head -n 1; dig -v 2>&1; nc -h 2>&1 | grep OpenBSD; echo a b | cut -d ' ' -f 2";
        let said =
            capture(command("chroot").arg(&root).args(["/bin/sh", "-c", words]).env("PATH", PATHS)).unwrap();
        let starts = ["curl ", "DiG ", "OpenBSD netcat", "b"];
        for (line, start) in said.lines().zip(starts) {
            assert!(line.starts_with(start), "{said}");
        }
        assert_eq!(said.lines().count(), starts.len(), "{said}");
    }

    /// The image's only layer in a folder: the blob that is larger than all the others.
    fn unpack(folder: &Path, archive: &Path) -> PathBuf {
        let (blobs, root) = (folder.join("archive"), folder.join("root"));
        std::fs::create_dir(&blobs).unwrap();
        capture(command("tar").arg("-xf").arg(archive).arg("-C").arg(&blobs)).unwrap();
        let all = std::fs::read_dir(blobs.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
        let layer = all.max_by_key(|path| path.metadata().unwrap().len()).unwrap();
        std::fs::create_dir(&root).unwrap();
        capture(command("tar").arg("-xf").arg(layer).arg("-C").arg(&root)).unwrap();
        root
    }
}
