//! Port mappings, masquerading and the check of frames' sources, with real packets between namespaces.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests are tests")]

mod flows;
mod lifecycle;
mod mappings;
mod pods;
mod sctp;
mod support;
mod traffic;
