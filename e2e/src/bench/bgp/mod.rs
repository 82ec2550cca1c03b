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

use self::converge::{Scale, Size};
use self::router::{Other, Router};
use super::copy;
use crate::guest::boot;
use crate::sandbox::Inside;
use crate::setup::{Ready, binaries};

/// The program that is our speaker alone.
const SPEAKER: &str = "speaker";

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// A short run with few routes, whatever else is said.
    #[arg(long)]
    pub quick: bool,
    /// Ours alone.
    #[arg(long)]
    pub without_peer: bool,
    /// Beside which routers.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "bird,frr,gobgp",
        value_name = "ROUTERS",
        conflicts_with = "without_peer"
    )]
    pub beside: Vec<Other>,
    /// How many peers of how many routes each; none with 0x0.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "100x100,10x20000,1x500000",
        value_name = "PEERSxROUTES"
    )]
    pub tables: Vec<Scale>,
    /// The same for routes that go into the kernel.
    #[arg(long, value_delimiter = ',', default_value = "100x100,1x100000", value_name = "PEERSxROUTES")]
    pub kernel: Vec<Scale>,
    /// How often an address is announced and withdrawn; not at all with 0.
    #[arg(long, default_value_t = 300, value_name = "N")]
    pub rounds: usize,
    /// How many prefixes share their attributes; in the Internet it is about six.
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub alike: u32,
    /// A folder with routerd, and perhaps examples/speaker of bgp/, built before, instead of building them.
    #[arg(long, value_name = "DIR")]
    pub binaries: Option<PathBuf>,
}

/// The program that is our speaker alone: in the folder that was given, or else where it is built.
fn speaker(options: &Options) -> Result<PathBuf> {
    let given = options.binaries.as_ref().map(|folder| folder.join("examples").join(SPEAKER));
    given.filter(|path| path.is_file()).map_or_else(|| binaries::example(SPEAKER), Ok)
}

/// Builds it, unless it was given.
pub(super) fn prepare(options: &Options) -> Result<()> {
    if speaker(options)? == binaries::example(SPEAKER)? {
        binaries::build_example("bgp", SPEAKER)?;
    }
    Ok(())
}

/// Measures and prints the tables.
pub(super) fn run(inside: &Inside, ready: &Ready, options: &Options) -> Result<()> {
    // The routers' sockets and the namespaces' names are the bench's own.
    boot::private_folders()?;
    let ours = inside.folder.join("bin/speaker");
    copy(&speaker(options)?, &ours)?;
    let others = if options.without_peer { &[][..] } else { &options.beside };
    let routers = Router::all(ours, others);
    let routerd = inside.folder.join("bin/routerd");
    copy(&ready.binaries.join("routerd"), &routerd)?;
    let short = [Scale { peers: 10, routes: 100 }];
    let (tables, kernel, rounds) = if options.quick {
        (&short[..], &short[..], 20)
    } else {
        (options.tables.as_slice(), options.kernel.as_slice(), options.rounds)
    };
    let sizes = |scales: &[Scale]| {
        let some = scales.iter().filter(|scale| scale.peers * scale.routes > 0);
        some.map(|scale| Size { scale: *scale, alike: options.alike.max(1) }).collect::<Vec<_>>()
    };
    for size in sizes(tables) {
        parts::converge(&routers, size, &inside.folder);
    }
    // The others do not write to the kernel by themselves.
    let writers: Vec<Router> = std::iter::once(Router::Daemon(routerd.clone()))
        .chain(routers.into_iter().filter(|router| *router == Router::Bird))
        .collect();
    for size in sizes(kernel) {
        parts::program(&writers, size, &inside.folder);
    }
    if rounds > 0 {
        parts::latency(&routerd, rounds, &inside.folder);
    }
    Ok(())
}
