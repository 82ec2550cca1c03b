//! The other end of the socket: `routerd status`.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

/// A daemon that does not answer in this time hangs.
const TIMEOUT: Duration = Duration::from_secs(5);
/// What has to be computed takes longer.
const LONG_TIMEOUT: Duration = Duration::from_mins(1);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "cannot reach routerd at {path}: {source}; is it running on this node, are you root, and is --run-dir the same?"
    )]
    Connect {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The connection broke or was too slow.
    #[error("routerd at {path} did not answer: {source}")]
    Talk {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// The answer is no JSON.
    #[error(
        "the answer of routerd at {path} is not understood: {source}; do client and daemon have the same version?"
    )]
    Answer {
        /// The socket.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
}

/// Asks the daemon for its status.
pub fn ask(path: &Path) -> Result<Value, ClientError> {
    talk(path, "status", TIMEOUT)
}

/// Asks the daemon for what it has to compute. The answer is one of [`super::serve_socket`]; `error` in it says why
/// there is none.
pub fn question(path: &Path, question: &str) -> Result<Value, ClientError> {
    talk(path, question, LONG_TIMEOUT)
}

fn talk(path: &Path, question: &str, timeout: Duration) -> Result<Value, ClientError> {
    let connect = |source| ClientError::Connect { path: path.to_owned(), source };
    let talk = |source| ClientError::Talk { path: path.to_owned(), source };
    let mut stream = UnixStream::connect(path).map_err(connect)?;
    stream.set_read_timeout(Some(timeout)).map_err(talk)?;
    stream.set_write_timeout(Some(timeout)).map_err(talk)?;
    stream.write_all(format!("{question}\n").as_bytes()).map_err(talk)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).map_err(talk)?;
    serde_json::from_slice(&answer).map_err(|source| ClientError::Answer { path: path.to_owned(), source })
}

/// The status as text: a table, or JSON with two spaces of indent.
pub fn status(path: &Path, json: bool) -> Result<String, ClientError> {
    let status = ask(path)?;
    Ok(if json { format!("{status:#}\n") } else { super::table::render(&status) })
}
