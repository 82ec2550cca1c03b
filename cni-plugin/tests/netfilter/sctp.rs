//! SCTP by raw packets, because not every kernel has its sockets.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use kernel::testing::TestNs;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendto, socket,
};
use serde_json::json;

use crate::support::{NODE4, OUTSIDE4, World, port};

const CLIENT_PORT: u16 = 4000;

fn raw(ns: &TestNs) -> OwnedFd {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    ns.run_in(|| socket(AddressFamily::Inet, SockType::Raw, flags, SockProtocol::Sctp).unwrap())
}

/// CRC-32C, which connection tracking checks (RFC 9260 section 6.8).
fn checksum(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        (0..8).fold(
            crc ^ u32::from(*byte),
            |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 },
        )
    };
    !bytes.iter().fold(!0, step)
}

/// A packet that asks for an association.
fn init(to: u16) -> Vec<u8> {
    let mut packet = [CLIENT_PORT.to_be_bytes(), to.to_be_bytes()].concat();
    packet.extend([0; 8]);
    // INIT of 20 bytes: tag, window, streams out and in, first number.
    packet.extend([1, 0, 0, 20, 0, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    let sum = checksum(&packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
    packet
}

/// Source and destination port of the first packet from our client that arrives.
fn arrived(socket: &OwnedFd) -> Option<(Ipv4Addr, u16)> {
    let mut buffer = [0; 256];
    let length = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()).ok()?;
    let packet = buffer.get(..length)?;
    let payload = &packet[usize::from(packet[0] & 0xf) * 4..];
    let word = |at: usize| u16::from_be_bytes([payload[at], payload[at + 1]]);
    let source = Ipv4Addr::new(packet[12], packet[13], packet[14], packet[15]);
    (word(0) == CLIENT_PORT).then_some((source, word(2)))
}

#[test]
fn an_sctp_client_is_led_to_the_pods_port() {
    let world = World::new();
    let (pod, _) = world.mapped(&json!([port("sctp", 8080, 80)]));
    let (client, server) = (raw(&world.outside), raw(&pod.ns));
    let node: Ipv4Addr = NODE4.parse().unwrap();
    let to = SockaddrIn::from(std::net::SocketAddrV4::new(node, 0));
    let start = Instant::now();
    let seen = loop {
        sendto(client.as_raw_fd(), &init(8080), &to, MsgFlags::empty()).unwrap();
        std::thread::sleep(Duration::from_millis(5));
        if let Some(seen) = arrived(&server) {
            break seen;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "nothing arrives: {}", world.rules());
    };
    assert_eq!(seen, (OUTSIDE4.parse().unwrap(), 80));
}

#[test]
fn the_checksum_is_the_known_one() {
    assert_eq!(checksum(b"123456789"), 0xe306_9283);
}
