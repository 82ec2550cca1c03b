//! Who is told when somebody else changes something in the kernel.
//!
//! What a plane makes itself also comes back as events. Only events that its own work rarely has are passed on, so that
//! a plane does not read everything back after each of its own writes.

use std::io;
use std::time::{Duration, Instant};

use kernel::monitor::{Event, Monitor};
use kernel::nft::Nft;
use tokio::sync::watch;

use super::network;
use crate::routing;
use crate::runner::{Poker, Status};
use crate::services;

/// How long one wait for events lasts, and so how often the generation of nf_tables is looked at.
const TICK: Duration = Duration::from_millis(250);
/// How long after commits of ours the rules are looked at: another's commit may hide among them.
const CONFIRM_AFTER: Duration = Duration::from_secs(2);
/// And how often at most, as a look reads everything back.
const CONFIRM_AT_MOST_EVERY: Duration = Duration::from_secs(30);
/// The wait before a monitor that broke is opened again.
const RETRY: Duration = Duration::from_secs(2);

/// A plane as the monitor sees it.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    /// Its name.
    pub(super) name: &'static str,
    /// Makes it look at everything.
    pub(super) poker: Poker,
    /// What it says of itself.
    pub(super) status: watch::Receiver<Status>,
}

/// Starts the thread. It runs as long as the process.
pub(super) fn spawn(planes: Vec<Watched>) -> io::Result<()> {
    std::thread::Builder::new().name("monitor".to_owned()).spawn(move || run(&planes))?;
    Ok(())
}

fn run(planes: &[Watched]) {
    loop {
        if let Err(error) = follow(planes) {
            tracing::warn!(%error, "the kernel cannot be watched; it is tried again");
        }
        std::thread::sleep(RETRY);
        // What happened meanwhile is not known.
        poke(planes, |_| true);
    }
}

fn follow(planes: &[Watched]) -> kernel::Result<()> {
    let mut monitor = Monitor::open()?;
    let mut tables = Tables::new(Nft::open()?, planes)?;
    loop {
        for event in monitor.next(TICK)? {
            poke(planes, |plane| concerns(plane, &event));
        }
        if tables.need_a_look(planes, Instant::now())? {
            poke(planes, |plane| matches!(plane.name, "policy" | "services" | "routing"));
        }
    }
}

fn poke(planes: &[Watched], wanted: impl Fn(&Watched) -> bool) {
    for plane in planes.iter().filter(|plane| wanted(plane)) {
        plane.poker.poke();
    }
}

/// True for devices that come and go with pods: the outer end of a pair, and what shapes its traffic.
pub(super) fn is_pods(link: &str) -> bool {
    link.starts_with("veth") || link.starts_with("bwp")
}

/// True if the plane should look at the kernel after `event`.
fn concerns(plane: &Watched, event: &Event) -> bool {
    let name = plane.name;
    if name == network::NAME {
        return network::concerns(&plane.status.borrow().counts, event);
    }
    match event {
        Event::Resync => true,
        Event::RouteGone(route) => match name {
            "routing" => route.protocol == routing::PROTOCOL,
            "services" => route.table == kernel::rtnl::table::LOCAL,
            _ => false,
        },
        // The kernel takes the IPv4 routes of a link away without a word.
        Event::LinkGone(link) => !is_pods(&link.name) && matches!(name, "routing" | "services"),
        Event::Link(link) => match name {
            "routing" => !is_pods(&link.name),
            "services" => link.name == services::DUMMY_DEVICE,
            _ => false,
        },
        Event::AddressGone(_) => matches!(name, "routing" | "services"),
        Event::Address(_) | Event::Route(_) | Event::Rule(_) | Event::RuleGone(_) => false,
    }
}

/// The rule set of the namespace, as far as its generation tells of it: the kernel counts every commit, ours too.
///
/// A commit while none of our planes wrote is somebody else's, and our rules are looked at at once. Between commits of
/// ours it cannot be told, so they are followed by a look as well, but a rare one.
struct Tables {
    nft: Nft,
    generation: u32,
    judged: Instant,
    /// The kernel writes of our planes when the generation was looked at.
    writes: u64,
    /// The generation has moved and no plane has told of a write yet.
    suspected: bool,
    /// When to look after commits of ours.
    confirm: Option<Instant>,
    confirmed: Option<Instant>,
}

impl Tables {
    fn new(mut nft: Nft, planes: &[Watched]) -> kernel::Result<Self> {
        let generation = nft.generation()?;
        Ok(Self {
            nft,
            generation,
            judged: Instant::now(),
            writes: writes(planes),
            suspected: false,
            confirm: None,
            confirmed: None,
        })
    }

    /// True if the planes should compare their rules with the kernel's.
    fn need_a_look(&mut self, planes: &[Watched], now: Instant) -> kernel::Result<bool> {
        if now.duration_since(self.judged) < TICK {
            return Ok(false);
        }
        self.judged = now;
        if self.confirm.is_some_and(|at| at <= now) {
            self.confirm = None;
            self.confirmed = Some(now);
            return Ok(true);
        }
        let generation = self.nft.generation()?;
        if generation == self.generation {
            return Ok(false);
        }
        let written = writes(planes);
        let ours = written != self.writes;
        if !ours && !std::mem::replace(&mut self.suspected, true) {
            // A commit of ours is in the generation a moment before its plane counts it.
            return Ok(false);
        }
        (self.generation, self.writes, self.suspected) = (generation, written, false);
        if ours {
            let rarely = self.confirmed.map_or(now, |at| at + CONFIRM_AT_MOST_EVERY);
            self.confirm.get_or_insert(rarely.max(now + CONFIRM_AFTER));
        } else {
            tracing::debug!("somebody else changed nf_tables; our rules are compared");
        }
        Ok(!ours)
    }
}

fn writes(planes: &[Watched]) -> u64 {
    planes.iter().map(|plane| plane.status.borrow().writes).sum()
}
