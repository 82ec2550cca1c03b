//! A node where the plugins are swapped in place while pods run: what either side made, the other takes away.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod masquerade;
mod nftables;
mod support;
mod theirs;
