//! The thread that looks at the folder: at once when inotify says so, and slowly by itself for what inotify misses.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};
use tokio::sync::mpsc::Sender;

use super::super::Kind;
use super::super::source::SourceMessage;
use super::folder::Folder;

/// Changes that come this close together are one (a `cp` of several files).
const GATHER: Duration = Duration::from_millis(3);
/// The longest time to gather, when they keep coming.
const GATHER_AT_MOST: Duration = Duration::from_millis(50);
/// How long one wait for events lasts at most, so that the end of the daemon is noticed.
const TICK: Duration = Duration::from_millis(500);
/// How often the whole folder is looked at without being told.
const RESCAN: Duration = Duration::from_secs(10);
/// A file that inotify did not speak of is read when it has rested for so long: it may be half written.
const REST: Duration = Duration::from_secs(1);

/// What tells that a file is another one than before.
type Stamp = (u64, u64, i64, i64, u64);

/// Starts the thread. It ends when nobody listens to `sender` any more.
pub fn spawn(path: PathBuf, sender: Sender<SourceMessage>) -> io::Result<()> {
    let watcher =
        Watcher { path, sender, folder: Folder::default(), stamps: BTreeMap::new(), complete: false };
    std::thread::Builder::new().name("manifests".to_owned()).spawn(move || watcher.run())?;
    Ok(())
}

struct Watcher {
    path: PathBuf,
    sender: Sender<SourceMessage>,
    folder: Folder,
    stamps: BTreeMap<String, Stamp>,
    complete: bool,
}

/// What happened in the folder.
#[derive(Debug, Default)]
struct Happened {
    /// These files were written, moved or removed.
    names: BTreeSet<String>,
    /// These were created; they are read when their writer closes them, or now if they are links.
    created: BTreeSet<String>,
    /// Look at everything.
    all: bool,
    /// The folder itself went, or events were lost.
    watch_again: bool,
}

impl Watcher {
    fn run(mut self) {
        while !self.sender.is_closed() {
            // The watch comes before the scan, so that nothing between them is lost.
            match watch(&self.path) {
                Ok(inotify) => {
                    if self.scan(true).is_some() {
                        self.follow(&inotify);
                    }
                }
                Err(error) => {
                    let message = format!("the folder cannot be watched: {error}; it is tried again");
                    self.say(vec![(self.path.display().to_string(), message)]);
                }
            }
            std::thread::sleep(TICK);
        }
    }

    /// Follows the folder until the watch is lost or nobody listens.
    fn follow(&mut self, inotify: &Inotify) {
        let mut rescan = Instant::now() + RESCAN;
        while !self.sender.is_closed() {
            let happened = wait(inotify);
            if happened.watch_again {
                return;
            }
            let is_link = |name: &&String| self.path.join(name).is_symlink();
            let links: Vec<String> = happened.created.iter().filter(is_link).cloned().collect();
            let touched = happened.names.iter().chain(&links);
            let touched: BTreeSet<&String> = touched.filter(|name| is_manifest(name)).collect();
            for name in &touched {
                self.load(name);
            }
            if happened.all || rescan <= Instant::now() {
                rescan = Instant::now() + RESCAN;
                if self.scan(happened.all).is_none() {
                    return;
                }
            } else if !touched.is_empty() {
                self.publish();
            }
        }
    }

    /// Looks at every file and reads those that are new or changed. `None` if the folder cannot be listed; its objects
    /// then stay.
    fn scan(&mut self, also_fresh: bool) -> Option<()> {
        let entries = match list(&self.path) {
            Ok(entries) => entries,
            Err(error) => {
                let message =
                    format!("the folder cannot be read: {error}; its objects stay as they were before");
                self.say(vec![(self.path.display().to_string(), message)]);
                return None;
            }
        };
        for name in self.folder.names() {
            if !entries.contains_key(&name) {
                self.folder.remove(&name);
                self.stamps.remove(&name);
            }
        }
        for (name, (stamp, modified)) in entries {
            let fresh = modified.elapsed().is_ok_and(|age| age < REST);
            if self.stamps.get(&name) != Some(&stamp) && (also_fresh || !fresh) {
                self.load(&name);
            }
        }
        self.publish();
        Some(())
    }

    fn load(&mut self, name: &str) {
        let path = self.path.join(name);
        match stamp(&path) {
            Ok((stamp, _)) => {
                let content = read(&path).map_err(|error| format!("the file cannot be read: {error}"));
                let text = content.and_then(|bytes| {
                    String::from_utf8(bytes).map_err(|error| format!("the file is not UTF-8 text: {error}"))
                });
                self.stamps.insert(name.to_owned(), stamp);
                self.folder.load(name, text);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.stamps.remove(name);
                self.folder.remove(name);
            }
            Err(error) => self.folder.load(name, Err(format!("the file cannot be read: {error}"))),
        }
    }

    fn publish(&mut self) {
        let started = Instant::now();
        let events = self.folder.changes();
        tracing::debug!(changes = events.len(), took = ?started.elapsed(), "compared the folder");
        if !self.complete {
            self.complete = true;
            for kind in Kind::ALL {
                self.send(SourceMessage::Complete(kind, self.folder.objects(kind)));
            }
        } else if !events.is_empty() {
            self.send(SourceMessage::Events(events));
        }
        self.say(self.folder.problems());
    }

    fn say(&self, problems: Vec<(String, String)>) {
        self.send(SourceMessage::AllProblems(problems));
    }

    fn send(&self, message: SourceMessage) {
        // A closed channel is the end of the daemon; the loops look at it.
        let _ = self.sender.blocking_send(message);
    }
}

fn is_manifest(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    !name.starts_with('.') && matches!(extension, Some("yaml" | "yml" | "json"))
}

fn watch(path: &Path) -> Result<Inotify, Errno> {
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    // CLOSE_WRITE and not MODIFY: a file is read when its writer is done with it. CREATE is for symbolic links.
    let flags = AddWatchFlags::IN_CLOSE_WRITE
        | AddWatchFlags::IN_CREATE
        | AddWatchFlags::IN_MOVED_TO
        | AddWatchFlags::IN_MOVED_FROM
        | AddWatchFlags::IN_DELETE
        | AddWatchFlags::IN_DELETE_SELF
        | AddWatchFlags::IN_MOVE_SELF
        | AddWatchFlags::IN_ONLYDIR;
    inotify.add_watch(path, flags)?;
    Ok(inotify)
}

/// Waits for events, at most one [`TICK`], and gathers those that follow closely.
fn wait(inotify: &Inotify) -> Happened {
    let mut happened = Happened::default();
    let mut patience = TICK;
    let mut enough = None;
    loop {
        let mut fds = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        match poll(&mut fds, timeout) {
            Ok(0) => return happened,
            Ok(_) => match inotify.read_events() {
                Ok(events) => events.iter().for_each(|event| happened.note(event)),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(_) => happened.watch_again = true,
            },
            Err(Errno::EINTR) => {}
            Err(_) => happened.watch_again = true,
        }
        if happened.watch_again {
            return happened;
        }
        patience = GATHER;
        if *enough.get_or_insert_with(|| Instant::now() + GATHER_AT_MOST) <= Instant::now() {
            return happened;
        }
    }
}

impl Happened {
    fn note(&mut self, event: &InotifyEvent) {
        let lost = AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_IGNORED
            | AddWatchFlags::IN_UNMOUNT;
        if event.mask.intersects(lost) {
            self.watch_again = true;
        } else if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            self.all = true;
        } else if let Some(name) = event.name.as_ref().and_then(|name| name.to_str()) {
            // The kubelet switches the files of a ConfigMap by moving this link.
            self.all |= name == "..data";
            let set =
                if event.mask == AddWatchFlags::IN_CREATE { &mut self.created } else { &mut self.names };
            set.insert(name.to_owned());
        }
    }
}

fn stamp(path: &Path) -> io::Result<(Stamp, SystemTime)> {
    let data = fs::metadata(path)?;
    Ok(((data.dev(), data.ino(), data.mtime(), data.mtime_nsec(), data.size()), data.modified()?))
}

/// The content of a regular file. Of anything else nothing is read: a FIFO would be waited for without end.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let no_file = || io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file");
    if !fs::metadata(path)?.is_file() {
        return Err(no_file());
    }
    // It may be another one by now.
    let mut file = fs::File::options().read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(no_file());
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    Ok(content)
}

fn list(path: &Path) -> io::Result<BTreeMap<String, (Stamp, SystemTime)>> {
    let mut entries = BTreeMap::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        // One that goes while the folder is listed was not there.
        if let (true, Ok(found)) = (is_manifest(&name), stamp(&entry.path())) {
            entries.insert(name, found);
        }
    }
    Ok(entries)
}
