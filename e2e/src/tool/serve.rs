//! The server of a pod.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv6Addr, TcpListener, TcpStream, UdpSocket};

use anyhow::{Context, Result};
use nix::sys::socket::{setsockopt, sockopt};

/// Serves until killed. On TCP every line is answered with one; on UDP every datagram.
pub(super) fn serve(tcp: &[u16], udp: &[u16], name: &str) -> Result<()> {
    let mut threads = Vec::new();
    for port in tcp {
        let listener =
            TcpListener::bind((Ipv6Addr::UNSPECIFIED, *port)).with_context(|| format!("TCP port {port}"))?;
        let name = name.to_owned();
        threads.push(std::thread::spawn(move || connections(&listener, &name)));
    }
    for port in udp {
        let socket =
            UdpSocket::bind((Ipv6Addr::UNSPECIFIED, *port)).with_context(|| format!("UDP port {port}"))?;
        widen(&socket)?;
        let name = name.to_owned();
        threads.push(std::thread::spawn(move || datagrams(&socket, &name)));
    }
    println!("ready");
    for thread in threads {
        if let Ok(Err(error)) = thread.join() {
            return Err(error);
        }
    }
    Ok(())
}

/// Room for what comes while this program does not run: on a busy machine a guest stands still for a second, and what its kernel then has no
/// room for would count as lost in the network.
pub(super) fn widen(socket: &UdpSocket) -> Result<()> {
    const OCTETS: usize = 16 << 20;
    setsockopt(socket, sockopt::RcvBufForce, &OCTETS).context("more room for datagrams")
}

fn connections(listener: &TcpListener, name: &str) -> Result<()> {
    loop {
        let (connection, _) = listener.accept().context("accepting a connection")?;
        let name = name.to_owned();
        std::thread::spawn(move || one(&connection, &name));
    }
}

fn one(connection: &TcpStream, name: &str) -> Result<()> {
    connection.set_nodelay(true)?;
    let client = connection.peer_addr()?.ip().to_canonical();
    let mut writer = connection;
    for line in BufReader::new(connection).lines() {
        line?;
        writer.write_all(format!("{name} {client}\n").as_bytes())?;
    }
    Ok(())
}

fn datagrams(socket: &UdpSocket, name: &str) -> Result<()> {
    let mut buffer = [0; 2048];
    loop {
        let (length, client) = socket.recv_from(&mut buffer).context("receiving a datagram")?;
        let number = String::from_utf8_lossy(&buffer[..length]).trim().parse::<u64>();
        let number = number.map(|number| format!(" {number}")).unwrap_or_default();
        let answer = format!("{name} {}{number}\n", client.ip().to_canonical());
        // The way back may be cut, which is what is looked at.
        let _lost = socket.send_to(answer.as_bytes(), client);
    }
}
