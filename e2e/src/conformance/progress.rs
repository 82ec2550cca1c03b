//! What the tests' program tells while it runs: a POST of JSON after each test (`--progress-report-url`).

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// The longest message that is read, in bytes: it names every failure so far.
const LONGEST: usize = 1 << 20;

/// How long the program may take to say what it has begun to say.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, Deserialize)]
struct Message {
    msg: String,
}

/// The end of a test.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ended {
    /// Its full name.
    pub(super) name: String,
    /// Did it pass?
    pub(super) passed: bool,
    /// When that was heard.
    pub(super) at: Instant,
}

/// Where the program tells, and what it told.
#[derive(Debug)]
pub(super) struct Progress {
    /// For `--progress-report-url`.
    pub(super) url: String,
    /// Tests in the order of their ends.
    pub(super) ended: Receiver<Ended>,
}

/// Begins to listen, for as long as this process runs.
pub(super) fn listen() -> Result<Progress> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a port for the tests' progress")?;
    let address: SocketAddr = listener.local_addr()?;
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            match receive(&connection) {
                Ok(Some(end)) => {
                    if sender.send(end).is_err() {
                        return;
                    }
                }
                Ok(None) => {}
                Err(error) => println!("  a message of the tests could not be read: {error:#}"),
            }
        }
    });
    Ok(Progress { url: format!("http://{address}/"), ended })
}

/// Reads one request and answers it. `None` for what is not the end of a test.
fn receive(connection: &TcpStream) -> Result<Option<Ended>> {
    connection.set_read_timeout(Some(PATIENCE))?;
    let body = body(&mut BufReader::new(connection))?;
    let mut writer = connection;
    writer.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")?;
    let message: Message = serde_json::from_slice(&body).context("it is not JSON")?;
    Ok(end(&message.msg))
}

fn body(reader: &mut impl BufRead) -> Result<Vec<u8>> {
    let mut length = None;
    loop {
        let mut line = String::new();
        if reader.by_ref().take(LONGEST as u64).read_line(&mut line)? == 0 {
            bail!("it ended before its body");
        }
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) =
            line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        {
            length = Some(value.trim().parse::<usize>().with_context(|| format!("{name}: {value}"))?);
        }
    }
    let length = length.context("it does not say how long its body is")?;
    ensure!(length <= LONGEST, "its body has {length} bytes");
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(body)
}

fn end(message: &str) -> Option<Ended> {
    let ended = |name: &str, passed| Ended { name: name.to_owned(), passed, at: Instant::now() };
    match message.split_once(' ') {
        Some(("PASSED", name)) => Some(ended(name, true)),
        Some(("FAILED", name)) => Some(ended(name, false)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(url: &str, body: &str) {
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let mut connection = TcpStream::connect(address).unwrap();
        write!(connection, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
            .unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    }

    #[test]
    fn ends_of_tests_come_in_order_and_other_messages_are_no_ends() {
        let progress = listen().unwrap();
        for message in
            ["Test Suite starting", "PASSED [sig-a] one", "FAILED [sig-a] two", "Test Suite completed"]
        {
            post(&progress.url, &format!("{{\"msg\":\"{message}\",\"total\":2}}"));
        }
        let ended: Vec<(String, bool)> =
            progress.ended.iter().take(2).map(|end| (end.name, end.passed)).collect();
        assert_eq!(ended, [("[sig-a] one".into(), true), ("[sig-a] two".into(), false)]);
    }

    #[test]
    fn a_torn_or_endless_message_is_an_error() {
        let read = |text: &str| body(&mut text.as_bytes());
        assert_eq!(read("POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}").unwrap(), b"{}");
        assert!(read("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n{}").is_err());
        assert!(read("POST / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n{}").is_err());
        assert!(read("POST / HTTP/1.1\r\n\r\n{}").is_err());
        assert!(read("POST / HTTP/1.1\r\n").is_err());
    }
}
