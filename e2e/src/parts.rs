//! The parts of a run: each has a name, and those that are asked for can be run without the others.

use anyhow::{Result, bail};

/// A part of a run: its name and what it does.
pub type Part<T> = (&'static str, T);

/// Those of `parts` that are named in `only`, in their own order; all of them if it names none.
///
/// # Errors
///
/// A name that no part has; the error names those that there are.
pub fn choose<T: Copy>(parts: &[Part<T>], only: &[String]) -> Result<Vec<Part<T>>> {
    if let Some(name) = only.iter().find(|name| parts.iter().all(|(part, _)| part != name)) {
        let known: Vec<&str> = parts.iter().map(|(part, _)| *part).collect();
        bail!("there is no part {name:?}; the parts are {}", known.join(", "));
    }
    let wanted = |name: &str| only.is_empty() || only.iter().any(|wanted| wanted == name);
    Ok(parts.iter().copied().filter(|(name, _)| wanted(name)).collect())
}
