//! TCP.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use kernel::{KernelError, tcp};
use nix::sys::socket::{setsockopt, sockopt};
use prefix::Family;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{Distance, Listener, Network, Passwords, Stream, Way};
use crate::config::{Password, Signature};

/// Connections that wait to be accepted. Every peer may come at once after a restart.
const BACKLOG: u32 = 1024;
/// What Linux sends with if nobody says otherwise.
const SYSTEM_TTL: u8 = 64;

/// The network of the namespace the process is in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

fn socket(address: IpAddr) -> io::Result<TcpSocket> {
    if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
}

/// The kernel's number and our words.
fn io_error(error: &KernelError) -> io::Error {
    io::Error::new(io::Error::from_raw_os_error(error.errno as i32).kind(), error.to_string())
}

fn limit(socket: &impl AsFd, family: Family, distance: Distance) -> Result<(), KernelError> {
    if let Some(ttl) = distance.ttl {
        tcp::set_ttl(socket, family, ttl)?;
    }
    match distance.least {
        Some(least) => tcp::set_min_ttl(socket, family, least),
        None => Ok(()),
    }
}

/// Makes a socket sign and ask for signatures.
fn sign(socket: &impl AsFd, peer: IpAddr, password: &Password) -> Result<(), KernelError> {
    match password.signature() {
        Signature::Md5 => tcp::sign(socket, peer, Some(password.secret())),
        Signature::Ao(key) => tcp::ao::add(socket, peer, key, password.secret()),
    }
}

/// Makes room for what comes `next`. One MD5 key replaces another, so that there is no moment without any.
fn unsign(
    socket: &impl AsFd,
    peer: IpAddr,
    password: &Password,
    next: Option<&Password>,
) -> Result<(), KernelError> {
    match (password.signature(), next.map(Password::signature)) {
        (Signature::Md5, Some(Signature::Md5)) => Ok(()),
        (Signature::Md5, _) => tcp::sign(socket, peer, None),
        (Signature::Ao(key), _) => tcp::ao::delete(socket, peer, key),
    }
}

impl Network for Tcp {
    type Stream = TcpStream;
    type Listener = TcpListener;

    async fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let socket = socket(address.ip())?;
        // A predecessor's connections may linger in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        if address.is_ipv6() {
            // The wildcard of IPv6 would take the port of IPv4 as well.
            setsockopt(&socket.as_fd(), sockopt::Ipv6V6Only, &true)?;
        }
        // The kernel answers a SYN before anybody knows whose it is, and a peer may take nothing but 255 (RFC 5082).
        tcp::set_ttl(&socket, Family::of(address.ip()), 255).map_err(|error| io_error(&error))?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    }

    async fn connect(&self, way: &Way) -> io::Result<TcpStream> {
        let address = way.peer.ip();
        let socket = socket(address)?;
        if let Some(local) = way.local {
            socket.bind(SocketAddr::new(local, 0))?;
        }
        if let Some(password) = &way.password {
            sign(&socket, address, password).map_err(|error| io_error(&error))?;
        }
        limit(&socket, Family::of(address), way.distance).map_err(|error| io_error(&error))?;
        socket.connect(way.peer).await
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, IpAddr)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        Ok((stream, peer.ip().to_canonical()))
    }

    fn sign(&self, old: &Passwords, new: &Passwords) -> BTreeMap<IpAddr, io::Error> {
        let family = match self.local_addr() {
            Ok(local) => Family::of(local.ip()),
            Err(error) => {
                let same = || io::Error::new(error.kind(), error.to_string());
                return new.keys().map(|peer| (*peer, same())).collect();
            }
        };
        let other = |peer: &IpAddr| Family::of(*peer) == family && old.get(peer) != new.get(peer);
        let mut failed = BTreeMap::new();
        let mut note = |peer: &IpAddr, done: Result<(), KernelError>| {
            if let Err(error) = done {
                failed.insert(*peer, io_error(&error));
            }
        };
        // The kernel takes no key for a peer that has one of the other kind or with the same identifiers.
        for (peer, password) in old.iter().filter(|(peer, _)| other(peer)) {
            note(peer, unsign(self, *peer, password, new.get(peer)));
        }
        for (peer, password) in new.iter().filter(|(peer, _)| other(peer)) {
            note(peer, sign(self, *peer, password));
        }
        failed
    }
}

impl Stream for TcpStream {
    fn local_address(&self) -> Option<IpAddr> {
        self.local_addr().ok().map(|address| address.ip().to_canonical())
    }

    fn watch(&self, hold_time: u16) -> io::Result<()> {
        self.set_nodelay(true)?;
        if hold_time > 0 {
            let milliseconds = Duration::from_secs(hold_time.into()).as_millis();
            let timeout = u32::try_from(milliseconds).unwrap_or(u32::MAX);
            setsockopt(&self.as_fd(), sockopt::TcpUserTimeout, &timeout)?;
        }
        Ok(())
    }

    fn limit(&self, distance: Distance) -> io::Result<()> {
        let family = Family::of(self.local_addr()?.ip());
        // The listener sends with 255, so a connection that wants the system's TTL says so.
        let ttl = distance.ttl.unwrap_or(SYSTEM_TTL);
        limit(self, family, Distance { ttl: Some(ttl), ..distance }).map_err(|error| io_error(&error))
    }
}
