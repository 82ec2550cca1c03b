//! Connections between namespaces.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use kernel::testing::TestNs;

/// How long something that must come may take.
const PATIENCE: Duration = Duration::from_secs(5);

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

    /// The sender of a waiting datagram, which is answered.
    fn answer(&self) -> Option<SocketAddr> {
        let mut buffer = [0; 16];
        let (length, sender) = self.0.recv_from(&mut buffer).ok()?;
        self.0.send_to(&buffer[..length], sender).unwrap();
        Some(sender)
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
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Err(error) = self.0.send(b"ping") {
                assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{error}");
                return None;
            }
            let round = Instant::now();
            let mut heard = None;
            while round.elapsed() < Duration::from_millis(500) {
                for (place, server) in servers.iter().enumerate() {
                    heard = server.answer().map(|sender| (place, sender.ip())).or(heard);
                }
                match self.0.recv(&mut [0; 16]) {
                    Ok(_) => return heard,
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => return None,
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        }
        panic!("no answer and no refusal");
    }
}

impl Client {
    /// True if one of some datagrams arrives.
    pub(crate) fn is_heard(&self, server: &Server) -> bool {
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(300) {
            drop(self.0.send(b"ping"));
            if server.answer().is_some() {
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
