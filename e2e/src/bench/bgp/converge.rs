//! From the first UPDATE of many peers, whose sessions are up, to all of their routes where they should be.

use std::fmt;
use std::net::Ipv4Addr;
use std::path::Path;
use std::str::FromStr;
use std::sync::Barrier;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};

use super::message::{self, Routes};
use super::router::{self, Router, Running, Setup};
use super::session::{Heard, Session};
use super::wire::{RECEIVER, Wire, peer};
use crate::bench::agent::Agent;
use crate::bench::world::on;
use crate::guest::agent::enter_netns;

/// How long a router may take for all of it.
pub(super) const LIMIT: Duration = Duration::from_mins(5);
/// The most peers and prefixes that have addresses.
const MOST_PEERS: u32 = 30_000;
const MOST_PREFIXES: u32 = 8_000_000;
/// How often it is looked how much processor time a router has taken.
const LOOK: Duration = Duration::from_millis(1);
/// Who takes less than this in such a time has nothing to do.
const IDLE: Duration = Duration::from_millis(10);
const QUIET: Duration = Duration::from_millis(400);

/// How many peers tell how many prefixes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scale {
    /// Peers.
    pub peers: u32,
    /// Prefixes of each.
    pub routes: u32,
}

impl FromStr for Scale {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (peers, routes) = text.split_once('x').context("wanted: peers x routes, as 10x20000")?;
        let scale = Self { peers: peers.trim().parse()?, routes: routes.trim().parse()? };
        ensure!(scale.peers <= MOST_PEERS, "there are addresses for {MOST_PEERS} peers");
        let prefixes = scale.peers.checked_mul(scale.routes).filter(|all| *all <= MOST_PREFIXES);
        ensure!(prefixes.is_some(), "there are {MOST_PREFIXES} prefixes for all peers");
        Ok(scale)
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} x {}", self.peers, self.routes)
    }
}

/// What is told, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) scale: Scale,
    /// How many prefixes share their attributes.
    pub(super) alike: u32,
}

impl Size {
    /// All prefixes.
    pub(super) const fn prefixes(self) -> u32 {
        self.scale.peers * self.scale.routes
    }

    /// What the peer with this number sends.
    pub(super) fn updates(self, number: u32) -> Vec<u8> {
        let routes = self.scale.routes;
        Routes { numbers: number * routes..(number + 1) * routes, alike: self.alike }.updates(peer(number))
    }
}

/// Where the routes are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// In the router's own table.
    Table,
    /// With the receiver.
    Receiver,
    /// In the kernel.
    Kernel,
}

/// Figures of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Figures {
    /// From the first UPDATE to the last prefix.
    pub(super) time: Duration,
    /// Processor time from then on until there is nothing to do any more.
    pub(super) cpu: Duration,
    /// Resident set in MiB at most.
    pub(super) memory: f64,
}

/// The sessions of all peers, which have said nothing yet.
#[derive(Debug)]
pub(super) struct Peers(Vec<(Session, Vec<u8>)>);

impl Peers {
    /// Brings their sessions up.
    pub(super) fn establish(size: Size, wire: &Wire) -> Result<Self> {
        let netns = &wire.peers();
        let one = |number| {
            enter_netns(netns)?;
            let session = Session::establish(peer(number))?;
            // Nobody needs what the router says, but it must be read.
            drop(session.listen()?);
            Ok((session, size.updates(number)))
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> =
                (0..size.scale.peers).map(|number| scope.spawn(move || one(number))).collect();
            threads.into_iter().map(joined).collect::<Result<_>>().map(Self)
        })
    }

    /// All of them send what they have at once; when they began. They live on in what is returned.
    pub(super) fn send(self) -> Result<(Instant, Vec<Session>)> {
        let start = &Barrier::new(self.0.len() + 1);
        std::thread::scope(|scope| {
            let send = |(mut session, updates): (Session, Vec<u8>)| {
                start.wait();
                session.send(&updates)?;
                Ok(session)
            };
            let threads: Vec<_> = self.0.into_iter().map(|one| scope.spawn(move || send(one))).collect();
            start.wait();
            let begin = Instant::now();
            Ok((begin, threads.into_iter().map(joined).collect::<Result<_>>()?))
        })
    }
}

fn joined<T>(thread: std::thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a peer of the bench ended badly"))?
}

/// A session whose side listens; `own` is its address.
pub(super) fn listener(own: Ipv4Addr, wire: &Wire) -> Result<(Session, Receiver<Heard>)> {
    on(&wire.peers(), || {
        let session = Session::establish(own)?;
        let heard = session.listen()?;
        Ok((session, heard))
    })
}

/// Measures a router from its start on, in a network of its own.
pub(super) fn measure(router: &Router, size: Size, end: End, folder: &Path) -> Result<Figures> {
    let wire = &Wire::new()?;
    let setup = Setup { peers: size.scale.peers, receiver: end == End::Receiver, kernel: end == End::Kernel };
    let mut running = router.start(setup, wire, folder)?;
    let peers = Peers::establish(size, wire)?;
    let receiver = setup.receiver.then(|| listener(RECEIVER, wire)).transpose()?;
    let before = running.agent.settle()?;
    let there = router::routes(&wire.router())?;
    let (begin, _sessions) = peers.send()?;
    let (end, cpu) = match &receiver {
        Some((_, heard)) => (receive(heard, size)?, running.agent.settle()?),
        None if setup.kernel => {
            let all = there + size.prefixes();
            (programmed(&mut running.agent, all, &wire.router())?, running.agent.settle()?)
        }
        None => settled(&mut running, size.prefixes())?,
    };
    let (time, cpu) = (end.saturating_duration_since(begin), cpu.saturating_sub(before));
    Ok(Figures { time, cpu, memory: running.agent.memory()?.1 })
}

/// When the last prefix was heard of.
fn receive(heard: &Receiver<Heard>, size: Size) -> Result<Instant> {
    let begin = Instant::now();
    let mut missing = size.prefixes();
    let mut known = vec![false; usize::try_from(missing)?];
    loop {
        let heard = match heard.recv_timeout(LIMIT.saturating_sub(begin.elapsed())) {
            Ok(heard) => heard,
            Err(RecvTimeoutError::Timeout) => bail!("{missing} prefixes have not come within {LIMIT:?}"),
            Err(RecvTimeoutError::Disconnected) => bail!("the receiver's session ended, {missing} to come"),
        };
        for prefix in heard.told.announced {
            let number = message::number(prefix).and_then(|number| usize::try_from(number).ok());
            let known = number.and_then(|number| known.get_mut(number));
            let known = known.with_context(|| format!("nobody told the router of {prefix}"))?;
            missing -= u32::from(!std::mem::replace(known, true));
        }
        if missing == 0 {
            return Ok(heard.at);
        }
    }
}

/// When the kernel had so many routes. What a router does at that time beside them does not count.
fn programmed(agent: &mut Agent, wanted: u32, netns: &str) -> Result<Instant> {
    let begin = Instant::now();
    loop {
        agent.still_running()?;
        let asked = Instant::now();
        let there = router::routes(netns)?;
        if there >= wanted {
            return Ok(Instant::now());
        }
        ensure!(begin.elapsed() < LIMIT, "there are {there} of {wanted} routes after {LIMIT:?}");
        // The kernel walks through all of them to count them.
        std::thread::sleep((asked.elapsed() * 4).max(LOOK));
    }
}

/// When it had nothing more to do, with everything in its table, and its processor time then. Questions take a router longer
/// than the work itself where that is little, so its processor time is watched, and the question comes after it.
fn settled(running: &mut Running, wanted: u32) -> Result<(Instant, Duration)> {
    let begin = Instant::now();
    let mut seen = Vec::new();
    loop {
        let end = work(&mut running.agent, &mut seen)?;
        let cpu = running.agent.cpu()?;
        // A router that is asked at a bad moment may have no answer; one that never has says why.
        let missing = match running.prefixes() {
            Ok(there) if there >= wanted => return Ok((end, cpu)),
            Ok(there) => anyhow!("there are {there} of {wanted} prefixes"),
            Err(error) => error,
        };
        if begin.elapsed() > LIMIT {
            return Err(missing.context(format!("not all prefixes are there after {LIMIT:?}")));
        }
    }
}

/// Watches until there is nothing to do; when nearly all that was done since the first look was done.
fn work(agent: &mut Agent, seen: &mut Vec<(Instant, Duration)>) -> Result<Instant> {
    loop {
        agent.still_running()?;
        let now = (Instant::now(), agent.cpu()?);
        seen.push(now);
        let before = seen.iter().rev().find(|(at, _)| now.0.saturating_duration_since(*at) >= QUIET);
        if before.is_some_and(|(_, cpu)| now.1.saturating_sub(*cpu) < IDLE) {
            return nearly_all(seen).context("a program that was never looked at");
        }
        std::thread::sleep(LOOK);
    }
}

/// The moment by which all but a fiftieth of the work was done; what comes then is what every program does all the time.
fn nearly_all(seen: &[(Instant, Duration)]) -> Option<Instant> {
    let ((_, first), (_, last)) = (seen.first()?, seen.last()?);
    let enough = last.saturating_sub(last.saturating_sub(*first) / 50);
    seen.iter().find(|(_, cpu)| *cpu >= enough).map(|(at, _)| *at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_is_two_numbers_for_which_there_are_addresses() {
        assert_eq!("10x20000".parse::<Scale>().unwrap(), Scale { peers: 10, routes: 20_000 });
        for wrong in ["10", "x", "1x-1", "40000x1", "8000x4000000000", "3x3000000"] {
            assert!(wrong.parse::<Scale>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn work_ends_when_nearly_all_of_it_is_done() {
        let begin = Instant::now();
        let ms = Duration::from_millis;
        let seen: Vec<_> = (0..500).map(|at| (begin + ms(at), ms(7 + at.min(100) + at / 400))).collect();
        assert_eq!(nearly_all(&seen), Some(begin + ms(99)));
        assert_eq!(nearly_all(&seen[..1]), Some(begin));
        assert_eq!(nearly_all(&[]), None);
    }
}
