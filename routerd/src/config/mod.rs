//! What the program is told at its start: flags and environment, read, checked and typed.

mod build;
mod command;
pub mod docs;
mod duration;
mod error;
mod kind;
mod peers;
mod subcommands;
pub mod table;
mod types;
mod values;

pub use build::Environment;
pub use command::{Invocation, command, parse};
pub use error::{ConfigErrors, FlagError};
pub use kind::{Kind, Value};
pub(crate) use peers::read_passwords;
pub use table::{Effect, Flag};
pub use types::{
    AdminConfig, AdvertiseConfig, AllocatorConfig, BgpConfig, ClusterSource, Config, LogConfig, LogFormat,
    PeerConfig, Periods, PodNetworkConfig, RouterId, ServicesConfig,
};
pub use values::Values;
