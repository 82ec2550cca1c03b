//! The routers under test. All of them wait to be connected to, take everything, and tell what they took to nobody but the receiver,
//! whose reflector (RFC 4456) they are.

mod bird;
mod frr;
mod gobgp;
mod ours;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::ValueEnum;

use super::daemon;
use super::wire::{Wire, peer};
use crate::bench::agent::Agent;
use crate::bench::world::on;
use crate::process::{capture, command};

/// Which router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Router {
    /// The speaker of `bgp/` as a program of its own.
    Ours(PathBuf),
    /// The whole daemon; whatever it takes goes to the kernel.
    Daemon(PathBuf),
    Bird,
    Frr,
    Gobgp,
}

/// Routers of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Other {
    /// BIRD 2.
    Bird,
    /// FRR 8.
    Frr,
    /// GoBGP 3.
    Gobgp,
}

impl From<Other> for Router {
    fn from(other: Other) -> Self {
        match other {
            Other::Bird => Self::Bird,
            Other::Frr => Self::Frr,
            Other::Gobgp => Self::Gobgp,
        }
    }
}

/// With whom it is to have sessions.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setup {
    /// So many peers, from the first one on.
    pub(super) peers: u32,
    /// The receiver, too.
    pub(super) receiver: bool,
    /// It writes routes to the kernel.
    pub(super) kernel: bool,
}

/// A running router.
#[derive(Debug)]
pub(super) struct Running {
    router: Router,
    pub(super) agent: Agent,
    folder: PathBuf,
    netns: String,
}

impl Router {
    /// What tables call it.
    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Ours(_) => "our speaker",
            Self::Daemon(_) => "routerd",
            Self::Bird => "BIRD 2",
            Self::Frr => "FRR 8",
            Self::Gobgp => "GoBGP 3",
        }
    }

    /// Its programs and Debian's name for them.
    const fn programs(&self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Ours(_) | Self::Daemon(_) => (&[], ""),
            Self::Bird => (&[bird::PROGRAM, bird::ASK], "bird2"),
            Self::Frr => (&[frr::PROGRAM, frr::ASK], "frr"),
            Self::Gobgp => (&[gobgp::PROGRAM, gobgp::ASK], "gobgpd"),
        }
    }

    /// Ours and those of the others that are installed; who is not is named.
    pub(super) fn all(ours: PathBuf, others: &[Other]) -> Vec<Self> {
        let mut all = vec![Self::Ours(ours)];
        for router in others.iter().copied().map(Self::from) {
            let (programs, package) = router.programs();
            match programs.iter().find(|program| !Path::new(program).is_file()) {
                None => all.push(router),
                Some(program) => println!(
                    "  {} is left out: there is no {program} (apt-get install {package})",
                    router.label()
                ),
            }
        }
        all
    }

    /// Starts it.
    pub(super) fn start(&self, setup: Setup, wire: &Wire, folder: &Path) -> Result<Running> {
        let mut prepared = match self {
            Self::Ours(program) => ours::prepare(program, setup),
            Self::Daemon(program) => {
                let peers: Vec<_> = (0..setup.peers).map(peer).collect();
                daemon::prepare(program, &peers, Vec::new(), wire, folder)?.0
            }
            Self::Bird => bird::prepare(setup, folder)?,
            Self::Frr => frr::prepare(setup, folder)?,
            Self::Gobgp => gobgp::prepare(setup, folder)?,
        };
        prepared.current_dir(folder);
        let netns = wire.router();
        let agent = Agent::start(prepared, self.label(), 1, &netns, folder)?;
        Ok(Running { router: self.clone(), agent, folder: folder.to_owned(), netns })
    }
}

impl Running {
    /// How many prefixes its table has by its own words; 0 while it has none to say.
    pub(super) fn prefixes(&self) -> Result<u32> {
        match self.router {
            Router::Ours(_) => Ok(ours::prefixes(&self.agent.log())),
            Router::Daemon(_) => routes(&self.netns),
            Router::Bird => bird::prefixes(self),
            Router::Frr => frr::prefixes(self),
            Router::Gobgp => gobgp::prefixes(self),
        }
    }

    /// What its command line program says.
    fn ask(&self, program: &str, arguments: &[&str]) -> Result<String> {
        let mut ask: Command = command("ip");
        ask.args(["netns", "exec", &self.netns, program]).args(arguments).current_dir(&self.folder);
        capture(&mut ask)
    }
}

/// How many routes the kernel has in a namespace's main table.
pub(super) fn routes(netns: &str) -> Result<u32> {
    let told = on(netns, || Ok(std::fs::read_to_string("/proc/thread-self/net/fib_triestat")?))?;
    main_prefixes(&told).context("/proc/net/fib_triestat has no count of prefixes of the main table")
}

fn main_prefixes(told: &str) -> Option<u32> {
    let (_, main) = told.split_once("Main:")?;
    main.lines().find_map(|line| line.trim().strip_prefix("Prefixes:"))?.trim().parse().ok()
}

/// The first number in a text.
fn first_number(text: &str) -> Option<u32> {
    text.split(|c: char| !c.is_ascii_digit()).find_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_routes_are_those_of_the_main_table() {
        let told = "Basic info: size of leaf: 48 bytes\nMain:\n\tLeaves:         7\n\tPrefixes:       12\nLocal:\n\tPrefixes:       3\n";
        assert_eq!(main_prefixes(told), Some(12));
        assert_eq!(main_prefixes("Local:\n\tPrefixes: 3\n"), None);
        assert_eq!((first_number(" a 12 of 30"), first_number("none")), (Some(12), None));
    }
}
