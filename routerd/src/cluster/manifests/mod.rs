//! The cluster from a folder of YAML files, read again when they change.
//!
//! Files end in `.yaml`, `.yml` or `.json` and do not begin with a dot. A file or an object that is broken is reported
//! by file, document, object and field; everything else is used.

mod folder;
mod parse;
#[cfg(test)]
mod tests;
mod watch;

pub use watch::spawn;

/// The objects of a text, for tests that write a cluster down.
#[cfg(test)]
pub(crate) fn read(text: &str) -> Vec<super::Object> {
    parse::parse(text).objects
}
