//! Echo requests of ICMP and ICMPv6.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;

use kernel::testing::TestNs;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage, sendto, socket,
};

/// Sends one echo request from the space.
pub(crate) fn request(space: &TestNs, to: IpAddr) {
    // Type, code, check sum, identifier, number.
    let (family, protocol, packet) = match to {
        // The sum of all 16-bit words is 0xffff.
        IpAddr::V4(_) => (AddressFamily::Inet, SockProtocol::Icmp, [8, 0, 0xf7, 0xfd, 0, 1, 0, 1]),
        // Here the kernel sums up.
        IpAddr::V6(_) => (AddressFamily::Inet6, SockProtocol::IcmpV6, [128, 0, 0, 0, 0, 1, 0, 1]),
    };
    let raw = space.run_in(|| socket(family, SockType::Raw, SockFlag::SOCK_CLOEXEC, protocol).unwrap());
    let to = SockaddrStorage::from(SocketAddr::new(to, 0));
    sendto(raw.as_raw_fd(), &packet, &to, MsgFlags::empty()).unwrap();
}
