//! Kernel settings under `/proc/sys`.
//!
//! A key is a list of path components, because an interface name may hold dots (`eth0.100`) and every
//! dotted notation then names another key: the `sysctl` crate turns each dot into a slash, and `..` into one dot.
//! So the crate serves only what [`get`] and [`set`] take, keys whose every component we wrote ourselves; a key
//! with a name in it that comes from elsewhere goes through [`read()`] and [`write()`].
//!
//! Whether a key has its value already is seen without the crate, which takes 8 system calls for a look where 3 do: the
//! daemon looks at a dozen keys before its first Service answers, and writes them once in the life of a node.
//!
//! `/proc/sys/net` shows the namespace of the calling thread: use [`crate::NetNs::run_in`].
//!
//! A container that is not privileged sees its `/proc/sys` read-only. A write that fails for that reason goes to
//! [`HOST_ROOT`], where a DaemonSet can mount the host's `/proc/sys/net` without more privilege.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;
use sysctl::{Ctl, Sysctl, SysctlError};

use crate::error::{KernelError, Result};

/// Where kernel settings live.
const ROOT: &str = "/proc/sys";
/// Where they are writable in a container whose own are read-only.
pub const HOST_ROOT: &str = "/host/proc/sys";

/// Reads a fixed key in dotted notation, as `net.ipv4.ip_forward`. White space around the value is dropped.
pub fn get(key: &'static str) -> Result<String> {
    let operation = || format!("read sysctl {key}");
    Ctl::new(key).and_then(|ctl| ctl.value_string()).map_err(|error| from_crate(operation(), error))
}

/// Writes a fixed key in dotted notation if it has another value; `true` if it was written.
pub fn set(key: &'static str, value: &str) -> Result<bool> {
    let components: Vec<&str> = key.split('.').collect();
    if read(&components)? == value {
        return Ok(false);
    }
    let operation = || format!("write {value:?} to sysctl {key}");
    let written = Ctl::new(key)
        .and_then(|ctl| ctl.set_value_string(value))
        .map(|_| true)
        .map_err(|error| from_crate(operation(), error));
    match written {
        Err(error) if error.is_read_only() => {
            write_below(HOST_ROOT, &components, value).map(|()| true).map_err(|_| error)
        }
        other => other,
    }
}

fn from_crate(operation: String, error: SysctlError) -> KernelError {
    match error {
        SysctlError::IoError(error) => KernelError::io(operation, &error),
        // The crate says so whenever the key cannot be opened.
        SysctlError::NotFound(_) => KernelError::new(operation, Errno::ENOENT),
        other => KernelError::malformed(operation, other.to_string()),
    }
}

/// Reads the key `components`, as `["net", "ipv6", "conf", "eth0.100", "accept_ra"]`; white space around the
/// value is dropped.
///
/// An absent key (a feature this kernel lacks, an interface that is gone) is an error with `is_not_found()`.
pub fn read(components: &[&str]) -> Result<String> {
    let path = path(ROOT, components)?;
    fs::File::open(&path)
        .and_then(value)
        .map_err(|error| KernelError::io(format!("read sysctl {}", path.display()), &error))
}

/// What a file of a key holds. The kernel gives it out as a whole, and none is as long as a page.
fn value(mut file: fs::File) -> io::Result<String> {
    let mut octets = [0; 4096];
    let length = file.read(&mut octets)?;
    Ok(String::from_utf8_lossy(octets.get(..length).unwrap_or_default()).trim().to_owned())
}

/// Writes `value` if the key has another one; `true` if it was written.
///
/// It reads first because a container may see `/proc/sys` read-only with the right value in it, and because a
/// write of some keys has effects even if nothing changes. A read-only file is an error with `is_read_only()`.
pub fn write(components: &[&str], value: &str) -> Result<bool> {
    if read(components)? == value {
        return Ok(false);
    }
    write_blindly(components, value).map(|()| true)
}

/// Writes `value` without looking first: for a key that is new for certain, where the look would cost more than
/// it spares.
pub fn write_blindly(components: &[&str], value: &str) -> Result<()> {
    match write_below(ROOT, components, value) {
        Err(error) if error.is_read_only() => write_below(HOST_ROOT, components, value).map_err(|_| error),
        other => other,
    }
}

/// The settings of one folder, as those of one interface, for who sets several: to find a folder below `/proc/sys/net`
/// takes the longer the more namespaces were looked at before (0.3 ms at 1,000), as the kernel keeps those of all of them
/// under the same names.
#[derive(Debug)]
pub struct Folder<'a> {
    components: Vec<&'a str>,
    handle: fs::File,
}

impl<'a> Folder<'a> {
    /// Finds the folder `components`, as `["net", "ipv6", "conf", "eth0"]`; an absent one is an error with
    /// `is_not_found()`.
    pub fn open(components: &[&'a str]) -> Result<Self> {
        let path = path(ROOT, components)?;
        let handle = fs::File::open(&path)
            .map_err(|error| KernelError::io(format!("open sysctl folder {}", path.display()), &error))?;
        Ok(Self { components: components.to_vec(), handle })
    }

    fn key(&self, key: &'a str) -> Vec<&'a str> {
        self.components.iter().copied().chain([key]).collect()
    }

    fn file(&self, key: &str, how: OFlag) -> io::Result<fs::File> {
        let opened = openat(&self.handle, key, how | OFlag::O_CLOEXEC, Mode::empty());
        opened.map(fs::File::from).map_err(io::Error::from)
    }

    /// As [`write()`].
    pub fn write(&self, key: &'a str, value: &str) -> Result<bool> {
        let path = path(ROOT, &self.key(key))?;
        let present = self.file(key, OFlag::O_RDONLY).and_then(self::value);
        let present =
            present.map_err(|error| KernelError::io(format!("read sysctl {}", path.display()), &error))?;
        if present == value {
            return Ok(false);
        }
        self.write_blindly(key, value).map(|()| true)
    }

    /// As [`write_blindly`].
    pub fn write_blindly(&self, key: &'a str, value: &str) -> Result<()> {
        let components = self.key(key);
        let path = path(ROOT, &components)?;
        let written = self.file(key, OFlag::O_WRONLY).and_then(|mut file| file.write_all(value.as_bytes()));
        match written.map_err(|error| refused(&path, value, &error)) {
            Err(error) if error.is_read_only() => {
                write_below(HOST_ROOT, &components, value).map_err(|_| error)
            }
            other => other,
        }
    }
}

fn refused(path: &Path, value: &str, error: &io::Error) -> KernelError {
    KernelError::io(format!("write {value:?} to sysctl {}", path.display()), error)
}

fn write_below(root: &str, components: &[&str], value: &str) -> Result<()> {
    let path = path(root, components)?;
    // One write system call: the kernel takes each call as a whole value.
    fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|error| refused(&path, value, &error))
}

fn path(root: &str, components: &[&str]) -> Result<PathBuf> {
    let mut path = PathBuf::from(root);
    for component in components {
        if component.is_empty() || *component == "." || *component == ".." || component.contains(['/', '\0'])
        {
            return Err(KernelError::new(format!("use sysctl {}", components.join(" / ")), Errno::EINVAL)
                .with_detail(format!("{component:?} is not one path component")));
        }
        path.push(component);
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestNs;

    #[test]
    fn a_dot_in_an_interface_name_names_the_interface_and_not_a_folder() {
        let namespace = TestNs::new("sysctl");
        namespace.run("ip", &["link", "add", "eth0.1", "type", "veth", "peer", "name", "b"]);
        let key = ["net", "ipv6", "conf", "eth0.1", "accept_ra"];
        let changed = namespace.run_in(|| write(&key, "0").unwrap());
        assert!(changed);
        assert_eq!(namespace.run("cat", &["/proc/sys/net/ipv6/conf/eth0.1/accept_ra"]).trim(), "0");
        assert!(!namespace.run_in(|| write(&key, "0").unwrap()), "the second write has nothing to do");
    }

    #[test]
    fn a_fixed_key_is_written_once() {
        let namespace = TestNs::new("sysctl");
        namespace.run_in(|| {
            assert!(set("net.ipv4.ip_forward", "1").unwrap());
            assert!(!set("net.ipv4.ip_forward", "1").unwrap());
            assert_eq!(get("net.ipv4.ip_forward").unwrap(), "1");
        });
        assert_eq!(namespace.run("cat", &["/proc/sys/net/ipv4/ip_forward"]).trim(), "1");
    }

    #[test]
    fn an_absent_key_and_a_read_only_one_are_told_apart() {
        let absent = write(&["net", "ipv4", "conf", "no-such-device", "forwarding"], "1").unwrap_err();
        assert!(absent.is_not_found() && !absent.is_read_only(), "{absent}");
        let fixed = write(&["kernel", "ostype"], "Minix").unwrap_err();
        assert!(fixed.is_read_only() && !fixed.is_not_found(), "{fixed}");
        assert!(get("net.ipv4.no_such_key").unwrap_err().is_not_found());
    }

    #[test]
    fn several_settings_of_a_folder_are_written_as_each_alone_would_be() {
        let namespace = TestNs::new("sysctl");
        namespace.run_in(|| {
            let folder = Folder::open(&["net", "ipv6", "conf", "lo"]).unwrap();
            assert!(folder.write("accept_ra", "0").unwrap());
            assert!(!folder.write("accept_ra", "0").unwrap(), "the second write has nothing to do");
            folder.write_blindly("keep_addr_on_down", "1").unwrap();
            assert!(folder.write("no_such_key", "1").unwrap_err().is_not_found());
            assert!(folder.write_blindly("../all/accept_ra", "0").is_err(), "it would leave the folder");
            assert!(Folder::open(&["net", "ipv6", "conf", "absent"]).unwrap_err().is_not_found());
        });
        let shown = namespace.run("cat", &["/proc/sys/net/ipv6/conf/lo/keep_addr_on_down"]);
        assert_eq!(shown.trim(), "1");
        assert_eq!(namespace.run("cat", &["/proc/sys/net/ipv6/conf/all/accept_ra"]).trim(), "1");
    }

    #[test]
    fn a_component_that_would_leave_its_place_is_refused() {
        for name in ["..", "", ".", "a/b", "../../kernel"] {
            assert!(read(&["net", "ipv4", "conf", name, "forwarding"]).is_err(), "{name:?}");
        }
    }
}
