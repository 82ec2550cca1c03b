//! As much of an HTTP client as the lab needs: one GET a connection, no TLS (`kubectl proxy` does that part).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// How long a server may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks for a path and returns the body of a 200 answer; any other is an error that quotes it.
pub fn get(server: SocketAddr, path: &str, timeout: Duration) -> Result<String> {
    let what = || format!("GET http://{server}{path}");
    let mut connection = TcpStream::connect_timeout(&server, timeout).with_context(what)?;
    connection.set_read_timeout(Some(timeout))?;
    // Version 1.0 asks for a plain body that ends with the connection.
    let request = format!("GET {path} HTTP/1.0\r\nHost: {server}\r\nAccept: application/json, */*\r\n\r\n");
    connection.write_all(request.as_bytes()).with_context(what)?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).with_context(what)?;
    body(&String::from_utf8_lossy(&answer)).with_context(what)
}

fn body(answer: &str) -> Result<String> {
    let Some((head, body)) = answer.split_once("\r\n\r\n") else { bail!("no HTTP answer: {answer:?}") };
    let status = head.lines().next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        bail!("{status}: {}", body.trim());
    }
    Ok(body.to_owned())
}

/// The Kubernetes API behind a `kubectl proxy`.
#[derive(Debug, Clone, Copy)]
pub struct Api(pub SocketAddr);

impl Api {
    /// An object or a list.
    pub fn get(&self, path: &str) -> Result<Value> {
        let text = self.text(path)?;
        serde_json::from_str(&text).with_context(|| format!("{path} is not JSON"))
    }

    /// What is not JSON: logs, `/readyz`.
    pub fn text(&self, path: &str) -> Result<String> {
        get(self.0, path, PATIENCE)
    }

    /// The items of a list.
    pub fn items(&self, path: &str) -> Result<Vec<Value>> {
        match self.get(path)?["items"].take() {
            Value::Array(items) => Ok(items),
            _ => bail!("{path} is not a list"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_answer_is_its_body_and_a_bad_one_is_quoted() {
        assert_eq!(body("HTTP/1.0 200 OK\r\nA: b\r\n\r\n{}").unwrap(), "{}");
        let error = body("HTTP/1.0 404 Not Found\r\n\r\nno such pod\n").unwrap_err().to_string();
        assert_eq!(error, "HTTP/1.0 404 Not Found: no such pod");
        assert!(body("garbage").is_err());
    }
}
