//! Frames: a length and that many bytes of JSON. Pure, so that the plugin (sync) and the daemon (tokio) share it.

use std::io::{self, Read};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::message::VERSION;

/// Bytes of the length in front of a frame.
pub const HEADER: usize = 4;
/// The longest body: an attach has about 500 bytes; more is a mistake or an attack.
pub const MOST_BYTES: usize = 64 * 1024;

/// Why a frame could not be read or made.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is beyond the limit.
    #[error("a frame of {length} bytes is longer than the limit of {MOST_BYTES}")]
    TooLong {
        /// The length that was announced.
        length: usize,
    },
    /// The body is no message.
    #[error("a frame that is no message of this protocol: {0}")]
    Malformed(String),
    /// The peer speaks another version.
    #[error("the peer speaks version {theirs} of the protocol, this side speaks {VERSION}")]
    Version {
        /// The peer's version.
        theirs: u64,
    },
    /// Reading failed, or the peer closed the connection within a frame.
    #[error("read a frame: {0}")]
    Io(#[from] io::Error),
}

#[derive(Serialize)]
struct Envelope<'a, T> {
    version: u32,
    body: &'a T,
}

/// `body` as a frame with its length.
pub fn encode<T: Serialize>(body: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; HEADER];
    serde_json::to_writer(&mut frame, &Envelope { version: VERSION, body })
        .map_err(|error| FrameError::Malformed(error.to_string()))?;
    let length = frame.len() - HEADER;
    let number = u32::try_from(length).ok().filter(|_| length <= MOST_BYTES);
    frame[..HEADER].copy_from_slice(&number.ok_or(FrameError::TooLong { length })?.to_be_bytes());
    Ok(frame)
}

/// The length of the body that `header` announces.
pub fn frame_length(header: [u8; HEADER]) -> Result<usize, FrameError> {
    let length = usize::try_from(u32::from_be_bytes(header)).unwrap_or(usize::MAX);
    if length > MOST_BYTES { Err(FrameError::TooLong { length }) } else { Ok(length) }
}

/// Reads the message out of the body of a frame.
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    let malformed = |error: serde_json::Error| FrameError::Malformed(error.to_string());
    let mut envelope: Value = serde_json::from_slice(body).map_err(malformed)?;
    let Some(theirs) = envelope.get("version").and_then(Value::as_u64) else {
        return Err(FrameError::Malformed("it has no version".into()));
    };
    if theirs != u64::from(VERSION) {
        return Err(FrameError::Version { theirs });
    }
    let body = envelope.get_mut("body").map(Value::take).unwrap_or_default();
    serde_json::from_value(body).map_err(malformed)
}

/// Reads one frame from `reader`.
pub fn read_frame<T: DeserializeOwned>(reader: &mut impl Read) -> Result<T, FrameError> {
    let mut header = [0; HEADER];
    reader.read_exact(&mut header)?;
    let mut body = vec![0; frame_length(header)?];
    reader.read_exact(&mut body)?;
    decode(&body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{Attach, Reply, Request};
    use proptest::prelude::*;

    fn roundtrip(request: &Request) -> Request {
        read_frame(&mut encode(request).unwrap().as_slice()).unwrap()
    }

    #[test]
    fn a_message_arrives_as_it_was_sent() {
        let attach = Attach {
            pod_name: "web-0".into(),
            addresses: vec!["10.1.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            ..Attach::default()
        };
        for request in [Request::Attach(attach), Request::Status] {
            assert_eq!(roundtrip(&request), request);
        }
    }

    #[test]
    fn a_peer_of_another_version_is_recognised_whatever_its_body_is() {
        let error = decode::<Reply>(br#"{"version": 7, "body": {"novel": []}}"#).unwrap_err();
        assert!(matches!(error, FrameError::Version { theirs: 7 }));
    }

    #[test]
    fn too_long_a_frame_is_refused_before_it_is_read_or_sent() {
        let mut header: &[u8] = &[0xff; 4];
        assert!(matches!(read_frame::<Reply>(&mut header), Err(FrameError::TooLong { .. })));
        let huge = Request::Attach(Attach { pod_name: "x".repeat(MOST_BYTES), ..Attach::default() });
        assert!(matches!(encode(&huge), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn unknown_fields_of_a_newer_peer_are_ignored() {
        let body = br#"{"version":1,"new":1,"body":{"attach":{"containerId":"c1","novel":true}}}"#;
        let Request::Attach(attach) = decode(body).unwrap() else { panic!("not an attach") };
        assert_eq!(attach.container_id, "c1");
    }

    proptest! {
        /// No sequence of bytes makes the reader panic or take more than the limit.
        #[test]
        fn hostile_bytes_are_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read_frame::<Request>(&mut bytes.as_slice());
            let _ = decode::<Reply>(&bytes);
        }
    }
}
