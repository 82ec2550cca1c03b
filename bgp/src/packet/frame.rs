//! Framing: where one message ends and the next begins (RFC 4271 §4.1).
//!
//! We frame ourselves because the codec crate's stream decoder trusts the length field.

use super::notification::{Notification, header};

/// Length of marker, length and type.
pub const HEADER: usize = 19;
/// The longest message (RFC 4271 §4); we do not announce extended messages (RFC 8654).
pub const MAX_MESSAGE: usize = 4096;

/// The type of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// OPEN.
    Open = 1,
    /// UPDATE.
    Update = 2,
    /// NOTIFICATION.
    Notification = 3,
    /// KEEPALIVE.
    Keepalive = 4,
    /// ROUTE-REFRESH (RFC 2918).
    RouteRefresh = 5,
}

impl Kind {
    fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Kind::Open,
            2 => Kind::Update,
            3 => Kind::Notification,
            4 => Kind::Keepalive,
            5 => Kind::RouteRefresh,
            _ => return None,
        })
    }

    /// The shortest message of this type, header included.
    fn minimum(self) -> usize {
        match self {
            Kind::Open => 29,
            Kind::Update | Kind::RouteRefresh => 23,
            Kind::Notification => 21,
            Kind::Keepalive => HEADER,
        }
    }
}

/// One message as it was on the wire, without its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its type.
    pub kind: Kind,
    /// What follows the header.
    pub body: &'a [u8],
}

/// Cuts a byte stream into messages.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// How much of it has been taken.
    taken: usize,
}

impl Framer {
    /// Takes in received bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Gives the memory back that nothing waits in.
    pub fn trim(&mut self) {
        if self.taken == self.buffer.len() {
            *self = Self::default();
        }
    }

    /// The next whole message; `None` if more bytes are needed. After an error the stream has no meaning any more
    /// and the notification ends the session.
    pub fn take(&mut self) -> Result<Option<Frame<'_>>, Notification> {
        let rest = self.buffer.get(self.taken..).unwrap_or_default();
        let Some((head, _)) = rest.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        if head[..16] != [0xff; 16] {
            return Err(Notification::new(header::CODE, header::NOT_SYNCHRONIZED));
        }
        let length = u16::from_be_bytes([head[16], head[17]]);
        let bad_length =
            || Notification::with_data(header::CODE, header::BAD_LENGTH, length.to_be_bytes().to_vec());
        if !(HEADER..=MAX_MESSAGE).contains(&usize::from(length)) {
            return Err(bad_length());
        }
        let Some(kind) = Kind::from_code(head[18]) else {
            return Err(Notification::with_data(header::CODE, header::BAD_TYPE, vec![head[18]]));
        };
        let length = usize::from(length);
        if length < kind.minimum() || (kind == Kind::Keepalive && length != HEADER) {
            return Err(bad_length());
        }
        let Some(body) = rest.get(HEADER..length) else {
            return Ok(None);
        };
        self.taken += length;
        Ok(Some(Frame { kind, body }))
    }
}

/// A message with its header.
pub(super) fn framed(kind: Kind, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER + body.len());
    begin(&mut bytes, kind, body.len());
    bytes.extend_from_slice(body);
    bytes
}

/// Writes the header of a message. The body that follows has so many octets, at most `MAX_MESSAGE - HEADER`, which its makers see to.
pub(super) fn begin(bytes: &mut Vec<u8>, kind: Kind, body: usize) {
    let length = HEADER + body;
    debug_assert!(length <= MAX_MESSAGE, "a message of {length} octets");
    bytes.extend_from_slice(&[0xff; 16]);
    bytes.extend_from_slice(&u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
    bytes.push(kind as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header_bytes(length: u16, kind: u8) -> Vec<u8> {
        let mut bytes = vec![0xff; 16];
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.push(kind);
        bytes
    }

    #[test]
    fn messages_are_cut_wherever_the_stream_was_split() {
        let mut stream = framed(Kind::Keepalive, &[]);
        stream.extend(framed(Kind::Notification, &[6, 2, 1, 2]));
        for split in 0..stream.len() {
            let mut framer = Framer::default();
            let mut frames = Vec::new();
            for part in [&stream[..split], &stream[split..]] {
                framer.push(part);
                while let Some(frame) = framer.take().unwrap() {
                    frames.push((frame.kind, frame.body.to_vec()));
                }
            }
            assert_eq!(frames.len(), 2, "split at {split}");
            assert_eq!(frames[1], (Kind::Notification, vec![6, 2, 1, 2]));
        }
    }

    #[test]
    fn a_length_out_of_bounds_is_refused_before_anything_is_allocated_for_it() {
        for (length, kind) in
            [(0, 4), (18, 4), (20, 4), (4097, 2), (65535, 2), (28, 1), (22, 2), (20, 3), (22, 5)]
        {
            let mut framer = Framer::default();
            framer.push(&header_bytes(length, kind));
            let error = framer.take().unwrap_err();
            assert_eq!((error.code, error.subcode), (1, 2), "length {length} type {kind}");
            assert_eq!(error.data, length.to_be_bytes());
        }
    }

    #[test]
    fn a_broken_marker_and_an_unknown_type_are_named() {
        let mut framer = Framer::default();
        let mut bytes = header_bytes(19, 4);
        bytes[3] = 0;
        framer.push(&bytes);
        assert_eq!(framer.take().unwrap_err().subcode, header::NOT_SYNCHRONIZED);
        let mut framer = Framer::default();
        framer.push(&header_bytes(19, 9));
        let error = framer.take().unwrap_err();
        assert_eq!((error.subcode, error.data), (header::BAD_TYPE, vec![9]));
    }
}
