//! Many packets at once, and what became of each, without waiting for those that never come.
//!
//! All packets go out from one thread on one processor, so the kernel hands them on in this order, hop by hop. After them
//! the node, which always reaches its pods, sends a sentinel to everybody, and when all have it another one: each round
//! ends at least one hop of everything sent before. What has not arrived by then never will.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kernel::testing::TestNs;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, recvmsg, sendto,
    setsockopt, socket, sockopt,
};
use nix::unistd::Pid;

use crate::net::{Net, OWN, ip, place};
use crate::oracle::{Flow, Transport};
use crate::packet::{self, Heard};

/// Longer than a busy machine needs for a few packets.
const PATIENCE: Duration = Duration::from_secs(30);
/// A packet from pod to pod takes two hops, the answer to it two more.
const ROUNDS: usize = 5;
/// Room for everything that arrives before it is read.
const ROOM: usize = 64 << 20;

/// Where a packet arrives: a namespace, by its place in [`Prober::ends`].
type End = usize;

/// The sockets of a namespace.
struct Sockets {
    four: OwnedFd,
    six: OwnedFd,
    ears: Vec<(Transport, bool, OwnedFd)>,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// It was delivered to the transport layer of its destination.
    pub(crate) arrived: bool,
    /// The answer was delivered to the sender; only TCP has one.
    pub(crate) answered: bool,
}

/// Sends and listens in all namespaces of a [`Net`].
pub(crate) struct Prober {
    /// The places, then the node, then what is around.
    ends: Vec<Sockets>,
    next: u32,
    processor: CpuSet,
}

impl Sockets {
    fn open(namespace: &TestNs) -> Self {
        namespace.run_in(|| {
            let raw = |family, protocol| {
                let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
                let socket = socket(family, SockType::Raw, flags, protocol).unwrap();
                setsockopt(&socket, sockopt::RcvBufForce, &ROOM).unwrap();
                socket
            };
            let families = [AddressFamily::Inet, AddressFamily::Inet6];
            let [four, six] = families.map(|family| raw(family, SockProtocol::Raw));
            let ears = families.into_iter().flat_map(|family| {
                Transport::ALL.map(|transport| {
                    let protocol = match transport {
                        Transport::Tcp => SockProtocol::Tcp,
                        Transport::Udp => SockProtocol::Udp,
                        Transport::Sctp => SockProtocol::Sctp,
                    };
                    (transport, family == AddressFamily::Inet, raw(family, protocol))
                })
            });
            Self { four, six, ears: ears.collect() }
        })
    }

    fn send(&self, to: IpAddr, bytes: &[u8]) {
        let sent = match to {
            IpAddr::V4(to) => {
                let to = SockaddrIn::from(SocketAddrV4::new(to, 0));
                sendto(self.four.as_raw_fd(), bytes, &to, MsgFlags::empty())
            }
            IpAddr::V6(to) => {
                let to = SockaddrIn6::from(SocketAddrV6::new(to, 0, 0, 0));
                sendto(self.six.as_raw_fd(), bytes, &to, MsgFlags::empty())
            }
        };
        match sent {
            // A rule that drops what the node itself sends is told to the sender.
            Ok(_) | Err(Errno::EPERM) => {}
            Err(error) => panic!("sending to {to}: {error}"),
        }
    }

    /// Reads all that is there.
    fn hear(&self, mut take: impl FnMut(Heard)) {
        let mut buffer = [0; 2048];
        for (transport, is_four, ear) in &self.ears {
            loop {
                let mut parts = [IoSliceMut::new(&mut buffer)];
                match recvmsg::<()>(ear.as_raw_fd(), &mut parts, None, MsgFlags::MSG_DONTWAIT) {
                    Ok(message) => {
                        let length = message.bytes;
                        // Only IPv4 comes with its header.
                        let head = if *is_four { usize::from(buffer[0] & 0x0f) * 4 } else { 0 };
                        let heard = buffer.get(head..length).and_then(|part| packet::read(*transport, part));
                        heard.into_iter().for_each(&mut take);
                    }
                    Err(Errno::EAGAIN) => break,
                    Err(error) => panic!("listening: {error}"),
                }
            }
        }
    }

    /// The ear of UDP over IPv4, which the sentinels come to.
    fn sentinel_ear(&self) -> &OwnedFd {
        let of =
            |(transport, is_four, _): &&(Transport, bool, OwnedFd)| *transport == Transport::Udp && *is_four;
        &self.ears.iter().find(of).unwrap().2
    }
}

impl Prober {
    /// Listens from now on. Waits until all links are up, so nothing may forbid the node to send yet.
    pub(crate) fn new(net: &Net) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let ends = net.places.iter().chain([&net.node, &net.around]);
        let mut processor = CpuSet::new();
        let processors = std::thread::available_parallelism().unwrap().get();
        processor.set(COUNT.fetch_add(1, Ordering::Relaxed) % processors).unwrap();
        let mut prober = Self { ends: ends.map(Sockets::open).collect(), next: 1, processor };
        prober.warm_up();
        prober
    }

    fn warm_up(&mut self) {
        let places = (0..self.places()).map(place);
        let targets = places.chain([["192.0.2.2", "2001:db8::2"].map(ip)]);
        let mut silent: Vec<Flow> = targets
            .flatten()
            .map(|to| {
                let from = ip(if to.is_ipv4() { OWN[0] } else { OWN[1] });
                Flow { from, to, transport: Transport::Udp, port: 9 }
            })
            .collect();
        let until = Instant::now() + PATIENCE;
        while !silent.is_empty() {
            assert!(Instant::now() < until, "links do not come up: {silent:?}");
            let first = self.next;
            for flow in &silent {
                self.ends[self.node()].send(flow.to, &packet::opening(flow, self.next));
                self.next += 1;
            }
            std::thread::sleep(Duration::from_millis(10));
            let mut heard = BTreeSet::new();
            for end in &self.ends {
                end.hear(|one| {
                    if let Heard::Arrival(number) = one {
                        heard.insert(number);
                    }
                });
            }
            let mut numbers = first..;
            silent.retain(|_| !numbers.next().is_some_and(|number| heard.contains(&number)));
        }
    }

    fn places(&self) -> usize {
        self.ends.len() - 2
    }

    fn node(&self) -> End {
        self.places()
    }

    fn end_of(&self, address: IpAddr) -> End {
        let is_place = |number: &usize| place(*number).contains(&address);
        match (0..self.places()).find(is_place) {
            Some(number) => number,
            None if OWN.iter().any(|own| ip(own) == address) => self.node(),
            None => self.node() + 1,
        }
    }

    /// The number of the next packet of [`Prober::try_all`].
    pub(crate) fn next_number(&self) -> u32 {
        self.next
    }

    /// Sends the first packet of each flow, which is dialled in one way and leads to another if a Service is dialled; what
    /// became of each.
    pub(crate) fn try_all(&mut self, flows: &[(Flow, Flow)]) -> Vec<Outcome> {
        let (first, mut outcomes) = (self.next, vec![Outcome::default(); flows.len()]);
        self.pinned(|prober| {
            for (dialled, _) in flows {
                let bytes = packet::opening(dialled, prober.next);
                prober.next += 1;
                prober.ends[prober.end_of(dialled.from)].send(dialled.to, &bytes);
            }
            for _ in 0..ROUNDS {
                prober.sentinels(first, flows, &mut outcomes);
            }
        });
        outcomes
    }

    /// Sends packets (source, destination, bytes) from where the source is. Returns when those that arrive have arrived.
    pub(crate) fn send_in_order(&mut self, packets: &[(IpAddr, IpAddr, Vec<u8>)]) {
        self.pinned(|prober| {
            for (from, to, bytes) in packets {
                prober.ends[prober.end_of(*from)].send(*to, bytes);
            }
            for _ in 0..ROUNDS {
                prober.sentinels(prober.next, &[], &mut []);
            }
        });
    }

    /// Does something on one processor only.
    fn pinned(&mut self, work: impl FnOnce(&mut Self)) {
        let this_thread = Pid::from_raw(0);
        let before = sched_getaffinity(this_thread).unwrap();
        sched_setaffinity(this_thread, &self.processor).unwrap();
        work(self);
        sched_setaffinity(this_thread, &before).unwrap();
    }

    /// A packet from the node to everybody. Returns when all have it, with what else was heard meanwhile.
    fn sentinels(&mut self, first: u32, flows: &[(Flow, Flow)], outcomes: &mut [Outcome]) {
        let mut missing = BTreeMap::new();
        for end in 0..self.ends.len() {
            let (from, to) = match end {
                end if end < self.places() => (ip(OWN[2]), place(end)[0]),
                end if end == self.node() => (ip("127.0.0.1"), ip("127.0.0.1")),
                _ => (ip(OWN[0]), ip("192.0.2.2")),
            };
            let flow = Flow { from, to, transport: Transport::Udp, port: 9 };
            missing.insert(end, self.next);
            self.ends[self.node()].send(to, &packet::opening(&flow, self.next));
            self.next += 1;
        }
        let until = Instant::now() + PATIENCE;
        while !missing.is_empty() {
            assert!(Instant::now() < until, "the node does not reach {missing:?}");
            self.wait(&missing);
            for end in 0..self.ends.len() {
                self.ends[end].hear(|heard| {
                    let (Heard::Arrival(number) | Heard::Answer(number)) = heard;
                    if missing.get(&end) == Some(&number) {
                        missing.remove(&end);
                        return;
                    }
                    let at = number.checked_sub(first).and_then(|at| usize::try_from(at).ok());
                    let Some(((dialled, real), outcome)) =
                        at.and_then(|at| flows.get(at).zip(outcomes.get_mut(at)))
                    else {
                        return;
                    };
                    match heard {
                        Heard::Arrival(_) if end == self.end_of(real.to) => outcome.arrived = true,
                        Heard::Answer(_) if end == self.end_of(dialled.from) => outcome.answered = true,
                        _ => panic!("{real} dialled as {dialled} came to a wrong end"),
                    }
                });
            }
        }
    }

    fn wait(&self, missing: &BTreeMap<End, u32>) {
        let ear = |end: &End| PollFd::new(self.ends[*end].sentinel_ear().as_fd(), PollFlags::POLLIN);
        let mut ears: Vec<PollFd<'_>> = missing.keys().map(ear).collect();
        poll(&mut ears, PollTimeout::from(100_u16)).unwrap();
    }
}
