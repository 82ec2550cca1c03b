//! All virtual services of IPv4 at a glance, each with the number of its destinations: two system calls, however many there are.
//!
//! This is the older interface of IPVS (`IP_VS_SO_GET_SERVICES`), which knows neither IPv6 nor persistence engines. Netlink tells
//! of no number of destinations, and its answer is a message for each service.
//!
//! Source: `linux/ip_vs.h`, `__ip_vs_get_service_entries` in `net/netfilter/ipvs/ip_vs_ctl.c`.

use std::mem::offset_of;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd as _, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::model::{Netmask, ServiceFlags, ServiceKey};
use crate::error::{KernelError, Result};

/// `IP_VS_BASE_CTL`.
const BASE: libc::c_int = 64 + 1024 + 64;
const GET_INFO: libc::c_int = BASE + 1;
const GET_SERVICES: libc::c_int = BASE + 2;
/// How often the number of services may change while they are read.
const TRIES: usize = 3;

/// `struct ip_vs_getinfo`: version, size of the connection table, number of services.
type Info = [u32; 3];

/// `struct ip_vs_stats_user`.
#[repr(C)]
struct Counters {
    numbers: [u32; 3],
    octets: [u64; 2],
    rates: [u32; 5],
}

/// `struct ip_vs_service_entry`. Nothing is read by it but where its fields are.
#[repr(C)]
struct Entry {
    protocol: u16,
    address: u32,
    port: u16,
    mark: u32,
    scheduler: [u8; SCHEDULER],
    flags: u32,
    timeout: u32,
    netmask: u32,
    destinations: u32,
    counters: Counters,
}
const SCHEDULER: usize = 16;

/// `struct ip_vs_get_services`: the number of services, and these.
#[repr(C)]
struct Services {
    number: u32,
    table: [Entry; 0],
}
const HEAD: usize = offset_of!(Services, table);

/// What is seen of a virtual service. A persistence engine is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heading<'a> {
    /// What it is found by.
    pub key: ServiceKey,
    /// The scheduler, as `rr`.
    pub scheduler: &'a str,
    /// Its flags.
    pub flags: ServiceFlags,
    /// Seconds a client without connections stays with its destination; 0 without persistence.
    pub persistence_seconds: u32,
    /// Which clients persistence takes for one.
    pub netmask: Netmask,
    /// How many destinations it has.
    pub destinations: u32,
}

/// The virtual services of IPv4 as they were when they were last read. It keeps its memory: fresh pages would cost more than
/// the reading.
#[derive(Debug)]
pub struct Census {
    socket: OwnedFd,
    octets: Vec<u8>,
    number: usize,
}

impl Census {
    /// Opens a socket in the calling thread's network namespace, and has read nothing.
    pub fn open() -> Result<Self> {
        let (family, kind) = (AddressFamily::Inet, SockType::Datagram);
        let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, None)
            .map_err(|errno| KernelError::new("open a socket to read IPVS services", errno))?;
        Ok(Self { socket, octets: Vec::new(), number: 0 })
    }

    /// Reads them.
    pub fn read(&mut self) -> Result<()> {
        let failed = |errno| KernelError::new("read the number of IPVS services", errno);
        let mut outcome = Err(Errno::EAGAIN);
        for _ in 0..TRIES {
            let mut info = [0; size_of::<Info>()];
            self.option(GET_INFO, &mut info).map_err(failed)?;
            let number = number_at(&info, size_of::<u32>() * 2);
            outcome = self.read_services(number);
            if outcome.is_ok() {
                break;
            }
        }
        outcome.map_err(|errno| KernelError::new("read all IPVS services", errno))
    }

    /// The kernel fills in as many as there are, if there are no more than asked for; it does not say how many these are.
    fn read_services(&mut self, number: u32) -> std::result::Result<(), Errno> {
        let count = usize::try_from(number).map_err(|_| Errno::EOVERFLOW)?;
        let mut octets = std::mem::take(&mut self.octets);
        octets.resize(HEAD + count * size_of::<Entry>(), 0);
        // One that goes meanwhile leaves a place at the end, where nothing of an earlier time may be.
        for entry in octets.get_mut(HEAD..).unwrap_or_default().chunks_exact_mut(size_of::<Entry>()) {
            entry[..size_of::<u16>()].fill(0);
        }
        if let Some(head) = octets.first_chunk_mut() {
            *head = number.to_ne_bytes();
        }
        let outcome = if count == 0 { Ok(()) } else { self.option(GET_SERVICES, &mut octets) };
        self.octets = octets;
        self.number = count;
        outcome
    }

    /// Those that are found by address, in the kernel's order.
    pub fn headings(&self) -> impl Iterator<Item = Heading<'_>> {
        let entries = self.octets.get(HEAD..).unwrap_or_default().chunks_exact(size_of::<Entry>());
        entries.take(self.number).filter_map(heading)
    }

    fn option(&self, name: libc::c_int, octets: &mut [u8]) -> std::result::Result<(), Errno> {
        let mut length = libc::socklen_t::try_from(octets.len()).map_err(|_| Errno::EOVERFLOW)?;
        // SAFETY: the kernel writes at most `length` octets to where `octets` are, and how many to `length`; both live until the
        // call returns, and the descriptor is the socket's.
        #[expect(unsafe_code, reason = "there is no safe wrapper for an option of netfilter")]
        let result = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::IPPROTO_IP,
                name,
                octets.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        Errno::result(result).map(drop)
    }
}

fn field<const N: usize>(octets: &[u8], offset: usize) -> [u8; N] {
    octets.get(offset..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

fn number_at(octets: &[u8], offset: usize) -> u32 {
    u32::from_ne_bytes(field(octets, offset))
}

/// `None` for one that is found by mark, and for a place that was not filled.
fn heading(octets: &[u8]) -> Option<Heading<'_>> {
    let protocol = u8::try_from(u16::from_ne_bytes(field(octets, offset_of!(Entry, protocol)))).ok()?;
    if protocol == 0 || number_at(octets, offset_of!(Entry, mark)) != 0 {
        return None;
    }
    let address = |offset| Ipv4Addr::from(field::<4>(octets, offset));
    let name = octets.get(offset_of!(Entry, scheduler)..)?.get(..SCHEDULER)?;
    let name = name.split(|octet| *octet == 0).next().unwrap_or_default();
    Some(Heading {
        key: ServiceKey::Address {
            protocol,
            address: IpAddr::V4(address(offset_of!(Entry, address))),
            port: u16::from_be_bytes(field(octets, offset_of!(Entry, port))),
        },
        scheduler: std::str::from_utf8(name).unwrap_or_default(),
        flags: ServiceFlags::from_bits(number_at(octets, offset_of!(Entry, flags))),
        persistence_seconds: number_at(octets, offset_of!(Entry, timeout)),
        netmask: Netmask::V4(address(offset_of!(Entry, netmask))),
        destinations: number_at(octets, offset_of!(Entry, destinations)),
    })
}
