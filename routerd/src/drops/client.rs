//! `routerd drops`: the other end of the socket.

use std::io::{BufRead as _, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::serve::Wish;
use super::text;
use crate::admin::client::ClientError;

/// A daemon that takes longer for the lines of before hangs.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Why there are no (more) lines.
#[derive(Debug, thiserror::Error)]
pub enum DropsError {
    /// The daemon cannot be reached, or not be understood.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The daemon has none.
    #[error("{0}")]
    Refused(String),
    /// The daemon has ended, or nobody reads what is printed.
    #[error("{0}")]
    Ended(String),
}

/// Prints refused packets to `out`, and what else is to be said to `remarks`. With `follow` it returns only with an error.
pub fn print(
    path: &Path,
    wish: Wish,
    json: bool,
    out: &mut impl Write,
    remarks: &mut impl Write,
) -> Result<(), DropsError> {
    let talk = |source| ClientError::Talk { path: path.to_owned(), source };
    let mut stream =
        UnixStream::connect(path).map_err(|source| ClientError::Connect { path: path.to_owned(), source })?;
    stream.set_write_timeout(Some(TIMEOUT)).map_err(talk)?;
    stream.set_read_timeout((!wish.follow).then_some(TIMEOUT)).map_err(talk)?;
    stream.write_all(format!("drops {}\n", wish.words()).as_bytes()).map_err(talk)?;
    let lines = BufReader::new(stream).lines();
    let nobody = |_| DropsError::Ended("nobody reads what is printed".to_owned());
    if !json {
        out.write_all(text::heading().as_bytes()).and_then(|()| out.flush()).map_err(nobody)?;
    }
    for line in lines {
        let line = line.map_err(talk)?;
        let value: Value = serde_json::from_str(&line)
            .map_err(|source| ClientError::Answer { path: path.to_owned(), source })?;
        if let Some(error) = value["error"].as_str() {
            return Err(DropsError::Refused(error.to_owned()));
        }
        let written = match (json, text::remark(&value)) {
            (true, _) => writeln!(out, "{line}"),
            (false, Some(remark)) => writeln!(remarks, "! {remark}"),
            (false, None) => out.write_all(text::refused(&value).as_bytes()),
        };
        written.and_then(|()| out.flush()).map_err(nobody)?;
    }
    if wish.follow {
        return Err(DropsError::Ended(format!("routerd at {} has ended the connection", path.display())));
    }
    Ok(())
}
