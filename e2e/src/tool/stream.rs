//! One long connection: it shows whether an established flow lives through a restart.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Exchanges a line every 10 ms, or with `http` a request for `/hostname` and its answer. Prints `lines N longest M ms by NAME` every 200 ms, and `broken: WHY` when the connection ends.
pub(super) fn stream(server: &str, http: bool) -> Result<()> {
    let address: SocketAddr = server.parse().with_context(|| format!("{server:?} is no address and port"))?;
    let connection = TcpStream::connect_timeout(&address, Duration::from_secs(2)).context("connecting")?;
    connection.set_nodelay(true)?;
    connection.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(&connection);
    let (mut count, mut longest, mut told) = (0_u64, Duration::ZERO, Instant::now());
    loop {
        let begin = Instant::now();
        let answered = if http { request(&connection, &mut reader) } else { line(&connection, &mut reader) };
        let answer = match answered {
            Ok(answer) => answer,
            Err(error) => {
                println!("broken: {error}");
                return Ok(());
            }
        };
        count += 1;
        longest = longest.max(begin.elapsed());
        if told.elapsed() > Duration::from_millis(200) {
            told = Instant::now();
            println!(
                "lines {count} longest {} ms by {}",
                longest.as_millis(),
                answer.split([' ', '\n']).next().unwrap_or_default()
            );
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn line(mut connection: &TcpStream, reader: &mut impl BufRead) -> io::Result<String> {
    connection.write_all(b"still there?\n")?;
    read_line(reader)
}

/// HTTP/1.1 keeps the connection.
fn request(mut connection: &TcpStream, reader: &mut impl BufRead) -> io::Result<String> {
    connection.write_all(b"GET /hostname HTTP/1.1\r\nHost: lab\r\n\r\n")?;
    let mut length = 0;
    loop {
        let line = read_line(reader)?.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    match reader.read_line(&mut line)? {
        0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other side closed")),
        _ => Ok(line),
    }
}

/// Reads `lines N longest M ms by NAME`.
pub fn gap(line: &str) -> Option<(u64, u64, &str)> {
    let words: Vec<&str> = line.split(' ').collect();
    match words.as_slice() {
        ["lines", count, "longest", longest, "ms", "by", name] => {
            Some((count.parse().ok()?, longest.parse().ok()?, name))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_streams_line_is_understood() {
        assert_eq!(gap("lines 120 longest 14 ms by web-2"), Some((120, 14, "web-2")));
        assert_eq!(gap("broken: reset"), None);
    }
}
