//! The CNI plugin of routerd: types of the protocol, the host-local address store, the wiring of a pod, and the socket
//! protocol between plugin and daemon. All of it is synchronous.
//!
//! # What one invocation does
//!
//! ```text
//!  environment, stdin
//!        │ env::Environment, config::NetConf          wrong input: error 1..7, nothing was touched
//!        ▼
//!     Request ── role (called name, else `type`)
//!        │
//!  ADD   ▼
//!   reserve   request::Ipam::reserve    ─┐
//!   wire      request::Wiring::add       ├─ each puts its way back on undo::Undo
//!   attach    socket: routerd commits   ─┘  the pod's policy, then answers
//!        │
//!        ▼
//!     result on stdout (convert, in the configuration's version); undo is dropped with everything kept
//! ```
//!
//! Whatever fails, [`undo::Undo`] takes back what was done in reverse order, and stdout gets exactly one JSON object:
//! the error. Nothing is printed before that is decided, because a runtime cannot read a result followed by an error.
//!
//! DEL goes the same way without waiting: the daemon is told (its absence is no failure), the device is removed, and
//! when it is gone the lease is released, so that no address is given to a second pod. CHECK, STATUS and GC only look, or free what is not listed.

pub mod address;
pub mod args;
pub mod bandwidth;
pub mod bridge;
pub mod config;
pub mod conflist;
pub mod convert;
pub mod env;
pub mod error;
pub mod fuzzing;
pub mod ipam;
pub mod ipam_exec;
pub mod json;
pub mod legacy;
pub mod netfilter;
pub mod plugin;
pub mod portmap;
pub mod request;
pub mod result;
pub mod socket;
pub mod tag;
pub mod tuning;
pub mod undo;
pub mod version;

pub use address::{Cidr, Mac};
pub use config::{BridgeConf, NetConf};
pub use error::{CniError, Code};
pub use request::{Addresses, Ipam, Request, Wired, Wiring};
pub use result::{AddResult, Dns, Interface, IpConfig, Route};
pub use tag::Tag;
pub use undo::Undo;
pub use version::Version;
