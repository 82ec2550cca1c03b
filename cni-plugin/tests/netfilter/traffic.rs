//! Connections between namespaces.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use kernel::testing::TestNs;

/// How long something that must come may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(30);

static QUESTIONS: AtomicU64 = AtomicU64::new(0);

/// What no other question asks: a late datagram of an earlier one must not pass for this one's.
fn question() -> [u8; 8] {
    QUESTIONS.fetch_add(1, Ordering::Relaxed).to_be_bytes()
}

fn any(v6: bool) -> IpAddr {
    if v6 { [0; 16].into() } else { [0; 4].into() }
}

/// A socket on a port that an earlier one of the test may be about to leave.
fn bound<T>(bind: impl Fn() -> std::io::Result<T>) -> T {
    let start = Instant::now();
    loop {
        match bind() {
            Err(error) if error.kind() == ErrorKind::AddrInUse && start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(10));
            }
            socket => return socket.unwrap(),
        }
    }
}

/// Connects from `from` to `to`; the address that the server in `server` on `port` sees, `None` if it is refused or
/// another one answers.
pub(crate) fn tcp(from: &TestNs, to: &str, server: &TestNs, port: u16) -> Option<IpAddr> {
    let to: SocketAddr = to.parse().unwrap();
    let listener = bound(|| server.run_in(|| TcpListener::bind((any(to.is_ipv6()), port))));
    listener.set_nonblocking(true).unwrap();
    let client = from.run_in(|| TcpStream::connect_timeout(&to, PATIENCE)).ok()?;
    let own = client.local_addr().unwrap();
    let start = Instant::now();
    loop {
        match listener.accept() {
            Ok((_, peer)) => return Some(peer.ip()),
            Err(error) if error.kind() == ErrorKind::WouldBlock && start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => panic!("{own} connected to {to}, but not to the server: {error}"),
        }
    }
}

/// A UDP server.
pub(crate) struct Server(UdpSocket);

impl Server {
    pub(crate) fn new(ns: &TestNs, port: u16, v6: bool) -> Self {
        let socket = bound(|| ns.run_in(|| UdpSocket::bind((any(v6), port))));
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    /// The sender of a waiting datagram with this question, which is answered.
    fn answer(&self, question: &[u8]) -> Option<SocketAddr> {
        let mut buffer = [0; 16];
        loop {
            let (length, sender) = self.0.recv_from(&mut buffer).ok()?;
            if buffer[..length] == *question {
                self.0.send_to(question, sender).unwrap();
                return Some(sender);
            }
        }
    }
}

/// A UDP client that keeps its port.
pub(crate) struct Client(UdpSocket);

impl Client {
    pub(crate) fn new(ns: &TestNs, to: &str) -> Self {
        let to: SocketAddr = to.parse().unwrap();
        let socket = ns.run_in(|| UdpSocket::bind((any(to.is_ipv6()), 0)).unwrap());
        socket.connect(to).unwrap();
        socket.set_nonblocking(true).unwrap();
        Self(socket)
    }

    /// Sends until one of the servers answers and the answer is back: the place of the server, and whom it saw. `None`
    /// if the datagram is refused.
    pub(crate) fn ask(&self, servers: &[&Server]) -> Option<(usize, IpAddr)> {
        let (start, question, mut buffer) = (Instant::now(), question(), [0; 16]);
        while start.elapsed() < PATIENCE {
            if let Err(error) = self.0.send(&question) {
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
                return None;
            }
            let round = Instant::now();
            let mut heard = None;
            while round.elapsed() < Duration::from_millis(500) {
                for (place, server) in servers.iter().enumerate() {
                    heard = server.answer(&question).map(|sender| (place, sender.ip())).or(heard);
                }
                match self.0.recv(&mut buffer) {
                    // An answer to an earlier round is one of these servers', too.
                    Ok(length) if buffer[..length] == question && heard.is_some() => return heard,
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => return None,
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        }
        panic!("no answer and no refusal");
    }
}

impl Client {
    /// True if one of many datagrams arrives.
    pub(crate) fn is_heard(&self, server: &Server) -> bool {
        self.arrives(server, PATIENCE)
    }

    /// True if none of some datagrams arrives.
    pub(crate) fn is_unheard(&self, server: &Server) -> bool {
        !self.arrives(server, Duration::from_millis(300))
    }

    fn arrives(&self, server: &Server, patience: Duration) -> bool {
        let (start, question) = (Instant::now(), question());
        while start.elapsed() < patience {
            drop(self.0.send(&question));
            if server.answer(&question).is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

/// One datagram and its answer, as [`tcp`].
pub(crate) fn udp(from: &TestNs, to: &str, server: &TestNs, port: u16) -> Option<IpAddr> {
    let server = Server::new(server, port, to.starts_with('['));
    Client::new(from, to).ask(&[&server]).map(|(_, peer)| peer)
}
