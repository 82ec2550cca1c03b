//! What a packet costs: fixed numbers of real packets from pod to pod through a node's rules, the nodes taking turns.

use std::fs::File;
use std::io::{IoSlice, Read, Seek};
use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

use crate::bench::world::{CLIENT, FIRST_PORT, SERVER, World, on};
use crate::progress::Step;

/// Packets that one system call sends.
const BATCH: usize = 64;
/// The port of the established flow.
const FLOW_PORT: u16 = FIRST_PORT + 1;
/// New flows go to a port of their own each from here on; nobody listens there.
const NEW_PORTS: u16 = FIRST_PORT + 2;
/// As long as a datagram of a name server's question.
const PAYLOAD: [u8; 40] = [b'x'; 40];
/// How long packets may be under way.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many packets and how often.
#[derive(Debug, Clone, Copy)]
pub(super) struct Effort {
    pub(super) rounds: usize,
    pub(super) established: usize,
    pub(super) new: usize,
}

/// Nanoseconds of each packet, a value a round: of the clock, and of the processor.
#[derive(Debug, Default, Clone)]
pub(super) struct Costs {
    pub(super) wall: Vec<f64>,
    pub(super) cpu: Vec<f64>,
}

impl Costs {
    /// The values of a clock.
    pub(super) fn by(&self, clock: Clock) -> &[f64] {
        match clock {
            Clock::Processor => &self.cpu,
            Clock::Wall => &self.wall,
        }
    }

    fn add(&mut self, took: (Duration, Duration), packets: usize) -> Result<()> {
        let packets = f64::from(u32::try_from(packets)?);
        self.wall.push(took.0.as_secs_f64() * 1e9 / packets);
        self.cpu.push(took.1.as_secs_f64() * 1e9 / packets);
        Ok(())
    }
}

/// Which clock is good: the processor's, which others on the machine do not disturb; in a guest it moves by 10 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Clock {
    Processor,
    Wall,
}

/// Costs on one node.
#[derive(Debug, Default, Clone)]
pub(super) struct Figures {
    pub(super) established: Costs,
    pub(super) new: Costs,
    /// Why there are no more of them.
    pub(super) failed: Option<String>,
}

/// Figures of every node, in their order.
///
/// A node on which packets do not come through is out; the others go on.
pub(super) fn measure(worlds: &[&World], effort: Effort, step: &mut Step) -> Result<Vec<Figures>> {
    let mut figures = vec![Figures::default(); worlds.len()];
    // The first round finds cold caches.
    for round in 0..=effort.rounds {
        for (world, figures) in worlds.iter().zip(&mut figures) {
            if figures.failed.is_none()
                && let Err(error) = turn(world, figures, effort, round > 0)
            {
                figures.failed = Some(format!("{error:#}"));
            }
        }
        step.update(u64::try_from(round)?, u64::try_from(effort.rounds)?, "rounds");
    }
    Ok(figures)
}

fn turn(world: &World, figures: &mut Figures, effort: Effort, counts: bool) -> Result<()> {
    let established = established(world, effort.established).context("an established flow")?;
    let new = new_flows(world, effort.new).context("new flows")?;
    if counts {
        figures.established.add(established, effort.established)?;
        figures.new.add(new, effort.new)?;
    }
    Ok(())
}

/// One flow, answered once so that connection tracking calls it established, and then these packets.
fn established(world: &World, packets: usize) -> Result<(Duration, Duration)> {
    let server = on(&world.server(), || UdpSocket::bind((SERVER, FLOW_PORT)).context("the server's port"))?;
    server.set_read_timeout(Some(PATIENCE))?;
    let client = on(&world.client(), || UdpSocket::bind((CLIENT, 0)).context("the client's port"))?;
    client.set_read_timeout(Some(PATIENCE))?;
    client.send_to(b"?", (SERVER, FLOW_PORT))?;
    let (_, from) = server.recv_from(&mut [0; 8]).context("the first packet does not come")?;
    server.send_to(b"!", from)?;
    client.recv_from(&mut [0; 8]).context("the answer does not come")?;
    timed(world, &client, packets, |_| FLOW_PORT)
}

/// Each packet begins a flow.
fn new_flows(world: &World, packets: usize) -> Result<(Duration, Duration)> {
    world.forget_flows()?;
    let client = on(&world.client(), || UdpSocket::bind((CLIENT, 0)).context("the client's port"))?;
    ensure!(packets <= usize::from(u16::MAX - NEW_PORTS), "there are not so many ports");
    timed(world, &client, packets, |number| NEW_PORTS + number)
}

/// From the first packet's sending to the last one's leaving the node, on one processor.
fn timed(
    world: &World,
    client: &UdpSocket,
    packets: usize,
    port: impl Fn(u16) -> u16 + Send,
) -> Result<(Duration, Duration)> {
    world.inside(|| {
        let mut cpus = CpuSet::new();
        cpus.set(0)?;
        sched_setaffinity(Pid::from_raw(0), &cpus).context("staying on one processor")?;
        let mut counter = File::open("/proc/thread-self/net/dev").context("the devices' counters")?;
        let before = sent(&mut counter)?;
        let (wall, cpu) = (Instant::now(), clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?);
        send(client, packets, port)?;
        let wanted = before + u64::try_from(packets)?;
        while sent(&mut counter)? < wanted {
            if wall.elapsed() > PATIENCE {
                bail!("{} of {packets} packets came through", sent(&mut counter)? - before);
            }
        }
        let cpu = Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)? - cpu);
        Ok((wall.elapsed(), cpu))
    })
}

fn send(client: &UdpSocket, packets: usize, port: impl Fn(u16) -> u16) -> Result<()> {
    let slices = [[IoSlice::new(&PAYLOAD)]; BATCH];
    let mut headers = MultiHeaders::preallocate(BATCH, None);
    let mut done = 0;
    while done < packets {
        let count = BATCH.min(packets - done);
        let addresses = (done..done + count).map(|number| {
            let number = u16::try_from(number % usize::from(u16::MAX)).unwrap_or(0);
            Some(SockaddrIn::from(SocketAddrV4::new(SERVER, port(number))))
        });
        let addresses: Vec<Option<SockaddrIn>> = addresses.collect();
        let results =
            sendmmsg(client.as_raw_fd(), &mut headers, &slices[..count], &addresses, [], MsgFlags::empty())?;
        done += results.count();
    }
    Ok(())
}

/// How many packets the node has sent to the server's pod: the tenth number of its line in `/proc/net/dev`.
fn sent(counter: &mut File) -> Result<u64> {
    counter.rewind()?;
    let mut text = String::new();
    counter.read_to_string(&mut text)?;
    let line = text.lines().find_map(|line| line.trim_start().strip_prefix("server:"));
    let number = line.and_then(|line| line.split_whitespace().nth(9)?.parse().ok());
    number.context("no counter of the server's device")
}
