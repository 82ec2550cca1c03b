//! One long connection: it shows whether an established flow lives through a restart.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Exchanges a line every 10 ms. Prints `lines N longest M ms by NAME` every 200 ms, and `broken: WHY` when the connection ends.
pub(super) fn stream(server: &str) -> Result<()> {
    let address: SocketAddr = server.parse().with_context(|| format!("{server:?} is no address and port"))?;
    let connection = TcpStream::connect_timeout(&address, Duration::from_secs(2)).context("connecting")?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(&connection);
    let (mut count, mut longest, mut told) = (0_u64, Duration::ZERO, Instant::now());
    loop {
        let begin = Instant::now();
        let mut line = String::new();
        let answered = (&connection).write_all(b"still there?\n").and_then(|()| reader.read_line(&mut line));
        match answered {
            Ok(0) => {
                println!("broken: the other side closed");
                return Ok(());
            }
            Ok(_) => count += 1,
            Err(error) => {
                println!("broken: {error}");
                return Ok(());
            }
        }
        longest = longest.max(begin.elapsed());
        if told.elapsed() > Duration::from_millis(200) {
            told = Instant::now();
            println!(
                "lines {count} longest {} ms by {}",
                longest.as_millis(),
                line.split(' ').next().unwrap_or_default()
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}
