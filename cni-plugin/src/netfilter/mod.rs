//! The plugin's own nf_tables rules: port mappings, masquerading, and the check of frames' sources.
//!
//! An [`Entry`] is one thing an attachment has there. [`add`] puts all entries of an attachment in with one
//! transaction, [`remove`] takes them out, [`check`] compares, [`collect`] is GC. Every element carries the attachment's
//! [`crate::Tag`] as comment, so that its owner is known without a configuration or a file; whatever `nft list` shows
//! without a tag is shared by all pods.

mod add;
mod check;
mod entry;
mod flows;
mod layout;
mod refusal;
mod remove;
mod scaffold;

pub use add::add;
pub use check::check;
pub use entry::{Entry, Hidden, HostPort, Part, Transport};
pub use layout::SERVICE_MARK;
pub use remove::{collect, remove, tags, tidy};
