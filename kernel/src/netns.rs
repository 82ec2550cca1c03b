//! Network namespaces: opening, making, removing them, and running code inside one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::statfs::{NSFS_MAGIC, fstatfs};

use crate::error::{KernelError, Result};

/// Where `ip netns` and the container runtimes keep named namespaces.
const NAMED: &str = "/run/netns";
/// The calling thread's own namespace. `/proc/self` would be the main thread's, which may be another one.
const OWN: &str = "/proc/thread-self/ns/net";

nix::ioctl_none_bad!(
    /// `NS_GET_NSTYPE` (`include/uapi/linux/nsfs.h`): the `CLONE_NEW*` number of a namespace's kind.
    namespace_type,
    nix::request_code_none!(0xb7, 3)
);

/// What makes two descriptors of a namespace the same namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NetNsId {
    /// The device number of the namespace file system.
    pub device: u64,
    /// The inode number in it.
    pub inode: u64,
}

/// An open network namespace. It stays alive as long as this value does, even when its name is removed.
#[derive(Debug)]
pub struct NetNs {
    file: File,
    path: PathBuf,
}

impl NetNs {
    /// Opens the namespace that `path` (`/run/netns/x`, `/proc/1234/ns/net`) stands for.
    ///
    /// An absent path gives an error with `is_not_found()`; a file that is there but is no network namespace (as
    /// what is left of a name after a reboot) gives `EINVAL`, see [`is_not_a_namespace`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let operation = || format!("open network namespace {}", path.display());
        let file = OpenOptions::new()
            .read(true)
            // A FIFO of that name must not block us.
            .custom_flags(nix::libc::O_NONBLOCK)
            .open(path)
            .map_err(|error| KernelError::io(operation(), &error))?;
        let kind = fstatfs(&file).map_err(|errno| KernelError::new(operation(), errno))?.filesystem_type();
        if kind != NSFS_MAGIC {
            return Err(KernelError::new(operation(), Errno::EINVAL)
                .with_detail("the file is there but is not a namespace (its mount is gone)"));
        }
        // SAFETY: the request takes no argument and only reads the kind of the open namespace.
        #[expect(unsafe_code, reason = "nix has no safe wrapper for NS_GET_NSTYPE")]
        let kind = unsafe { namespace_type(file.as_raw_fd()) }
            .map_err(|errno| KernelError::new(operation(), errno))?;
        if kind != CloneFlags::CLONE_NEWNET.bits() {
            return Err(KernelError::new(operation(), Errno::EINVAL)
                .with_detail("it is a namespace of another kind than network"));
        }
        Ok(Self { file, path: path.to_owned() })
    }

    /// The calling thread's namespace.
    pub fn current() -> Result<Self> {
        Self::open(OWN)
    }

    /// The namespace of a process.
    pub fn of_process(pid: u32) -> Result<Self> {
        Self::open(format!("/proc/{pid}/ns/net"))
    }

    /// A namespace made by [`NetNs::create`] or `ip netns add`.
    pub fn named(name: &str) -> Result<Self> {
        Self::open(Self::path_of(name)?)
    }

    /// The path that stands for a name; a name that would leave the folder is refused.
    fn path_of(name: &str) -> Result<PathBuf> {
        if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\0']) {
            return Err(KernelError::new(format!("use network namespace name {name:?}"), Errno::EINVAL)
                .with_detail("a name is one file name"));
        }
        Ok(Path::new(NAMED).join(name))
    }

    /// Makes a new namespace under `/run/netns/<name>`, as `ip netns add` does. The caller stays where it is.
    pub fn create(name: &str) -> Result<Self> {
        let path = Self::path_of(name)?;
        let operation = format!("create network namespace {name}");
        let _lock = prepare_folder().map_err(|error| error.named(operation.clone()))?;
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o444)
            .open(&path)
            .map_err(|error| KernelError::io(operation.clone(), &error))?;
        let made = in_thread(&operation, || {
            unshare(CloneFlags::CLONE_NEWNET)?;
            mount(Some(OWN), &path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        })
        .and_then(|made| made.map_err(|errno| KernelError::new(operation.clone(), errno)))
        .and_then(|()| Self::open(&path));
        if made.is_err() {
            let _ = umount2(&path, MntFlags::MNT_DETACH);
            let _ = std::fs::remove_file(&path);
        }
        made
    }

    /// Removes the name; the namespace itself ends with its last process and descriptor.
    pub fn delete(name: &str) -> Result<()> {
        let path = Self::path_of(name)?;
        let operation = format!("delete network namespace {name}");
        match umount2(&path, MntFlags::MNT_DETACH) {
            // EINVAL: nothing is mounted there, as after a reboot; the empty file still has to go.
            Ok(()) | Err(Errno::EINVAL) => {}
            Err(errno) => return Err(KernelError::new(operation, errno)),
        }
        std::fs::remove_file(&path).map_err(|error| KernelError::io(operation, &error))
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The identity of the calling thread's namespace.
    pub(crate) fn current_id() -> Result<NetNsId> {
        let metadata =
            std::fs::metadata(OWN).map_err(|error| KernelError::io(format!("identify {OWN}"), &error))?;
        Ok(NetNsId { device: metadata.dev(), inode: metadata.ino() })
    }

    /// The namespace's identity.
    pub fn id(&self) -> Result<NetNsId> {
        let metadata = self
            .file
            .metadata()
            .map_err(|error| KernelError::io(format!("identify {}", self.path.display()), &error))?;
        Ok(NetNsId { device: metadata.dev(), inode: metadata.ino() })
    }

    /// True if both are the same namespace, whatever their paths are.
    pub fn is_same(&self, other: &NetNs) -> Result<bool> {
        Ok(self.id()? == other.id()?)
    }

    /// Runs `inside` in this namespace on the calling thread, which is home again when this returns.
    ///
    /// For a process whose time counts: a thread of its own, as [`NetNs::run_in`] has, waits for a free processor
    /// first, which on a busy node takes longer than all the work. If the way home should fail, the process is
    /// aborted, as it must not go on in the wrong namespace.
    pub fn visit<T>(&self, inside: impl FnOnce() -> T) -> Result<T> {
        let home = WayHome(Self::current()?);
        setns(&self.file, CloneFlags::CLONE_NEWNET).map_err(|errno| {
            KernelError::new(format!("enter network namespace {}", self.path.display()), errno)
        })?;
        let result = inside();
        drop(home);
        Ok(result)
    }

    /// Runs `inside` in this namespace and gives its result.
    ///
    /// It runs on a thread of its own, so that whatever happens in it the caller never stays in the wrong
    /// namespace; a panic in it goes on in the caller.
    pub fn run_in<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> Result<T> {
        let operation = format!("enter network namespace {}", self.path.display());
        let entered = in_thread(&operation, || {
            setns(&self.file, CloneFlags::CLONE_NEWNET)?;
            Ok::<T, Errno>(inside())
        })?;
        entered.map_err(|errno| KernelError::new(operation, errno))
    }
}

/// Takes the thread home when dropped, so also when the visit ends by a panic.
struct WayHome(NetNs);

impl Drop for WayHome {
    fn drop(&mut self) {
        if let Err(errno) = setns(&self.0.file, CloneFlags::CLONE_NEWNET) {
            // Everything that would follow, also the undoing of what was done, would hit the wrong namespace.
            eprintln!("cannot return to the own network namespace: {}", errno.desc());
            std::process::abort();
        }
    }
}

impl AsFd for NetNs {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for NetNs {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// True if [`NetNs::open`] found a file that is no network namespace, apart from "nothing is there".
pub fn is_not_a_namespace(error: &KernelError) -> bool {
    error.errno == Errno::EINVAL
}

/// Runs `work` on a fresh thread that ends afterwards and takes its namespace with it.
fn in_thread<T: Send>(operation: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("netns".to_owned())
            .spawn_scoped(scope, work)
            .map_err(|error| KernelError::io(operation, &error))?;
        thread.join().or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Makes `/run/netns` a mount point that propagates to other mount namespaces, as `ip netns` does, so that a
/// namespace deleted here does not live on in a container's copy of the mounts. Returns the lock that `ip`
/// takes as well.
fn prepare_folder() -> Result<Flock<File>> {
    let operation = format!("prepare {NAMED}");
    match DirBuilder::new().mode(0o755).create(NAMED) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(KernelError::io(operation, &error));
        }
        _ => {}
    }
    let folder = File::open(NAMED).map_err(|error| KernelError::io(operation.clone(), &error))?;
    let lock = Flock::lock(folder, FlockArg::LockExclusive)
        .map_err(|(_, errno)| KernelError::new(operation.clone(), errno))?;
    let share =
        || mount(None::<&str>, NAMED, None::<&str>, MsFlags::MS_SHARED | MsFlags::MS_REC, None::<&str>);
    if let Err(Errno::EINVAL) = share() {
        // It is no mount point yet.
        mount(Some(NAMED), NAMED, None::<&str>, MsFlags::MS_BIND | MsFlags::MS_REC, None::<&str>)
            .and_then(|()| share())
            .map_err(|errno| KernelError::new(operation, errno))?;
    }
    Ok(lock)
}
