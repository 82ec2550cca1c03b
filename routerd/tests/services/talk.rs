//! Servers that say who they are and whom they see, and clients that ask.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use kernel::testing::TestNs;
use socket2::{Domain, Protocol, Socket, Type};

/// `IPPROTO_SCTP`.
const SCTP: i32 = 132;
/// Longer than anything that comes takes in a guest of a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);
/// What does not come within this time does not come.
const SILENCE: Duration = Duration::from_secs(3);

/// What a client heard: the server's name and the client's address as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Heard {
    pub(crate) server: String,
    pub(crate) source: String,
}

fn heard(line: &str) -> Heard {
    let (server, source) = line.trim().split_once(' ').unwrap_or((line, ""));
    Heard { server: server.to_owned(), source: source.to_owned() }
}

/// A TCP server in a namespace: it greets each client with its name and the client's address, and then echoes lines.
/// Its threads end with the test program.
pub(crate) fn serve_tcp(namespace: &TestNs, address: &str, name: &'static str) {
    let listener = namespace.run_in(|| TcpListener::bind(address).unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || greet(stream, name));
        }
    });
}

/// The same by SCTP (RFC 9260), whose streams of one connection are read and written as TCP's.
pub(crate) fn serve_sctp(namespace: &TestNs, address: &str, name: &'static str) {
    let listener = namespace.run_in(|| {
        let socket = sctp_socket(address);
        socket.bind(&address.parse::<SocketAddr>().unwrap().into()).unwrap();
        socket.listen(16).unwrap();
        socket
    });
    std::thread::spawn(move || {
        while let Ok((socket, _)) = listener.accept() {
            std::thread::spawn(move || greet(socket.into(), name));
        }
    });
}

fn sctp_socket(address: &str) -> Socket {
    let domain = Domain::for_address(address.parse().unwrap());
    Socket::new(domain, Type::STREAM, Some(Protocol::from(SCTP))).unwrap()
}

/// Connects by SCTP from a namespace and returns the greeting.
pub(crate) fn sctp(namespace: &TestNs, to: &str) -> std::io::Result<Heard> {
    let socket = namespace.run_in(|| sctp_socket(to));
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect_timeout(&to.parse::<SocketAddr>().unwrap().into(), PATIENCE)?;
    let mut line = String::new();
    BufReader::new(TcpStream::from(socket)).read_line(&mut line)?;
    Ok(heard(&line))
}

fn greet(mut stream: TcpStream, name: &str) -> Option<()> {
    let peer = stream.peer_addr().ok()?.ip();
    writeln!(stream, "{name} {peer}").ok()?;
    let mut buffer = [0; 512];
    loop {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => stream.write_all(&buffer[..count]).ok()?,
            _ => return None,
        }
    }
}

/// A UDP server in a namespace that answers each packet with its name and the client's address.
pub(crate) fn serve_udp(namespace: &TestNs, address: &str, name: &'static str) {
    let socket = namespace.run_in(|| UdpSocket::bind(address).unwrap());
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((_, peer)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(format!("{name} {}", peer.ip()).as_bytes(), peer);
        }
    });
}

/// A TCP connection from a namespace.
pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
    /// What the server greeted with.
    pub(crate) heard: Heard,
}

impl Connection {
    /// Says something and waits for the echo.
    pub(crate) fn says(&mut self, text: &str) -> std::io::Result<String> {
        writeln!(self.reader.get_mut(), "{text}")?;
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

/// Connects from a namespace.
pub(crate) fn connect(namespace: &TestNs, to: &str) -> std::io::Result<Connection> {
    connect_within(namespace, to, PATIENCE)
}

fn connect_within(namespace: &TestNs, to: &str, time: Duration) -> std::io::Result<Connection> {
    let to: SocketAddr = to.parse().unwrap();
    let stream = namespace.run_in(|| TcpStream::connect_timeout(&to, time))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    Ok(Connection { reader, heard: heard(&line) })
}

/// Connects from a namespace and returns the greeting.
pub(crate) fn ask(namespace: &TestNs, to: &str) -> Heard {
    match connect(namespace, to) {
        Ok(connection) => connection.heard,
        Err(error) => panic!("{} to {to}: {error}", namespace.name()),
    }
}

/// How a connection fails that is answered.
pub(crate) fn refusal(namespace: &TestNs, to: &str) -> ErrorKind {
    failure(namespace, to, PATIENCE)
}

/// True if a connection is not answered at all.
pub(crate) fn is_silent(namespace: &TestNs, to: &str) -> bool {
    failure(namespace, to, SILENCE) == ErrorKind::TimedOut
}

fn failure(namespace: &TestNs, to: &str, time: Duration) -> ErrorKind {
    match connect_within(namespace, to, time) {
        Ok(connection) => panic!("{} reached {:?} at {to}", namespace.name(), connection.heard),
        Err(error) => error.kind(),
    }
}

/// A UDP client that keeps its port.
pub(crate) struct UdpClient {
    socket: UdpSocket,
}

impl UdpClient {
    pub(crate) fn new(namespace: &TestNs, to: &str) -> Self {
        let socket = namespace.run_in(|| {
            let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
            let socket = UdpSocket::bind(any).unwrap();
            socket.connect(to).unwrap();
            socket
        });
        Self { socket }
    }

    /// Sends one packet; what came back.
    pub(crate) fn asks(&self) -> std::io::Result<Heard> {
        self.asks_for(PATIENCE)
    }

    /// Sends one packet; true if nothing comes back, or a refusal.
    pub(crate) fn is_unheard(&self) -> bool {
        self.asks_for(SILENCE).is_err()
    }

    fn asks_for(&self, time: Duration) -> std::io::Result<Heard> {
        self.socket.set_read_timeout(Some(time))?;
        self.socket.send(b"?")?;
        let mut buffer = [0; 512];
        let count = self.socket.recv(&mut buffer)?;
        Ok(heard(&String::from_utf8_lossy(&buffer[..count])))
    }
}
