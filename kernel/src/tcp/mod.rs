//! What protects TCP connections of routing protocols: signatures (RFC 2385, RFC 5925) and distance (RFC 5082).

pub mod ao;

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;
use nix::libc;

use crate::{KernelError, Result};

/// The longest key of either signature, in octets (`TCP_MD5SIG_MAXKEYLEN`, `TCP_AO_MAXKEYLEN`).
pub const LONGEST_KEY: usize = libc::TCP_MD5SIG_MAXKEYLEN;

/// Size of `struct sockaddr_storage`.
const SOCKADDR_STORAGE: usize = size_of::<libc::sockaddr_storage>();

/// `struct tcp_md5sig` of `linux/tcp.h`.
#[repr(C, align(8))]
struct Md5Sig {
    address: [u8; SOCKADDR_STORAGE],
    flags: u8,
    prefix_length: u8,
    key_length: u16,
    interface: libc::c_int,
    key: [u8; LONGEST_KEY],
}

/// Signs what a socket exchanges with `peer` by `key` and drops what comes from it without that signature (TCP MD5,
/// RFC 2385). On a listening socket it holds for the connections that will be accepted. `None` takes the key away; that
/// there was none is no error. The socket must be of the peer's family.
pub fn sign(socket: &impl AsFd, peer: IpAddr, key: Option<&[u8]>) -> Result<()> {
    let operation = || format!("set the TCP MD5 key for {peer}");
    let key = key.unwrap_or_default();
    let mut request = Md5Sig {
        address: storage(peer),
        flags: 0,
        prefix_length: 0,
        key_length: 0,
        interface: 0,
        key: [0; LONGEST_KEY],
    };
    let Some(room) = request.key.get_mut(..key.len()) else {
        return Err(KernelError::new(operation(), Errno::EINVAL)
            .with_detail(format!("a key has at most {LONGEST_KEY} octets, this one {}", key.len())));
    };
    room.copy_from_slice(key);
    request.key_length = u16::try_from(key.len()).unwrap_or_default();
    match set(socket, libc::IPPROTO_TCP, libc::TCP_MD5SIG, &request) {
        Err(Errno::ENOENT) if key.is_empty() => Ok(()),
        Err(errno @ (Errno::ENOPROTOOPT | Errno::EOPNOTSUPP)) => Err(KernelError::new(operation(), errno)
            .with_detail("this kernel is built without CONFIG_TCP_MD5SIG; sessions with a password need it")),
        result => result.map_err(|errno| KernelError::new(operation(), errno)),
    }
}

/// Gives the packets of a socket a time to live (hop limit).
pub fn set_ttl(socket: &impl AsFd, family: prefix::Family, ttl: u8) -> Result<()> {
    let (level, option) = match family {
        prefix::Family::V4 => (libc::IPPROTO_IP, libc::IP_TTL),
        prefix::Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_UNICAST_HOPS),
    };
    set(socket, level, option, &libc::c_int::from(ttl))
        .map_err(|errno| KernelError::new(format!("send with TTL {ttl}"), errno))
}

/// Lets the kernel drop what comes to a socket with a smaller time to live (hop limit); 0 drops nothing.
pub fn set_min_ttl(socket: &impl AsFd, family: prefix::Family, ttl: u8) -> Result<()> {
    let (level, option) = match family {
        prefix::Family::V4 => (libc::IPPROTO_IP, libc::IP_MINTTL),
        prefix::Family::V6 => (libc::IPPROTO_IPV6, libc::IPV6_MINHOPCOUNT),
    };
    set(socket, level, option, &libc::c_int::from(ttl))
        .map_err(|errno| KernelError::new(format!("drop what comes with a TTL under {ttl}"), errno))
}

fn set<T>(socket: &impl AsFd, level: libc::c_int, option: libc::c_int, value: &T) -> nix::Result<()> {
    let size = libc::socklen_t::try_from(size_of::<T>()).map_err(|_| Errno::EINVAL)?;
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is open for as long as `socket` is borrowed, and the kernel reads `size` octets of a
    // value that is as long and of the C type that the option wants.
    #[expect(unsafe_code, reason = "nix has no safe wrapper for these options")]
    let result =
        unsafe { libc::setsockopt(descriptor, level, option, std::ptr::from_ref(value).cast(), size) };
    Errno::result(result).map(drop)
}

/// The address as `struct sockaddr_in` or `sockaddr_in6`: port 0, no scope.
fn storage(address: IpAddr) -> [u8; SOCKADDR_STORAGE] {
    let mut storage = [0; SOCKADDR_STORAGE];
    let (family, from, octets) = match address {
        IpAddr::V4(address) => (libc::AF_INET, 4, address.octets().to_vec()),
        // Four octets of flow information come first.
        IpAddr::V6(address) => (libc::AF_INET6, 8, address.octets().to_vec()),
    };
    let family = u16::try_from(family).unwrap_or_default().to_ne_bytes();
    for (to, octet) in storage.iter_mut().zip(family) {
        *to = octet;
    }
    for (to, octet) in storage.iter_mut().skip(from).zip(octets) {
        *to = octet;
    }
    storage
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::time::Duration;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};

    use super::*;
    use crate::testing::TestNs;

    /// How one end signs.
    pub(super) enum Side {
        Open,
        Md5(&'static [u8]),
        Ao(ao::Key, &'static [u8]),
    }

    impl Side {
        fn sign(&self, socket: &impl AsFd, peer: IpAddr) {
            match self {
                Self::Open => sign(socket, peer, None).unwrap(),
                Self::Md5(secret) => sign(socket, peer, Some(secret)).unwrap(),
                Self::Ao(key, secret) => ao::add(socket, peer, *key, secret).unwrap(),
            }
        }
    }

    /// Whether a connection that is signed by `theirs` comes to a listener that wants `ours`.
    pub(super) fn connects(address: &str, ours: &Side, theirs: &Side) -> bool {
        let address: IpAddr = address.parse().unwrap();
        let listener = TcpListener::bind(SocketAddr::new(address, 0)).unwrap();
        ours.sign(&listener, address);
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let client = socket(family, SockType::Stream, SockFlag::empty(), None).unwrap();
        bind(client.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(address, 0))).unwrap();
        theirs.sign(&client, address);
        let stream = TcpStream::from(client);
        // An unanswered SYN would take minutes to fail.
        stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
        connect(stream.as_raw_fd(), &SockaddrStorage::from(listener.local_addr().unwrap())).is_ok()
    }

    #[test]
    fn a_connection_comes_up_with_the_same_key_only() {
        let ns = TestNs::new("md5");
        ns.run("ip", &["link", "set", "lo", "up"]);
        ns.run_in(|| {
            for address in ["127.0.0.1", "::1"] {
                assert!(connects(address, &Side::Md5(b"one"), &Side::Md5(b"one")), "{address}: the same key");
                assert!(!connects(address, &Side::Md5(b"one"), &Side::Md5(b"two")), "{address}: another key");
                assert!(!connects(address, &Side::Md5(b"one"), &Side::Open), "{address}: no signature");
                assert!(!connects(address, &Side::Open, &Side::Md5(b"one")), "{address}: an unexpected one");
                assert!(
                    connects(address, &Side::Open, &Side::Open),
                    "{address}: taking away what is not there"
                );
            }
        });
    }

    #[test]
    fn a_key_that_is_too_long_is_refused_in_words() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let error = sign(&listener, "127.0.0.1".parse().unwrap(), Some(&[7; 81])).unwrap_err();
        assert!(error.to_string().contains("at most 80 octets"), "{error}");
    }
}
