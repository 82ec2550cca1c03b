//! The one error of this room: which operation on what the kernel refused, and what it said.

use std::fmt;

use nix::errno::Errno;

/// What the functions of this room return.
pub type Result<T> = std::result::Result<T, KernelError>;

/// An operation that the kernel refused or that could not reach it.
///
/// The kernel's number is kept as a value, so that a caller can tell "exists already" from "not permitted"
/// without reading text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelError {
    /// The operation and its operands, as `add route 10.244.1.0/24 via 192.0.2.11`.
    pub operation: String,
    /// The kernel's error number.
    pub errno: Errno,
    /// The kernel's own words (netlink extended acknowledgement), or more about the cause.
    pub detail: Option<String>,
}

impl KernelError {
    /// `operation` failed with `errno`.
    pub fn new(operation: impl Into<String>, errno: Errno) -> Self {
        Self { operation: operation.into(), errno, detail: None }
    }

    /// `operation` failed with the error of a system call.
    pub fn io(operation: impl Into<String>, error: &std::io::Error) -> Self {
        match error.raw_os_error() {
            Some(code) => Self::new(operation, Errno::from_raw(code)),
            None => Self::new(operation, Errno::EIO).with_detail(error.to_string()),
        }
    }

    /// `operation` got an answer that is not understood.
    pub fn malformed(operation: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(operation, Errno::EBADMSG).with_detail(detail)
    }

    /// The same error with more about its cause.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// The same error under another name of the operation: the outer caller knows better what was tried.
    #[must_use]
    pub fn named(mut self, operation: impl Into<String>) -> Self {
        self.operation = operation.into();
        self
    }

    /// The object is there already.
    pub fn is_exists(&self) -> bool {
        self.errno == Errno::EEXIST
    }

    /// The object, or something it needs, is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(
            self.errno,
            Errno::ENOENT | Errno::ESRCH | Errno::ENODEV | Errno::ENXIO | Errno::EADDRNOTAVAIL
        )
    }

    /// This kernel lacks the feature.
    pub fn is_unsupported(&self) -> bool {
        matches!(
            self.errno,
            Errno::EOPNOTSUPP | Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT | Errno::ENOPROTOOPT
        )
    }

    /// The kernel does not take the request as it is.
    pub fn is_invalid(&self) -> bool {
        self.errno == Errno::EINVAL
    }

    /// The caller lacks the privilege.
    pub fn is_permission(&self) -> bool {
        matches!(self.errno, Errno::EPERM | Errno::EACCES)
    }

    /// The file of a setting cannot be written, not even by root.
    pub fn is_read_only(&self) -> bool {
        matches!(self.errno, Errno::EROFS | Errno::EACCES)
    }

    /// The kernel's answer was lost or overtaken; the same call may succeed now.
    pub fn is_transient(&self) -> bool {
        matches!(self.errno, Errno::EINTR | Errno::EAGAIN | Errno::ENOBUFS | Errno::EBUSY | Errno::ETIMEDOUT)
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({:?})", self.operation, self.errno.desc(), self.errno)?;
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for KernelError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_names_operation_cause_and_the_kernels_words() {
        let error = KernelError::new("add route 10.0.0.0/8", Errno::EEXIST).with_detail("no such table");
        assert_eq!(error.to_string(), "add route 10.0.0.0/8: File exists (EEXIST): no such table");
        assert!(error.is_exists() && !error.is_not_found());
    }
}
