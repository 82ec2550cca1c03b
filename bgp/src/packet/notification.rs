//! NOTIFICATION messages (RFC 4271 §4.5) and what their codes mean.

use std::fmt;

use prefix::Family;

use super::frame::{HEADER, Kind, MAX_MESSAGE, framed};

/// Message header errors (RFC 4271 §6.1).
pub mod header {
    /// The error code.
    pub const CODE: u8 = 1;
    /// The marker is not all ones.
    pub const NOT_SYNCHRONIZED: u8 = 1;
    /// The length is wrong for the type.
    pub const BAD_LENGTH: u8 = 2;
    /// The type is unknown.
    pub const BAD_TYPE: u8 = 3;
}

/// OPEN message errors (RFC 4271 §6.2).
pub mod open {
    /// The error code.
    pub const CODE: u8 = 2;
    /// Malformed in a way that has no code of its own.
    pub const UNSPECIFIC: u8 = 0;
    /// Not BGP-4.
    pub const UNSUPPORTED_VERSION: u8 = 1;
    /// Not the AS that is configured.
    pub const BAD_PEER_AS: u8 = 2;
    /// The identifier is none, or our own.
    pub const BAD_IDENTIFIER: u8 = 3;
    /// An optional parameter that is not known.
    pub const UNSUPPORTED_PARAMETER: u8 = 4;
    /// One or two seconds.
    pub const UNACCEPTABLE_HOLD_TIME: u8 = 6;
    /// A capability that is needed is missing (RFC 5492).
    pub const UNSUPPORTED_CAPABILITY: u8 = 7;
}

/// UPDATE message errors (RFC 4271 §6.3). Only what RFC 7606 leaves as a reason to end a session.
pub mod update {
    /// The error code.
    pub const CODE: u8 = 3;
    /// The lengths of the parts do not fit, or a multiprotocol attribute is there twice.
    pub const MALFORMED_ATTRIBUTE_LIST: u8 = 1;
    /// A multiprotocol attribute cannot be read.
    pub const OPTIONAL_ATTRIBUTE: u8 = 9;
    /// Prefixes cannot be read.
    pub const INVALID_NETWORK: u8 = 10;
}

/// The hold timer ran out (RFC 4271 §6.5).
pub mod hold {
    /// The error code.
    pub const CODE: u8 = 4;
}

/// Finite state machine errors (RFC 6608).
pub mod fsm {
    /// The error code.
    pub const CODE: u8 = 5;
    /// An unexpected message in state OpenSent.
    pub const IN_OPEN_SENT: u8 = 1;
    /// An unexpected message in state OpenConfirm.
    pub const IN_OPEN_CONFIRM: u8 = 2;
    /// An unexpected message in state Established.
    pub const IN_ESTABLISHED: u8 = 3;
}

/// Cease (RFC 4486).
pub mod cease {
    /// The error code.
    pub const CODE: u8 = 6;
    /// The peer told more prefixes than allowed.
    pub const MAX_PREFIXES: u8 = 1;
    /// The speaker is shut down.
    pub const SHUTDOWN: u8 = 2;
    /// The peer is no longer configured.
    pub const DECONFIGURED: u8 = 3;
    /// An administrator wants the session to begin anew.
    pub const RESET: u8 = 4;
    /// The connection is not wanted.
    pub const REJECTED: u8 = 5;
    /// The configuration of the peer has changed.
    pub const CONFIGURATION_CHANGE: u8 = 6;
    /// Another connection of the same two speakers is kept.
    pub const COLLISION: u8 = 7;
    /// Packets no longer pass (RFC 9384).
    pub const BFD_DOWN: u8 = 10;
    /// The end of everything also with graceful restart; its data is another notification (RFC 8538).
    pub const HARD_RESET: u8 = 9;
}

/// ROUTE-REFRESH errors (RFC 7313).
pub mod route_refresh {
    /// The error code.
    pub const CODE: u8 = 7;
    /// Not four octets.
    pub const INVALID_LENGTH: u8 = 1;
}

/// The reason of the end of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// The error code.
    pub code: u8,
    /// The error subcode.
    pub subcode: u8,
    /// Data for the diagnosis.
    pub data: Vec<u8>,
}

impl Notification {
    /// One without data.
    pub fn new(code: u8, subcode: u8) -> Self {
        Self { code, subcode, data: Vec::new() }
    }

    /// One with data.
    pub fn with_data(code: u8, subcode: u8, data: Vec<u8>) -> Self {
        Self { code, subcode, data }
    }

    /// Reads the part after the header; the framer has seen to it that there are two octets.
    pub(super) fn decode(body: &[u8]) -> Self {
        Self {
            code: body.first().copied().unwrap_or_default(),
            subcode: body.get(1).copied().unwrap_or_default(),
            data: body.get(2..).unwrap_or_default().to_vec(),
        }
    }

    /// The message on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let mut body = vec![self.code, self.subcode];
        let room = MAX_MESSAGE - HEADER - body.len();
        body.extend_from_slice(&self.data[..self.data.len().min(room)]);
        framed(Kind::Notification, &body)
    }

    /// A Cease with words for the people on the other side (RFC 9003); what does not fit is left out.
    pub fn cease(subcode: u8, text: &str) -> Self {
        let mut end = text.len().min(usize::from(u8::MAX));
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut data = vec![u8::try_from(end).unwrap_or(u8::MAX)];
        data.extend_from_slice(&text.as_bytes()[..end]);
        Self { code: cease::CODE, subcode, data }
    }

    /// The family is told more prefixes than allowed (RFC 4486 §4).
    pub fn too_many(family: Family, most: usize) -> Self {
        let mut data = vec![0, if family == Family::V4 { 1 } else { 2 }, 1];
        data.extend_from_slice(&u32::try_from(most).unwrap_or(u32::MAX).to_be_bytes());
        Self { code: cease::CODE, subcode: cease::MAX_PREFIXES, data }
    }

    /// True for "another connection is kept", which is no failure of the peer.
    pub fn is_collision(&self) -> bool {
        (self.code, self.subcode) == (cease::CODE, cease::COLLISION)
    }

    /// True for the end after which nothing is kept even where notifications do not end graceful restart (RFC 8538).
    pub fn is_hard(&self) -> bool {
        (self.code, self.subcode) == (cease::CODE, cease::HARD_RESET)
    }

    /// The same end for a peer that would otherwise keep what was told (RFC 8538 §3). A changed configuration is no
    /// such end: the session comes back at once.
    #[must_use]
    pub fn hardened(&self) -> Self {
        if self.code != cease::CODE || matches!(self.subcode, cease::CONFIGURATION_CHANGE | cease::COLLISION)
        {
            return self.clone();
        }
        let mut data = vec![self.code, self.subcode];
        data.extend_from_slice(&self.data);
        Self { code: cease::CODE, subcode: cease::HARD_RESET, data }
    }

    /// The notification that a hard reset carries.
    fn inner(&self) -> Option<Self> {
        match (self.is_hard(), self.data.split_first_chunk::<2>()) {
            (true, Some(([code, subcode], data))) => Some(Self::with_data(*code, *subcode, data.to_vec())),
            _ => None,
        }
    }

    /// The words of an administrative shutdown (RFC 9003), if there are any.
    fn shutdown_text(&self) -> Option<String> {
        if self.code != cease::CODE || !matches!(self.subcode, cease::SHUTDOWN | cease::RESET) {
            return None;
        }
        let (length, text) = self.data.split_first()?;
        let text = text.get(..usize::from(*length))?;
        Some(String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect())
    }

    fn text(&self) -> &'static str {
        match (self.code, self.subcode) {
            (1, 1) => "connection not synchronized",
            (1, 2) => "bad message length",
            (1, 3) => "bad message type",
            (1, _) => "message header error",
            (2, 1) => "unsupported version number",
            (2, 2) => "bad peer AS",
            (2, 3) => "bad BGP identifier",
            (2, 4) => "unsupported optional parameter",
            (2, 6) => "unacceptable hold time",
            (2, 7) => "unsupported capability",
            (2, 11) => "role mismatch",
            (2, _) => "OPEN message error",
            (3, 1) => "malformed attribute list",
            (3, 2) => "unrecognized well-known attribute",
            (3, 3) => "missing well-known attribute",
            (3, 4) => "attribute flags error",
            (3, 5) => "attribute length error",
            (3, 6) => "invalid ORIGIN attribute",
            (3, 8) => "invalid NEXT_HOP attribute",
            (3, 9) => "optional attribute error",
            (3, 10) => "invalid network field",
            (3, 11) => "malformed AS_PATH",
            (3, _) => "UPDATE message error",
            (4, _) => "hold timer expired",
            (5, 1) => "unexpected message in state OpenSent",
            (5, 2) => "unexpected message in state OpenConfirm",
            (5, 3) => "unexpected message in state Established",
            (5, _) => "finite state machine error",
            (6, 1) => "maximum number of prefixes reached",
            (6, 2) => "administrative shutdown",
            (6, 3) => "peer de-configured",
            (6, 4) => "administrative reset",
            (6, 5) => "connection rejected",
            (6, 6) => "other configuration change",
            (6, 7) => "connection collision resolution",
            (6, 8) => "out of resources",
            (6, 9) => "hard reset",
            (6, 10) => "BFD down",
            (6, _) => "cease",
            (7, _) => "ROUTE-REFRESH message error",
            _ => "unknown error",
        }
    }
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}/{})", self.text(), self.code, self.subcode)?;
        if let Some(inner) = self.inner() {
            return write!(f, ": {} ({}/{}){}", inner.text(), inner.code, inner.subcode, Quoted(&inner));
        }
        write!(f, "{}", Quoted(self))
    }
}

/// What the other side said in words, if it did.
struct Quoted<'a>(&'a Notification);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.shutdown_text() {
            Some(text) if !text.is_empty() => write!(f, ": {text:?}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shutdown_text_is_shown_and_a_lying_length_is_not_believed() {
        let said = Notification::with_data(6, 2, b"\x05hello".to_vec());
        assert_eq!(said.to_string(), "administrative shutdown (6/2): \"hello\"");
        let lying = Notification::with_data(6, 2, b"\x50hello".to_vec());
        assert_eq!(lying.to_string(), "administrative shutdown (6/2)");
    }

    #[test]
    fn a_hard_reset_carries_the_end_it_stands_for() {
        let end = Notification::cease(cease::SHUTDOWN, "node is drained");
        let hard = end.hardened();
        assert!(hard.is_hard());
        assert_eq!(hard.to_string(), "hard reset (6/9): administrative shutdown (6/2): \"node is drained\"");
        let change = Notification::new(cease::CODE, cease::CONFIGURATION_CHANGE);
        assert_eq!(change.hardened(), change);
    }

    #[test]
    fn words_too_long_for_their_octet_are_cut_between_characters() {
        let said = Notification::cease(cease::SHUTDOWN, &"ä".repeat(200));
        assert_eq!((said.data[0], said.data.len()), (254, 255));
        assert!(said.to_string().ends_with("ä\""));
    }
}
