//! Where a runtime keeps network namespaces, as far as it can be seen from here.

use std::path::{Path, PathBuf};

/// True if there is something at `path`, a network namespace's; `None` if that cannot be told from here: the daemon may
/// run in a container that has none of the node's folders but those it was given.
pub(super) fn is_there(path: &Path) -> Option<bool> {
    let path = on_node(path);
    // Processes of others are not to be seen from a process namespace of our own.
    if !path.is_absolute() || path.starts_with("/proc") || !path.parent()?.is_dir() {
        return None;
    }
    path.try_exists().ok()
}

/// Runtimes write `/var/run`, which is a link that a container does not have.
fn on_node(path: &Path) -> PathBuf {
    path.strip_prefix("/var/run").map_or_else(|_| path.to_owned(), |rest| Path::new("/run").join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_that_is_seen_tells_that_something_is_not_in_it() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("cni-1"), "").unwrap();
        assert_eq!(is_there(&folder.path().join("cni-1")), Some(true));
        assert_eq!(is_there(&folder.path().join("cni-2")), Some(false));
        assert_eq!(is_there(&folder.path().join("absent/cni-2")), None);
        for path in ["/proc/1/ns/net", "", "relative"] {
            assert_eq!(is_there(Path::new(path)), None, "{path:?}");
        }
        assert_eq!(on_node(Path::new("/var/run/netns/x")), Path::new("/run/netns/x"));
    }
}
