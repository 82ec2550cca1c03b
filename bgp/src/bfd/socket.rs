//! The sockets: one that receives for all sessions of a port and family, one of its own to send for each session.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, SockaddrStorage, bind, connect,
    recvmsg, setsockopt, sockopt,
};
use prefix::Family;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// What packets are sent with, and must come with from a neighbour on the same link (RFC 5881 §5).
pub(super) const TTL: u8 = 255;
/// Source ports (RFC 5881 §4).
const SOURCE_PORTS: std::ops::RangeInclusive<u16> = 49152..=65535;
/// How many of them are tried.
const TRIES: u64 = 64;

/// A packet as it came.
#[derive(Debug)]
pub(super) struct Received {
    /// Its sender.
    pub(super) from: IpAddr,
    /// Its TTL or hop limit, if the kernel said so.
    pub(super) ttl: Option<u8>,
    /// The octets; more than a control packet ever has is cut off.
    pub(super) octets: Vec<u8>,
}

fn socket(family: Family) -> io::Result<OwnedFd> {
    let address_family = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = nix::sys::socket::socket(address_family, SockType::Datagram, flags, None)?;
    if family == Family::V6 {
        // The wildcard of IPv6 would take the port of IPv4 as well.
        setsockopt(&socket, sockopt::Ipv6V6Only, &true)?;
    }
    Ok(socket)
}

fn any(family: Family) -> IpAddr {
    match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// Receives at every address: sessions of different own addresses share it, and none waits for an address to come.
pub(super) fn receiver(family: Family, port: u16) -> io::Result<UdpSocket> {
    let socket = socket(family)?;
    match family {
        Family::V4 => setsockopt(&socket, sockopt::Ipv4RecvTtl, &true)?,
        Family::V6 => setsockopt(&socket, sockopt::Ipv6RecvHopLimit, &true)?,
    }
    bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(any(family), port)))?;
    UdpSocket::from_std(socket.into())
}

/// Sends to one neighbour, without waiting for room: a packet that has to wait is a lost one.
pub(super) fn sender(
    local: Option<IpAddr>,
    peer: SocketAddr,
    chance: u64,
) -> io::Result<std::net::UdpSocket> {
    let family = Family::of(peer.ip());
    let socket = socket(family)?;
    match family {
        Family::V4 => setsockopt(&socket, sockopt::Ipv4Ttl, &TTL.into())?,
        Family::V6 => setsockopt(&socket, sockopt::Ipv6Ttl, &TTL.into())?,
    }
    bind_to_any(&socket, local.unwrap_or_else(|| any(family)), chance)?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(peer))?;
    Ok(socket.into())
}

/// Takes one of the ports that are meant for it, the first free one from a place that chance chooses.
fn bind_to_any(socket: &OwnedFd, own: IpAddr, chance: u64) -> io::Result<()> {
    let (first, count) = (*SOURCE_PORTS.start(), SOURCE_PORTS.len() as u64);
    let mut outcome = Err(Errno::EADDRINUSE);
    for step in 0..TRIES {
        let offset = u16::try_from(chance.wrapping_add(step) % count).unwrap_or(0);
        outcome = bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(own, first + offset)));
        if outcome != Err(Errno::EADDRINUSE) {
            break;
        }
    }
    Ok(outcome?)
}

/// The next packet.
pub(super) async fn receive(socket: &UdpSocket) -> io::Result<Received> {
    socket.async_io(Interest::READABLE, || receive_now(socket)).await
}

fn receive_now(socket: &UdpSocket) -> io::Result<Received> {
    let mut octets = [0; 64];
    let mut control = nix::cmsg_space!(i32);
    let mut parts = [IoSliceMut::new(&mut octets)];
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty())?;
    let ttl = message.cmsgs()?.find_map(|one| match one {
        ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => u8::try_from(ttl).ok(),
        _ => None,
    });
    let from = message.address.and_then(address).ok_or(io::ErrorKind::InvalidData)?;
    let length = message.bytes;
    Ok(Received { from, ttl, octets: octets.get(..length).unwrap_or_default().to_vec() })
}

fn address(from: SockaddrStorage) -> Option<IpAddr> {
    let v4 = from.as_sockaddr_in().map(|one| IpAddr::V4(one.ip()));
    v4.or_else(|| from.as_sockaddr_in6().map(|one| IpAddr::V6(one.ip())))
}
