//! One connection of a peer, and how it ends.

use super::{Agreed, Settings, State};
use crate::packet::Notification;

/// One connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) state: State,
    pub(super) agreed: Option<Agreed>,
    /// Our word that lets it come up is held back ([`super::crossing`]); true if the peer's is there.
    pub(super) held: Option<bool>,
}

impl Slot {
    pub(super) const IDLE: Slot = Slot { state: State::Idle, agreed: None, held: None };

    /// True if there is a connection.
    pub(super) fn is_open(&self) -> bool {
        self.state >= State::OpenSent
    }

    /// RFC 8538 is agreed.
    pub(super) fn survives(&self, settings: &Settings) -> bool {
        self.agreed.as_ref().is_some_and(|agreed| agreed.survives_notifications(&settings.capabilities))
    }
}

/// How a connection ends.
#[derive(Debug)]
pub(super) struct End {
    pub(super) notification: Option<Notification>,
    pub(super) reason: String,
    pub(super) kept: Kept,
}

/// When the routes of a peer outlive the end of its session, graceful restart agreed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// Nobody decided to end it (RFC 4724 §4.2).
    Always,
    /// It ended by a notification or the hold time: only where both sides want that (RFC 8538 §4).
    IfAgreed,
    /// It is over.
    Never,
}

impl End {
    pub(super) fn with(notification: Notification, reason: impl Into<String>) -> Self {
        Self { notification: Some(notification), reason: reason.into(), kept: Kept::IfAgreed }
    }

    pub(super) fn lost(reason: String) -> Self {
        Self { notification: None, reason, kept: Kept::Always }
    }
}
