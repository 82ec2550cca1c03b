//! One BGP session from a peer's side, a connection and a thread that keeps it alive.

use std::io::{BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddrV4, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, socket};

use super::message::{self, HEADER, KEEPALIVE, NOTIFICATION, OPEN, Told, UPDATE};
use super::wire::ROUTER;

/// How long a router may take to be there.
const LIMIT: Duration = Duration::from_mins(1);
/// Between attempts.
const PAUSE: Duration = Duration::from_millis(50);
/// How long a router may take for its part of the handshake, before that counts as an attempt that failed.
const ANSWER: Duration = Duration::from_secs(5);
/// Between keepalives; the shortest hold time of the routers is three times as long.
const ALIVE: Duration = Duration::from_secs(20);

/// An established session; it ends with this value.
#[derive(Debug)]
pub(super) struct Session(TcpStream);

impl Drop for Session {
    fn drop(&mut self) {
        // The router may have ended it.
        let _gone = self.0.shutdown(Shutdown::Both);
    }
}

/// What a router told, and when it came.
#[derive(Debug)]
pub(super) struct Heard {
    pub(super) at: Instant,
    pub(super) told: Told,
}

impl Session {
    /// Connects from this address until the router, which may just be starting, has taken the session up. The calling thread
    /// is in the peers' namespace.
    pub(super) fn establish(own: Ipv4Addr) -> Result<Self> {
        let begin = Instant::now();
        loop {
            match attempt(own) {
                Ok(stream) => return Ok(Self(stream)),
                Err(error) if begin.elapsed() > LIMIT => {
                    return Err(error.context(format!("no session from {own} within {LIMIT:?}")));
                }
                Err(_) => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Sends messages that were made before.
    pub(super) fn send(&mut self, messages: &[u8]) -> Result<()> {
        self.0.write_all(messages).context("the router ended the session while it was told routes")
    }

    /// Keeps the session alive and tells of all the router says, until the session is gone.
    pub(super) fn listen(&self) -> Result<Receiver<Heard>> {
        let (sender, heard) = mpsc::channel();
        let mut writer = self.0.try_clone()?;
        let reader = self.0.try_clone()?;
        reader.set_read_timeout(Some(ALIVE))?;
        std::thread::spawn(move || -> Result<()> {
            let mut reader = BufReader::with_capacity(1 << 16, reader);
            let mut alive = Instant::now();
            loop {
                let next = read(&mut reader)?;
                if alive.elapsed() >= ALIVE {
                    writer.write_all(&message::keepalive())?;
                    alive = Instant::now();
                }
                match next {
                    Some((UPDATE, body)) => {
                        // Who only speaks hears nothing.
                        let _unheard = sender.send(Heard { at: Instant::now(), told: Told::read(&body)? });
                    }
                    Some((NOTIFICATION, body)) => bail!("the router ended the session: {body:?}"),
                    _ => {}
                }
            }
        });
        Ok(heard)
    }
}

fn attempt(own: Ipv4Addr) -> Result<TcpStream> {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(own, 0)))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(ROUTER, 179)))?;
    let mut stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(&message::open(own))?;
    for expected in [OPEN, KEEPALIVE] {
        match read(&mut stream)? {
            Some((kind, _)) if kind == expected => {}
            other => bail!("the router answered {other:?} where a message of type {expected} was due"),
        }
        if expected == OPEN {
            stream.write_all(&message::keepalive())?;
        }
    }
    Ok(stream)
}

/// The next message, its type and body; `None` if none has begun within the connection's patience.
fn read(stream: &mut impl Read) -> Result<Option<(u8, Vec<u8>)>> {
    let mut header = [0; HEADER];
    match stream.read(&mut header[..1]) {
        Ok(0) => bail!("the router closed the connection"),
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    stream.read_exact(&mut header[1..])?;
    let length = usize::from(u16::from_be_bytes([header[16], header[17]]));
    let mut body = vec![0; length.checked_sub(HEADER).context("a message shorter than its header")?];
    stream.read_exact(&mut body)?;
    Ok(Some((header[18], body)))
}
