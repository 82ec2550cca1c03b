//! The network configuration: the template of a new one, and what becomes of one that is there.
//!
//! The template lies beside the real file under a name that no runtime reads. routerd makes the real file from it as
//! soon as the node's pod ranges are known: a runtime that saw a configuration without ranges would call the node
//! ready. A configuration of kube-router that is there already is taken over: it keeps everything, and the plugin that
//! wires pods becomes routerd's.

mod adopt;
mod check;
pub mod fuzzing;

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::file::{self, BACKUP, InstallError, failed, with_suffix};

/// The template that is used if the user gives none.
const BUILT_IN: &str = include_str!("../../../cni/10-kuberouter.conflist");
/// What the template's file name has behind the real one's.
const SUFFIX: &str = ".template";
/// `rw-r--r--`.
const MODE: u32 = 0o644;
/// The file names that runtimes take for a configuration.
const EXTENSIONS: [&str; 3] = ["conf", "conflist", "json"];

/// Where the template comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Template {
    /// This program.
    BuiltIn,
    /// A file, as from a ConfigMap.
    File(PathBuf),
}

/// What became of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The template is written; routerd will make the configuration from it.
    Template(PathBuf),
    /// A configuration is there already and stays in use.
    Kept(PathBuf),
    /// A configuration of kube-router is ours now.
    TakenOver {
        /// The configuration.
        path: PathBuf,
        /// What it was.
        backup: PathBuf,
    },
    /// What was there before routerd is back.
    PutBack(PathBuf),
    /// The template, or a configuration made from it, is gone.
    Removed(PathBuf),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Template(path) => write!(f, "wrote {}; routerd adds the pod ranges", path.display()),
            Outcome::Kept(path) => {
                write!(f, "kept {} as it is; delete it to start from the template", path.display())
            }
            Outcome::TakenOver { path, backup } => write!(
                f,
                "took over {}: its type bridge is routerd-cni now, all else is as it was; what it was is kept as {}",
                path.display(),
                backup.display()
            ),
            Outcome::PutBack(path) => write!(f, "put back {}, as it was before routerd", path.display()),
            Outcome::Removed(path) => write!(f, "removed {}", path.display()),
        }
    }
}

/// Installs the template for the configuration `conflist`, and takes over a configuration of kube-router if all plugins
/// are there: until then the node's pods go on with the one in use.
pub fn install(
    template: &Template,
    conflist: &Path,
    plugins_are_there: bool,
) -> Result<Outcome, InstallError> {
    let (name, text) = match template {
        Template::BuiltIn => ("the built-in template".to_owned(), BUILT_IN.to_owned()),
        Template::File(path) => {
            (path.display().to_string(), fs::read_to_string(path).map_err(failed("read the template", path))?)
        }
    };
    let text = shaped(text, conflist).map_err(|reason| InstallError::Template { path: name, reason })?;
    if let Some(folder) = conflist.parent() {
        file::remove_abandoned(folder);
    }
    let target = template_path(conflist);
    if fs::read(&target).ok().as_deref() != Some(text.as_bytes()) {
        file::write(&target, text.as_bytes(), MODE)?;
    }
    if !plugins_are_there {
        return Ok(Outcome::Template(target));
    }
    // An older kube-router had a file of another kind, which runtimes would go on to prefer.
    let single = Some(conflist.with_extension("conf")).filter(|single| single != conflist);
    if let Some(outcome) = take_over(conflist, conflist)? {
        let finished = single.and_then(|single| finish(&single, conflist).transpose()).transpose()?;
        return Ok(finished.unwrap_or(outcome));
    }
    let old = single.and_then(|single| take_over(&single, conflist).transpose()).transpose()?;
    Ok(old.unwrap_or(Outcome::Template(target)))
}

/// The template's path for a configuration's.
pub fn template_path(conflist: &Path) -> PathBuf {
    with_suffix(conflist, SUFFIX)
}

/// The text of a template in the form that the name of the configuration asks for.
fn shaped(text: String, conflist: &Path) -> Result<String, String> {
    let conf = check::parse(&text)?;
    match (is_list(conflist), conf.contains_key("plugins")) {
        (true, false) => Ok(pretty(adopt::as_list(conf))),
        (false, true) => Ok(pretty(adopt::as_single(conf)?)),
        _ => Ok(text),
    }
}

fn is_list(conflist: &Path) -> bool {
    conflist.extension().is_some_and(|extension| extension == "conflist")
}

fn pretty(conf: Map<String, Value>) -> String {
    // Its own form has no line breaks; this one is as the rest of the folder is.
    format!("{:#}\n", Value::Object(conf))
}

fn read(path: &Path) -> Result<Option<String>, InstallError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed("read", path)(error)),
    }
}

/// Makes `target` from the configuration at `path`, which may be the same file; `None` if nothing is there. Until the
/// new one is in place the old one is, so that the runtime always has one.
fn take_over(path: &Path, target: &Path) -> Result<Option<Outcome>, InstallError> {
    let Some(text) = read(path)? else { return Ok(None) };
    let mut conf = check::parse(&text)
        .map_err(|reason| InstallError::Configuration { path: path.to_owned(), reason })?;
    if !adopt::adopt(&mut conf) {
        return Ok(Some(Outcome::Kept(path.to_owned())));
    }
    let backup = file::keep(&real(path))?;
    if is_list(target) && !conf.contains_key("plugins") {
        conf = adopt::as_list(conf);
    }
    let mode = file::mode_of(path).map_err(failed("look at", path))?;
    file::write(&real(target), pretty(conf).as_bytes(), mode)?;
    if path != target {
        file::remove(path)?;
    }
    Ok(Some(Outcome::TakenOver { path: target.to_owned(), backup }))
}

/// Takes the single configuration away where `conflist`, which is ours, stands for it: a run that was ended before it
/// came to that, or a file of kube-router's for the same network. Any other is the user's and stays.
fn finish(single: &Path, conflist: &Path) -> Result<Option<Outcome>, InstallError> {
    let (Ok(Some(text)), Some(ours)) = (read(single), made_by_us(conflist)) else { return Ok(None) };
    let kept = with_suffix(&real(single), BACKUP);
    let backup = if read(&kept).ok().flatten().as_ref() == Some(&text) {
        kept
    } else {
        let conf = check::parse(&text).ok();
        let is_same = |conf: &Map<String, Value>| conf.get("name") == ours.get("name");
        if !conf.filter(is_same).is_some_and(|mut conf| adopt::adopt(&mut conf)) {
            return Ok(None);
        }
        file::keep(&real(single))?
    };
    file::remove(single)?;
    Ok(Some(Outcome::TakenOver { path: conflist.to_owned(), backup }))
}

/// The file itself: an administrator may keep it elsewhere, and the link to it is not to be replaced by a file.
fn real(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// The way back: what was there before routerd, or nothing.
pub fn restore(conflist: &Path) -> Vec<Result<Outcome, InstallError>> {
    let mut done = Vec::new();
    let gone = |path: PathBuf| file::remove(&path).map(|()| Outcome::Removed(path.clone()));
    let template = template_path(conflist);
    // Without a template of ours the configuration is the user's own.
    let made = template.exists() && conflist.exists();
    let single = conflist.with_extension("conf");
    let is_kept = |path: &PathBuf| with_suffix(path, BACKUP).exists();
    let (list, single) = (real(conflist), real(&single));
    let single = Some(single).filter(|single| *single != list && is_kept(single));
    let put_back = |path: PathBuf| file::put_back(&path).map(|_| Outcome::PutBack(path.clone()));
    let is_ours = made && (single.is_some() || made_by_us(conflist).is_some());
    done.extend(single.map(put_back));
    if is_kept(&list) {
        done.push(put_back(list));
    } else if is_ours {
        done.push(gone(conflist.to_owned()));
    }
    if template.exists() {
        done.push(gone(template));
    }
    done
}

/// The configuration, if the plugin that wires pods in it is ours, so that it is of no use without us.
fn made_by_us(conflist: &Path) -> Option<Map<String, Value>> {
    let conf = check::parse(&read(conflist).ok()??).ok()?;
    check::programs(&conf).iter().any(|name| name == "routerd-cni").then_some(conf)
}

/// What an operator should know of the configuration at `conflist` that is or will be: programs that it needs and that
/// are not in `programs`, and a file of another name that runtimes prefer.
pub fn remarks(conflist: &Path, programs: &Path) -> Vec<String> {
    let text = [conflist.to_owned(), template_path(conflist)]
        .iter()
        .find_map(|path| Some((path.clone(), read(path).ok()??)));
    let mut remarks = Vec::new();
    if let Some((path, Ok(conf))) = text.map(|(path, text)| (path, check::parse(&text))) {
        for name in check::programs(&conf).iter().filter(|name| !programs.join(name).exists()) {
            let (path, programs) = (path.display(), programs.display());
            remarks.push(format!(
                "{path} needs the plugin {name}, which is not in {programs}: pods cannot start"
            ));
        }
    }
    if let Some(first) = preferred(conflist) {
        let (first, path) = (first.display(), conflist.display());
        remarks.push(format!(
            "runtimes use {first} and not {path}, because its name sorts before; move it away"
        ));
    }
    remarks
}

/// The first configuration of the folder in the order of runtimes, if it is one that sorts before `conflist`.
fn preferred(conflist: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(conflist.parent()?).ok()?;
    let configuration = |path: &PathBuf| {
        path.extension().is_some_and(|extension| EXTENSIONS.iter().any(|known| extension == *known))
    };
    let first = entries.flatten().map(|entry| entry.path()).filter(configuration).min()?;
    (first.as_path() < conflist).then_some(first)
}
