//! A client that asks and prints what it is told.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How to ask.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manner {
    /// By UDP.
    pub(super) udp: bool,
    /// How often.
    pub(super) count: u32,
    /// How long an answer may take.
    pub(super) timeout: Duration,
    /// How long a question by TCP is.
    pub(super) bytes: usize,
}

/// A line for each answer, `MICROSECONDS ANSWER` or `- REASON`. An error when nothing was answered.
pub(super) fn ask(server: &str, manner: Manner) -> Result<()> {
    let Manner { udp, count, timeout, bytes } = manner;
    let address: SocketAddr = server.parse().with_context(|| format!("{server:?} is no address and port"))?;
    let mut answers = 0;
    for _ in 0..count {
        let begin = Instant::now();
        let answer = if udp { by_udp(address, timeout) } else { by_tcp(address, timeout, bytes) };
        match answer {
            Ok(answer) => {
                answers += 1;
                println!("{} {}", begin.elapsed().as_micros(), answer.trim());
            }
            Err(error) => println!("- {error:#}"),
        }
    }
    if answers == 0 {
        bail!("no answer from {server}");
    }
    Ok(())
}

/// One question on a connection of its own, with so many letters more than it needs.
pub(super) fn by_tcp(address: SocketAddr, timeout: Duration, bytes: usize) -> Result<String> {
    let connection = TcpStream::connect_timeout(&address, timeout).context("cannot connect")?;
    let port = connection.local_addr()?.port();
    connection.set_read_timeout(Some(timeout))?;
    connection.set_write_timeout(Some(timeout))?;
    let question = format!("{}who\n", "-".repeat(bytes));
    (&connection).write_all(question.as_bytes()).with_context(|| format!("cannot ask from port {port}"))?;
    let mut line = String::new();
    if BufReader::new(&connection).read_line(&mut line).with_context(|| format!("asked from port {port}"))?
        == 0
    {
        bail!("closed without an answer");
    }
    Ok(line)
}

fn by_udp(address: SocketAddr, timeout: Duration) -> Result<String> {
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(timeout))?;
    socket.send(b"who\n")?;
    let mut buffer = [0; 2048];
    let length = socket.recv(&mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}
