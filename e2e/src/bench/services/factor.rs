//! What the same work costs on this machine's kernel and on the guest's: by so much a node is faster than the figures.
//!
//! The machine's kernel has no IPVS, so it is the work around that: system calls, addresses with their routes by netlink,
//! memory that is touched for the first time, connections.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::time::Instant;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::bench::table::{Row, table};
use crate::bench::world::{ip, on};
use crate::guest::agent::{make_netns, remove_netns};
use crate::process::{capture, command};

const NETNS: &str = "factor";
const CALLS: u32 = 100_000;
const ADDRESSES: u32 = 1000;
const PAGES: u32 = 8192;
const PAGE: usize = 4096;
const CONNECTIONS: u32 = 500;

/// What each takes, in microseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Costs {
    call: f64,
    address: f64,
    page: f64,
    connection: f64,
}

/// Measures the kernel that this process runs on, in a network of its own.
pub(super) fn measure() -> Result<Costs> {
    make_netns(NETNS)?;
    let costs = on(NETNS, || {
        ip("link set lo up")?;
        let folder = tempfile::tempdir()?;
        let lines = folder.path().join("addresses");
        std::fs::write(&lines, batch())?;
        Ok(Costs {
            call: each(CALLS, || {
                (0..CALLS).for_each(|_| _ = std::hint::black_box(nix::unistd::getppid()));
                Ok(())
            })?,
            address: each(ADDRESSES, || capture(command("ip").arg("-batch").arg(&lines)).map(|_| ()))?,
            page: each(PAGES, || {
                touch();
                Ok(())
            })?,
            connection: each(CONNECTIONS, connect)?,
        })
    });
    remove_netns(NETNS)?;
    costs
}

/// As the daemon does it: an address, and its route in the table `local` with another source.
fn batch() -> String {
    let first = u32::from(Ipv4Addr::new(10, 97, 0, 0));
    let lines = (0..ADDRESSES).map(|number| {
        let address = Ipv4Addr::from(first + number);
        format!(
            "address add {address}/32 dev lo scope link\n\
             route replace local {address} dev lo table local src 127.0.0.1\n"
        )
    });
    lines.collect()
}

fn touch() {
    let mut memory = vec![0_u8; PAGE * usize::try_from(PAGES).unwrap_or_default()];
    memory.chunks_mut(PAGE).for_each(|page| page.fill(1));
    std::hint::black_box(&memory);
}

fn connect() -> Result<()> {
    let listener = TcpListener::bind(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)).context("a port")?;
    let address = listener.local_addr()?;
    for _ in 0..CONNECTIONS {
        let _ours = TcpStream::connect(address)?;
        let _theirs = listener.accept()?;
    }
    Ok(())
}

fn each(count: u32, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let begin = Instant::now();
    work()?;
    Ok(begin.elapsed().as_secs_f64() * 1e6 / f64::from(count))
}

/// Prints what the machine's kernel took, and the guest's beside it.
pub(super) fn show(machine: &Costs, guest: &Costs) {
    let row = |what: &str, of: fn(&Costs) -> f64| Row {
        what: what.to_owned(),
        unit: "us",
        values: vec![Some(of(machine)), Some(of(guest))],
    };
    let rows = [
        row("a system call", |costs| costs.call),
        row("an address and its route (ip -batch)", |costs| costs.address),
        row("a page of memory, touched first", |costs| costs.page),
        row("a connection over loopback", |costs| costs.connection),
    ];
    let labels = ["this machine's kernel", "the guest's"];
    print!("{}", table("The same work on both kernels", &labels, &rows));
}
