//! The installer as a process, on folders of its own.
#![expect(clippy::disallowed_methods, reason = "the installer is run as the container runtime runs it")]

#[cfg(test)]
mod configuration;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod names;
#[cfg(test)]
mod node;
