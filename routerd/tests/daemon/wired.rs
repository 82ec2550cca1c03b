//! A daemon whose namespace has a bridge with pods behind it and a wire to the outside, for real packets.
//!
//! ```text
//!   outside 192.0.2.9 ── up0 (a bridge) ── the daemon's namespace 192.0.2.1
//!                                            │ kube-bridge 10.244.1.1
//!                                       pod  pod  pod
//! ```

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use cni_plugin::socket::{Client, Detach, Reply, Request, moment};
use kernel::testing::TestNs;

use super::world::World;

/// Longer than the daemon takes for anything on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Only the planes that pods need: the test machine has no IPVS.
pub(crate) const FLAGS: [&str; 1] = ["--run-service-proxy=false"];

/// A world with wires.
pub(crate) struct Wired {
    pub(crate) world: World,
    pub(crate) outside: TestNs,
}

impl Wired {
    /// Everything but the daemon.
    pub(crate) fn new(purpose: &str) -> Self {
        let (world, outside) = (World::new(purpose), TestNs::new("outside"));
        let node = &world.namespace;
        let links = [
            "link add kube-bridge address 0a:58:0a:f4:01:01 type bridge",
            "addr add 10.244.1.1/24 dev kube-bridge",
            "link set kube-bridge up",
            &format!("link add wire type veth peer name eth0 netns {}", outside.name()),
            "link set wire master up0 up",
        ];
        for line in links {
            ip(node, line);
        }
        for line in
            ["addr add 192.0.2.9/24 dev eth0", "link set eth0 up", "route add 10.244.0.0/16 via 192.0.2.1"]
        {
            ip(&outside, line);
        }
        Self { world, outside }
    }

    /// The same with a running daemon that has a complete view and has applied it.
    pub(crate) fn running(purpose: &str) -> Self {
        let mut wired = Self::new(purpose);
        wired.world.start_with(&FLAGS);
        wired.synced();
        wired
    }

    /// Waits until policies are in the kernel and pods are forwarded.
    pub(crate) fn synced(&self) {
        self.world.until("planes that have run", |status| super::is_synced(status, &["routing", "policy"]));
    }

    /// Wires a pod as the plugin does, without telling the daemon.
    pub(crate) fn wire(&self, number: u8) -> Pod {
        let space = TestNs::new("pod");
        let device = format!("veth{number}");
        ip(
            &self.world.namespace,
            &format!("link add {device} type veth peer name eth0 netns {}", space.name()),
        );
        let pod = Pod { space, device, address: Ipv4Addr::new(10, 244, 1, number) };
        ip(&pod.space, &format!("addr add {}/24 dev eth0", pod.address));
        ip(&pod.space, "link set eth0 up");
        ip(&pod.space, "route add default via 10.244.1.1");
        pod
    }

    /// Lets packets come and go: the pod is a port of the bridge now.
    pub(crate) fn plug(&self, pod: &Pod) {
        ip(&self.world.namespace, &format!("link set {} master kube-bridge up", pod.device));
    }

    /// A wired pod that the daemon knows.
    pub(crate) fn pod(&self, name: &str, number: u8) -> Pod {
        let pod = self.wire(number);
        self.plug(&pod);
        assert_eq!(self.world.attach(name, &pod.address.to_string()), Reply::Committed);
        pod
    }

    /// Takes a pod away as a DEL does.
    pub(crate) fn delete(&self, name: &str, pod: Pod) {
        let detach =
            Detach { container_id: format!("container-of-{name}"), interface: "eth0".into(), at: moment() };
        let client = Client::new(self.world.path("run").join("cni.sock"));
        let reply = client.ask(&Request::Detach(detach), PATIENCE, PATIENCE).unwrap();
        assert_eq!(reply, Reply::Detached);
        self.unplug(pod);
    }

    /// Takes a pod's device away and says nothing.
    pub(crate) fn unplug(&self, pod: Pod) {
        let Pod { space, device, .. } = pod;
        ip(&self.world.namespace, &format!("link delete {device}"));
        drop(space);
    }
}

/// The namespace of a pod.
pub(crate) struct Pod {
    pub(crate) space: TestNs,
    device: String,
    pub(crate) address: Ipv4Addr,
}

impl Pod {
    /// Its socket address.
    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        (self.address, port).into()
    }
}

/// Runs `ip` with the words of `line` inside.
fn ip(space: &TestNs, line: &str) {
    space.run("ip", &line.split_whitespace().collect::<Vec<_>>());
}

/// A thread that goes on until this is dropped.
pub(crate) struct Background {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Background {
    /// Calls `step` again and again.
    pub(crate) fn new(mut step: impl FnMut() + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                step();
            }
        });
        Self { stop, thread: Some(thread) }
    }

    /// Ends it; panics if it has panicked.
    pub(crate) fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Sends datagrams to `targets` without end, from one socket, so that all to one target are one flow.
pub(crate) fn flood(from: &TestNs, targets: Vec<SocketAddr>) -> Background {
    let socket = from.run_in(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 7777)).unwrap());
    Background::new(move || {
        for target in &targets {
            // An address that nobody has is an error now and then.
            let _ = socket.send_to(b"flood", target);
        }
        thread::sleep(Duration::from_micros(300));
    })
}

/// Counts the datagrams that arrive at a port, and answers them if `answers`. Ends when it is dropped.
pub(crate) struct Counter {
    arrived: Arc<AtomicU64>,
    _background: Background,
}

impl Counter {
    pub(crate) fn new(space: &TestNs, port: u16, answers: bool) -> Self {
        let socket = space.run_in(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let arrived = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&arrived);
        let step = move || {
            let Ok((_, from)) = socket.recv_from(&mut [0; 64]) else { return };
            count.fetch_add(1, Ordering::Relaxed);
            if answers {
                let _ = socket.send_to(b"answer", from);
            }
        };
        Self { arrived, _background: Background::new(step) }
    }

    pub(crate) fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }
}

/// Counts the connections that are made to a port of the namespace and echoes what comes. Ends when it is dropped.
pub(crate) fn echo(space: &TestNs, port: u16) -> (Background, Arc<AtomicU64>) {
    let listener = space.run_in(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).unwrap());
    listener.set_nonblocking(true).unwrap();
    let accepted = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&accepted);
    let background = Background::new(move || match listener.accept() {
        Ok((stream, _)) => {
            count.fetch_add(1, Ordering::Relaxed);
            thread::spawn(move || {
                stream.set_nonblocking(false).unwrap();
                let _ = std::io::copy(&mut &stream, &mut &stream);
            });
        }
        Err(_) => thread::sleep(Duration::from_millis(2)),
    });
    (background, accepted)
}

/// The number of rounds: few in the normal tests, those of the issue when the variable says so.
pub(crate) fn rounds(variable: &str, few: u32) -> u32 {
    std::env::var(variable).ok().map_or(few, |text| text.parse().unwrap())
}
