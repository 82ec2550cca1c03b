//! The CNI network configuration of this node: its pod ranges and MTU are kept current in it.
//!
//! `routerd-init` puts a template beside it under a name that no runtime reads. The configuration itself is made from
//! that once the node's ranges are known: a runtime that saw one without ranges would call the node ready, and its
//! pods would get no address.

pub use cni_plugin::conflist::{EditError, Edited, with_node};

use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use prefix::Prefix;

/// What the template's file name has behind the configuration's; `routerd-init` writes it.
const TEMPLATE_SUFFIX: &str = ".template";
/// What the names of files end with that runtimes take for configurations.
const RUNTIMES_READ: [&str; 3] = ["conf", "conflist", "json"];
/// The mode of a new configuration: runtimes may run as others.
const MODE: u32 = 0o644;

/// Why the configuration is not current.
#[derive(Debug, thiserror::Error)]
pub enum ConflistError {
    /// A file operation failed.
    #[error("cannot {operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Neither the configuration nor its template is there.
    #[error(
        "there is neither {path} nor its template; run routerd-init, which installs it, or use --enable-cni=false"
    )]
    Missing {
        /// The configuration's path.
        path: PathBuf,
    },
    /// It cannot take the ranges.
    #[error("the network configuration {path} cannot be used: {source}")]
    Edit {
        /// The file that was read.
        path: PathBuf,
        /// The cause.
        source: EditError,
    },
}

/// What became of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It has the ranges already; nothing was written.
    Current,
    /// It was written.
    Written,
    /// The node has no pod ranges yet, and there is no configuration yet.
    Waiting,
}

/// The configuration after [`update`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done {
    /// What became of it.
    pub outcome: Outcome,
    /// The MTU of pods that it names, in bytes: the one that was brought in, or the user's own.
    pub mtu: Option<u32>,
    /// The bridge that it names for pods.
    pub bridge: String,
    /// Ranges that the node had before, and of which there may still be pods and gateways.
    pub former: Vec<Prefix>,
    /// Every plugin in it that wires pods tells the daemon of them.
    pub tells_daemon: bool,
}

impl Done {
    fn new(outcome: Outcome, edited: Edited) -> Self {
        let Edited { text: _, mtu, bridge, former, tells_daemon } = edited;
        Self { outcome, mtu, bridge, former, tells_daemon }
    }
}

/// Brings `pod_cidrs` and, if given, the path's `mtu` (bytes) into the configuration at `path`, which is made from the template if it is
/// not there. Without pod ranges it is not made, and an existing one keeps the ranges it has.
pub fn update(path: &Path, pod_cidrs: &[Prefix], mtu: Option<u32>) -> Result<Done, ConflistError> {
    // An administrator may keep the file elsewhere; the link is not to be replaced by a file.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if let Some(text) = read(path)? {
        let mut edited = edited(path, &text, pod_cidrs, mtu)?;
        let outcome = match edited.text.take() {
            Some(text) => write(path, &text).map(|()| Outcome::Written)?,
            None => Outcome::Current,
        };
        return Ok(Done::new(outcome, edited));
    }
    let template = template_path(path);
    let Some(text) = read(&template)? else { return Err(ConflistError::Missing { path: path.clone() }) };
    let mut edited = edited(&template, &text, pod_cidrs, mtu)?;
    if pod_cidrs.is_empty() {
        return Ok(Done::new(Outcome::Waiting, edited));
    }
    // A template that has the ranges already, as a user's may, is the configuration.
    write(path, &edited.text.take().unwrap_or(text))?;
    Ok(Done::new(Outcome::Written, edited))
}

/// Takes the former ranges `gone` out of the configuration at `path`.
pub fn forget(path: &Path, gone: &[Prefix]) -> Result<(), ConflistError> {
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let Some(text) = read(path)? else { return Ok(()) };
    match cni_plugin::conflist::forget(&text, gone) {
        Ok(text) => text.map_or(Ok(()), |text| write(path, &text)),
        Err(source) => Err(ConflistError::Edit { path: path.clone(), source }),
    }
}

/// The configuration of the folder that runtimes use in place of the one at `path`: the first by name, if it sorts before.
pub fn preferred(path: &Path) -> Option<PathBuf> {
    let is_configuration = |file: &PathBuf| {
        file.extension().is_some_and(|kind| RUNTIMES_READ.iter().any(|known| kind == *known))
    };
    let files = fs::read_dir(path.parent()?).ok()?.flatten().map(|entry| entry.path());
    files.filter(|file| file.as_path() < path && is_configuration(file)).min()
}

/// The template's path for a configuration's.
fn template_path(path: &Path) -> PathBuf {
    let mut template = OsString::from(path);
    template.push(TEMPLATE_SUFFIX);
    template.into()
}

fn edited(path: &Path, text: &str, pod_cidrs: &[Prefix], mtu: Option<u32>) -> Result<Edited, ConflistError> {
    with_node(text, pod_cidrs, mtu).map_err(|source| ConflistError::Edit { path: path.to_owned(), source })
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> ConflistError {
    let path = path.to_owned();
    move |source| ConflistError::Io { operation, path, source }
}

fn read(path: &Path) -> Result<Option<String>, ConflistError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Writes it beside and renames it within the folder, which is what runtimes watch for. The name it has meanwhile is
/// one that they do not read.
fn write(path: &Path, text: &str) -> Result<(), ConflistError> {
    let mode = fs::metadata(path).map_or(MODE, |metadata| metadata.permissions().mode() & 0o7777);
    let mut aside = OsString::from(path);
    aside.push(".routerd-new");
    let aside = PathBuf::from(aside);
    let written = File::create(&aside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.sync_all()
    });
    let placed = written.and_then(|()| fs::rename(&aside, path));
    if placed.is_err() {
        // The first error is the one to tell.
        let _ = fs::remove_file(&aside);
    }
    placed.map_err(failed("write", path))?;
    // What a power cut takes back is written again at the next start.
    let _ = path.parent().map(|folder| File::open(folder).and_then(|folder| folder.sync_all()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEMPLATE: &str = r#"{"name":"n","plugins":[{"type":"routerd-cni","ipam":{"type":"host-local"}}]}"#;

    fn cidrs(text: &str) -> Vec<Prefix> {
        text.split_whitespace().map(|text| text.parse().unwrap()).collect()
    }

    fn names(folder: &Path) -> Vec<String> {
        let names =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn the_configuration_appears_when_the_ranges_are_known_and_not_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("10-kuberouter.conflist");
        assert!(matches!(update(&path, &cidrs("10.1.0.0/24"), None), Err(ConflistError::Missing { .. })));
        fs::write(template_path(&path), TEMPLATE).unwrap();
        assert_eq!(update(&path, &[], Some(1500)).unwrap().outcome, Outcome::Waiting);
        assert!(!path.exists());
        assert_eq!(update(&path, &cidrs("10.1.0.0/24"), None).unwrap().outcome, Outcome::Written);
        assert_eq!(names(folder.path()), ["10-kuberouter.conflist", "10-kuberouter.conflist.template"]);
        assert!(fs::read_to_string(&path).unwrap().contains("10.1.0.0/24"));
    }

    #[test]
    fn nothing_is_written_when_it_is_current_and_a_change_of_the_node_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.conflist");
        fs::write(template_path(&path), TEMPLATE).unwrap();
        update(&path, &cidrs("10.1.0.0/24"), None).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        let before = fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(update(&path, &cidrs("10.1.0.0/24"), None).unwrap().outcome, Outcome::Current);
        assert_eq!(update(&path, &[], None).unwrap().outcome, Outcome::Current);
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
        assert_eq!(update(&path, &cidrs("10.2.0.0/24"), None).unwrap().outcome, Outcome::Written);
        let text = fs::read_to_string(&path).unwrap();
        let subnet = |range: &str| text.contains(&format!(r#""subnet": "{range}""#));
        assert!(subnet("10.2.0.0/24") && !subnet("10.1.0.0/24"), "{text}");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "the user's mode stays");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.conflist");
        fs::write(&path, "{ broken").unwrap();
        let error = update(&path, &cidrs("10.1.0.0/24"), None).unwrap_err().to_string();
        assert!(error.contains("x.conflist") && error.contains("no JSON"), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "{ broken");
        assert_eq!(names(folder.path()), ["x.conflist"]);
    }

    #[test]
    fn a_link_to_the_configuration_stays_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.json"), folder.path().join("x.conflist"));
        fs::write(&real, TEMPLATE).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert_eq!(update(&link, &cidrs("10.1.0.0/24"), None).unwrap().outcome, Outcome::Written);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert!(fs::read_to_string(&real).unwrap().contains("10.1.0.0/24"));
    }
}
