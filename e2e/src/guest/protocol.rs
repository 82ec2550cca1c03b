//! How the lab speaks to the agent of a node: one TCP connection a request, frames of one kind
//! byte, a big-endian 32-bit length and a payload. The first frame is a [`Request`] in JSON.

use std::io::{Read, Write};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

/// The agent's TCP port on its node's address.
pub const PORT: u16 = 7070;

/// The longest payload taken from the other side, in bytes.
const LONGEST: usize = 64 << 20;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A [`Request`], lab to agent.
    Request,
    /// Bytes of the program's standard output.
    Stdout,
    /// Bytes of the program's standard error.
    Stderr,
    /// A [`Done`], the last frame of the agent.
    Done,
    /// Bytes for the program's standard input, lab to agent.
    Stdin,
}

/// What the lab asks of a node.
#[derive(Debug, Serialize, Deserialize)]
pub enum Request {
    /// Are you there.
    Ping,
    /// Run a program.
    Run(Run),
    /// Send a signal to a process of the node.
    Signal {
        /// The process, in the node's numbering.
        pid: i32,
        /// The signal's number.
        signal: i32,
    },
    /// Replace a file at once (temporary file and rename), making its folder.
    Write {
        /// The file.
        path: String,
        /// All it shall hold.
        content: String,
    },
    /// Remove a file.
    Remove {
        /// The file.
        path: String,
    },
    /// Send back a file's content as standard output.
    Read {
        /// The file.
        path: String,
    },
    /// Send back the names in a folder as standard output, sorted, one a line; a folder that is not there has none.
    List {
        /// The folder.
        path: String,
    },
    /// Make or remove a network namespace under `/run/netns`, as a container runtime does.
    Netns {
        /// Its name.
        name: String,
        /// Make it or remove it.
        present: bool,
    },
}

/// A program to run on a node.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub struct Run {
    /// The program, by path or looked up in the usual folders.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Environment variables on top of `PATH` and `HOME`.
    pub env: Vec<(String, String)>,
    /// All of its standard input.
    pub stdin: Option<String>,
    /// The name of the network namespace to run in; the node's own without.
    pub netns: Option<String>,
    /// Run with a terminal of these rows and columns, with input from the connection.
    pub tty: Option<(u16, u16)>,
    /// Do not wait: both outputs go to the end of this file, and the answer is the process's number.
    pub log: Option<String>,
}

/// How a request ended.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Done {
    /// The exit status, or 128 and the signal's number.
    pub code: Option<i32>,
    /// The number of a process that goes on.
    pub pid: Option<i32>,
    /// Why the request could not be carried out.
    pub error: Option<String>,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Request, Self::Stdout, Self::Stderr, Self::Done, Self::Stdin];

    fn byte(self) -> u8 {
        match self {
            Self::Request => 0,
            Self::Stdout => 1,
            Self::Stderr => 2,
            Self::Done => 3,
            Self::Stdin => 4,
        }
    }
}

/// Writes one frame.
pub fn send(to: &mut impl Write, kind: Kind, payload: &[u8]) -> Result<()> {
    let length = u32::try_from(payload.len()).context("a frame is too long")?;
    let mut frame = Vec::with_capacity(payload.len() + 5);
    frame.push(kind.byte());
    frame.extend_from_slice(&length.to_be_bytes());
    frame.extend_from_slice(payload);
    to.write_all(&frame).context("the other side of a lab connection is gone")
}

/// Writes one frame of JSON.
pub fn send_json(to: &mut impl Write, kind: Kind, value: &impl Serialize) -> Result<()> {
    send(to, kind, &serde_json::to_vec(value)?)
}

/// Reads one frame; `None` when the other side has closed in good order.
pub fn receive(from: &mut impl Read) -> Result<Option<(Kind, Vec<u8>)>> {
    let mut head = [0_u8; 5];
    if from.read(&mut head[..1]).context("a lab connection broke")? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut head[1..]).context("a lab connection broke inside a frame")?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.byte() == head[0]) else {
        bail!("a frame of unknown kind {} on a lab connection", head[0]);
    };
    if length > LONGEST {
        bail!("a frame of {length} bytes on a lab connection");
    }
    let mut payload = vec![0; length];
    from.read_exact(&mut payload).context("a lab connection broke inside a frame")?;
    Ok(Some((kind, payload)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_as_they_were_sent_and_the_end_is_seen() {
        let mut wire = Vec::new();
        send(&mut wire, Kind::Stdout, b"hello").unwrap();
        send_json(&mut wire, Kind::Done, &Done { code: Some(3), ..Done::default() }).unwrap();
        let mut reader = wire.as_slice();
        assert_eq!(receive(&mut reader).unwrap(), Some((Kind::Stdout, b"hello".to_vec())));
        let (kind, payload) = receive(&mut reader).unwrap().unwrap();
        assert_eq!(kind, Kind::Done);
        assert_eq!(serde_json::from_slice::<Done>(&payload).unwrap().code, Some(3));
        assert_eq!(receive(&mut reader).unwrap(), None);
    }

    #[test]
    fn a_torn_frame_and_an_unknown_kind_are_errors() {
        assert!(receive(&mut [1_u8, 0, 0, 0, 9, 1].as_slice()).is_err());
        assert!(receive(&mut [77_u8, 0, 0, 0, 0].as_slice()).is_err());
        assert!(receive(&mut [1_u8, 255, 255, 255, 255].as_slice()).is_err());
    }
}
