//! One connection of a client, HTTP/1.1 with a connection that is kept.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Answer, Door};

/// How long a watch goes on when the client does not say.
const WATCH: Duration = Duration::from_hours(1);

/// A request: its method, path and query.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) path: String,
    query: Vec<(String, String)>,
}

impl Request {
    fn parse(line: &str) -> Result<Self> {
        let mut words = line.split_whitespace();
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            bail!("no request line: {line:?}");
        };
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let pair = |text: &str| {
            let (key, value) = text.split_once('=').unwrap_or((text, ""));
            (key.to_owned(), value.to_owned())
        };
        let query = query.split('&').filter(|text| !text.is_empty()).map(pair).collect();
        Ok(Self { method: method.into(), path: path.into(), query })
    }

    /// A value of the query.
    pub(super) fn of(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str())
    }

    /// A number of the query.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.of(key)?.parse().ok()
    }
}

/// Answers requests until the client goes.
pub(super) fn serve(connection: TcpStream, door: &Door) -> Result<()> {
    connection.set_nodelay(true)?;
    let mut writer = connection.try_clone()?;
    let mut reader = BufReader::new(connection);
    while let Some(request) = read(&mut reader)? {
        match door.answer(&request)? {
            Answer::Text { status, body } => text(&mut writer, status, &body)?,
            Answer::Watch(lines) => {
                let limit = request.number("timeoutSeconds").map_or(WATCH, Duration::from_secs);
                watch(&mut writer, &lines, Instant::now() + limit)?;
            }
        }
    }
    Ok(())
}

fn read(reader: &mut BufReader<TcpStream>) -> Result<Option<Request>> {
    let mut first = String::new();
    if reader.read_line(&mut first)? == 0 {
        return Ok(None);
    }
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().context("a content length")?;
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    Request::parse(&first).map(Some)
}

fn text(writer: &mut TcpStream, status: &str, body: &str) -> Result<()> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    writer.write_all(head.as_bytes())?;
    Ok(writer.write_all(body.as_bytes())?)
}

fn watch(writer: &mut TcpStream, lines: &Receiver<String>, end: Instant) -> Result<()> {
    writer.write_all(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
    )?;
    // It ends with its time, or with the server.
    while let Ok(line) = lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
        let chunk = format!("{:x}\r\n{line}\r\n", line.len());
        writer.write_all(chunk.as_bytes())?;
    }
    Ok(writer.write_all(b"0\r\n\r\n")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_line_has_a_path_and_a_query() {
        let request = Request::parse("GET /api/v1/pods?watch=true&resourceVersion=7 HTTP/1.1\r\n").unwrap();
        assert_eq!((request.method.as_str(), request.path.as_str()), ("GET", "/api/v1/pods"));
        assert_eq!((request.of("watch"), request.number("resourceVersion")), (Some("true"), Some(7)));
        assert_eq!(request.of("limit"), None);
        assert!(Request::parse("\r\n").is_err());
    }
}
