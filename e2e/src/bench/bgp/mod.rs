//! BGP: our speaker beside BIRD 2, FRR 8 and GoBGP 3 on this kernel in one run.
//!
//! All of them get the same messages, which were made before, from the same peers: this program, on as many connections. What a
//! router passes on comes back to this program too, so that end is the same for all as well.

mod converge;
mod daemon;
mod latency;
mod message;
mod parts;
mod router;
mod session;
mod wire;

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use self::converge::Size;
use self::router::Router;
use super::copy;
use crate::guest::boot;
use crate::sandbox::Inside;
use crate::setup::{Ready, binaries};

/// The program that is our speaker alone.
const SPEAKER: &str = "speaker";

/// Peers and the routes of each; into the kernel; how often something is announced.
type Sizes = (&'static [(u32, u32)], &'static [(u32, u32)], usize);
const WHOLE: Sizes = (&[(100, 100), (10, 20_000), (1, 500_000)], &[(100, 100), (1, 100_000)], 300);
const QUICK: Sizes = (&[(10, 100)], &[(10, 100)], 20);

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// A short run with few routes.
    #[arg(long)]
    pub quick: bool,
    /// Ours alone.
    #[arg(long)]
    pub without_peer: bool,
    /// How many prefixes share their attributes; in the Internet it is about six.
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub alike: u32,
    /// A folder with routerd built before, instead of building it.
    #[arg(long, value_name = "DIR")]
    pub binaries: Option<PathBuf>,
}

/// Builds the program that is our speaker alone.
pub(super) fn prepare() -> Result<()> {
    binaries::build_example("bgp", SPEAKER)
}

/// Measures and prints the tables.
pub(super) fn run(inside: &Inside, ready: &Ready, options: &Options) -> Result<()> {
    // The routers' sockets and the namespaces' names are the bench's own.
    boot::private_folders()?;
    let speaker = inside.folder.join("bin/speaker");
    copy(&binaries::example(SPEAKER)?, &speaker)?;
    let routers = Router::all(speaker, !options.without_peer);
    let routerd = inside.folder.join("bin/routerd");
    copy(&ready.binaries.join("routerd"), &routerd)?;
    let (tables, kernels, rounds) = if options.quick { QUICK } else { WHOLE };
    let size = |(peers, routes)| Size { peers, routes, alike: options.alike.max(1) };
    for at in tables {
        parts::converge(&routers, size(*at), &inside.folder);
    }
    // The others do not write to the kernel by themselves.
    let writers: Vec<Router> = std::iter::once(Router::Daemon(routerd.clone()))
        .chain(routers.into_iter().filter(|router| *router == Router::Bird))
        .collect();
    for at in kernels {
        parts::program(&writers, size(*at), &inside.folder);
    }
    parts::latency(&routerd, rounds, &inside.folder);
    Ok(())
}
