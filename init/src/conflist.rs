//! The template of the network configuration.
//!
//! It lies beside the real file under a name that no runtime reads. routerd makes the real file from it as soon as the
//! node's pod ranges are known: a runtime that saw a configuration without ranges would call the node ready.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::file::{self, InstallError, failed};

/// The template that is used if the user gives none.
const BUILT_IN: &str = include_str!("../../cni/10-kuberouter.conflist");
/// What the template's file name has behind the real one's.
const SUFFIX: &str = ".template";
/// `rw-r--r--`.
const MODE: u32 = 0o644;

/// Where the template comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Template {
    /// This program.
    BuiltIn,
    /// A file, as from a ConfigMap.
    File(PathBuf),
}

/// What became of the template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Written; routerd will make the configuration from it.
    Template(PathBuf),
    /// Written, but a configuration is there already and stays in use.
    ConfigurationKept(PathBuf),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Template(path) => write!(f, "wrote {}; routerd adds the pod ranges", path.display()),
            Outcome::ConfigurationKept(path) => {
                write!(f, "kept {} as it is; delete it to start from the template", path.display())
            }
        }
    }
}

/// Installs the template for the configuration `conflist`.
pub fn install(template: &Template, conflist: &Path) -> Result<Outcome, InstallError> {
    let (name, text) = match template {
        Template::BuiltIn => ("the built-in template".to_owned(), BUILT_IN.to_owned()),
        Template::File(path) => {
            (path.display().to_string(), fs::read_to_string(path).map_err(failed("read the template", path))?)
        }
    };
    check(&text).map_err(|reason| InstallError::Template { path: name, reason })?;
    let target = template_path(conflist);
    file::write(&target, text.as_bytes(), MODE)?;
    match fs::metadata(conflist) {
        Ok(_) => Ok(Outcome::ConfigurationKept(conflist.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Outcome::Template(target)),
        Err(error) => Err(failed("look at", conflist)(error)),
    }
}

/// The template's path for a configuration's.
pub fn template_path(conflist: &Path) -> PathBuf {
    let mut path = conflist.as_os_str().to_owned();
    path.push(SUFFIX);
    path.into()
}

/// What is wrong with a template, in words of the file.
fn check(text: &str) -> Result<(), String> {
    let value: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let object = value.as_object().ok_or("it is no JSON object")?;
    match object.get("name").and_then(Value::as_str) {
        None | Some("") => return Err("the key \"name\" is missing or no text".to_owned()),
        Some(_) => {}
    }
    // A single configuration (.conf) has its type at the top, a list has plugins.
    let plugins = match object.get("plugins") {
        Some(Value::Array(plugins)) => plugins.as_slice(),
        Some(_) => return Err("the key \"plugins\" is no list".to_owned()),
        None => std::slice::from_ref(&value),
    };
    if plugins.is_empty() {
        return Err("the list \"plugins\" is empty".to_owned());
    }
    for (index, plugin) in plugins.iter().enumerate() {
        if plugin.get("type").and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(format!("plugin {index} has no \"type\""));
        }
    }
    Ok(())
}
