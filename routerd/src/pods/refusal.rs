//! Why an attach is refused: for the plugin's user, and by a word for the metrics.

use cni_plugin::Code;
use cni_plugin::socket::{DaemonError, Reply};

use crate::cluster::task::AttachError;

/// Why an attach is refused, as the metric `attach_refused` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Nothing is known of the cluster yet.
    NoView,
    /// No source has shown the pod.
    UnknownPod,
    /// The pod was deleted meanwhile.
    Deleted,
    /// The kernel did not take the policy.
    NotCommitted,
    /// It took too long.
    TooSlow,
    /// The request names no pod.
    Unnamed,
    /// The attachment cannot be recorded.
    Record,
    /// A DEL came meanwhile.
    Detached,
    /// The pod's address is another's by now.
    Lease,
    /// Too many wait.
    Busy,
    /// The daemon ends: no answer is given, so that the plugin asks the next one.
    Ending,
}

impl Reason {
    /// The word of the metric.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoView => "no_view",
            Self::UnknownPod => "unknown_pod",
            Self::Deleted => "deleted",
            Self::NotCommitted => "not_committed",
            Self::TooSlow => "too_slow",
            Self::Unnamed => "unnamed",
            Self::Record => "record",
            Self::Detached => "detached",
            Self::Lease => "lease",
            Self::Busy => "busy",
            Self::Ending => "ending",
        }
    }

    /// The code of the plugin's error.
    fn code(self) -> Code {
        match self {
            Self::Unnamed => Code::ENVIRONMENT,
            Self::Record => Code::IO,
            _ => Code::TRY_AGAIN,
        }
    }
}

/// An attach that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The kind of reason.
    pub reason: Reason,
    /// What is told.
    pub message: String,
}

impl Refusal {
    /// A refusal for `reason` that says `message`.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// What the plugin is answered.
    pub(super) fn reply(self) -> Reply {
        error(self.reason.code(), self.message)
    }
}

impl From<AttachError> for Refusal {
    fn from(error: AttachError) -> Self {
        let reason = match &error {
            AttachError::NoView { .. } => Reason::NoView,
            AttachError::UnknownPod { .. } => Reason::UnknownPod,
            AttachError::Deleted { .. } => Reason::Deleted,
            AttachError::Detached { .. } => Reason::Detached,
            AttachError::NotCommitted { .. } => Reason::NotCommitted,
            AttachError::TooSlow { .. } => Reason::TooSlow,
            AttachError::Ending => Reason::Ending,
        };
        Self::new(reason, error.to_string())
    }
}

/// A reply that says no.
pub(super) fn error(code: Code, msg: String) -> Reply {
    Reply::Error(DaemonError { code: code.0, msg })
}
