//! The TCP Authentication Option (RFC 5925): each packet carries a code made with a key that both sides know, and an
//! identifier of that key.

use std::net::IpAddr;
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::libc;

use super::{LONGEST_KEY, SOCKADDR_STORAGE, set, storage};
use crate::{KernelError, Result};

/// `TCP_AO_ADD_KEY` and `TCP_AO_DEL_KEY` of `linux/tcp.h`, which libc does not have.
const ADD_KEY: libc::c_int = 38;
const DELETE_KEY: libc::c_int = 39;

/// How the codes are made: what RFC 5926 asks of every implementation. Both are 96 bits long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// HMAC-SHA-1-96.
    #[default]
    HmacSha1,
    /// AES-128-CMAC-96.
    Aes128Cmac,
}

impl Algorithm {
    /// As the kernel names it. The `128` says that a key of another length goes through RFC 5926 §3.1.1.2 first.
    fn name(self) -> &'static str {
        match self {
            Self::HmacSha1 => "hmac(sha1)",
            Self::Aes128Cmac => "cmac(aes128)",
        }
    }
}

/// All of a key but its secret (the Master Key Tuple of RFC 5925 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The identifier in packets that we send: the peer's `receive_id`.
    pub send_id: u8,
    /// The identifier in packets that come: the peer's `send_id`.
    pub receive_id: u8,
    /// How the codes are made.
    pub algorithm: Algorithm,
}

/// `struct tcp_ao_add` of `linux/tcp.h`.
#[repr(C, align(8))]
struct Add {
    address: [u8; SOCKADDR_STORAGE],
    algorithm: [u8; 64],
    interface: i32,
    /// Three bit fields: whether to use the key at once on a connection that is up. Ours are not.
    flags: u32,
    reserved: u16,
    prefix_length: u8,
    send_id: u8,
    receive_id: u8,
    /// Octets of the code.
    code_length: u8,
    key_flags: u8,
    key_length: u8,
    key: [u8; LONGEST_KEY],
}

/// `struct tcp_ao_del` of `linux/tcp.h`.
#[repr(C, align(8))]
struct Delete {
    address: [u8; SOCKADDR_STORAGE],
    interface: i32,
    flags: u32,
    reserved: u16,
    prefix_length: u8,
    send_id: u8,
    receive_id: u8,
    current_key: u8,
    next_key: u8,
    key_flags: u8,
}

/// 96 bits (RFC 5926 §3.2).
const CODE_LENGTH: u8 = 12;

/// Signs what a socket exchanges with `peer` and drops what comes from it without a code of `key`. On a listening socket
/// it holds for the connections that will be accepted; on another one it must come before the connection. The socket must
/// be of the peer's family and have neither an MD5 key for that peer nor another one with these identifiers.
pub fn add(socket: &impl AsFd, peer: IpAddr, key: Key, secret: &[u8]) -> Result<()> {
    let operation = || format!("set the TCP-AO key {} for {peer}", key.send_id);
    let mut request = Add {
        address: storage(peer),
        algorithm: [0; 64],
        interface: 0,
        flags: 0,
        reserved: 0,
        prefix_length: host(peer),
        send_id: key.send_id,
        receive_id: key.receive_id,
        code_length: CODE_LENGTH,
        key_flags: 0,
        key_length: 0,
        key: [0; LONGEST_KEY],
    };
    for (to, octet) in request.algorithm.iter_mut().zip(key.algorithm.name().bytes()) {
        *to = octet;
    }
    let Some(room) = request.key.get_mut(..secret.len()) else {
        return Err(KernelError::new(operation(), Errno::EINVAL)
            .with_detail(format!("a key has at most {LONGEST_KEY} octets, this one {}", secret.len())));
    };
    room.copy_from_slice(secret);
    request.key_length = u8::try_from(secret.len()).unwrap_or_default();
    set(socket, libc::IPPROTO_TCP, ADD_KEY, &request).map_err(|errno| {
        let error = KernelError::new(operation(), errno);
        match errno {
            Errno::ENOPROTOOPT | Errno::EOPNOTSUPP => error.with_detail(
                "this kernel has no TCP-AO (CONFIG_TCP_AO, since Linux 6.7); use a password without tcpao, or another kernel",
            ),
            Errno::ENOENT => {
                error.with_detail(format!("this kernel is built without {}", key.algorithm.name()))
            }
            _ => error,
        }
    })
}

/// Takes a key away. That there was none is no error.
pub fn delete(socket: &impl AsFd, peer: IpAddr, key: Key) -> Result<()> {
    let request = Delete {
        address: storage(peer),
        interface: 0,
        flags: 0,
        reserved: 0,
        prefix_length: host(peer),
        send_id: key.send_id,
        receive_id: key.receive_id,
        current_key: 0,
        next_key: 0,
        key_flags: 0,
    };
    match set(socket, libc::IPPROTO_TCP, DELETE_KEY, &request) {
        // A kernel without them has none.
        Ok(()) | Err(Errno::ENOENT | Errno::ENOPROTOOPT | Errno::EOPNOTSUPP) => Ok(()),
        Err(errno) => {
            Err(KernelError::new(format!("take away the TCP-AO key {} for {peer}", key.send_id), errno))
        }
    }
}

/// The prefix length of one address.
fn host(peer: IpAddr) -> u8 {
    if peer.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::super::tests::{Side, connects};
    use super::*;
    use crate::testing::TestNs;

    const KEY: Key = Key { send_id: 7, receive_id: 9, algorithm: Algorithm::HmacSha1 };
    const MIRRORED: Key = Key { send_id: 9, receive_id: 7, ..KEY };

    #[test]
    fn the_requests_have_the_kernels_sizes() {
        // It refuses a shorter one, and a longer one that has anything behind its own.
        assert_eq!((size_of::<Add>(), size_of::<Delete>()), (288, 144));
    }

    #[test]
    #[ignore = "needs a kernel with TCP-AO: run in a lab guest by cargo verify"]
    fn a_connection_comes_up_with_the_same_key_and_identifiers_only() {
        let ns = TestNs::new("ao");
        ns.run("ip", &["link", "set", "lo", "up"]);
        ns.run_in(|| {
            let ours = Side::Ao(KEY, b"one");
            for address in ["127.0.0.1", "::1"] {
                assert!(connects(address, &ours, &Side::Ao(MIRRORED, b"one")), "{address}: the same");
                assert!(!connects(address, &ours, &Side::Ao(MIRRORED, b"two")), "{address}: another secret");
                assert!(!connects(address, &ours, &Side::Ao(KEY, b"one")), "{address}: not mirrored");
                assert!(!connects(address, &ours, &Side::Open), "{address}: no signature");
                assert!(!connects(address, &ours, &Side::Md5(b"one")), "{address}: MD5");
                assert!(!connects(address, &Side::Open, &ours), "{address}: an unexpected signature");
            }
        });
    }

    #[test]
    #[ignore = "needs a kernel with TCP-AO: run in a lab guest by cargo verify"]
    fn a_key_is_taken_away_and_may_come_back() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = "127.0.0.1".parse().unwrap();
        delete(&listener, peer, KEY).unwrap();
        add(&listener, peer, KEY, b"one").unwrap();
        add(&listener, peer, KEY, b"two").unwrap_err();
        delete(&listener, peer, KEY).unwrap();
        add(&listener, peer, KEY, b"two").unwrap();
    }

    #[test]
    fn what_the_kernel_cannot_do_is_told_in_words() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = "127.0.0.1".parse().unwrap();
        let error = add(&listener, peer, KEY, &[7; 81]).unwrap_err();
        assert!(error.to_string().contains("at most 80 octets"), "{error}");
        // A kernel may lack all of it or this algorithm alone, as the lab's does; one that lacks neither is content.
        if let Err(error) = add(&listener, peer, Key { algorithm: Algorithm::Aes128Cmac, ..KEY }, b"one") {
            let error = error.to_string();
            assert!(error.contains("CONFIG_TCP_AO") || error.contains("cmac(aes128)"), "{error}");
        }
    }
}
