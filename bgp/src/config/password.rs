//! The shared secret of a session.

use std::fmt;

/// The longest key the kernel takes (`TCP_MD5SIG_MAXKEYLEN`).
const LONGEST: usize = 80;

/// The key of TCP MD5 signatures (RFC 2385). It is never shown: not in logs, not by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Box<[u8]>);

/// Why something cannot be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// No octet; to have none leave it out.
    #[error("a BGP password must not be empty; leave it out for a session without one")]
    Empty,
    /// More octets than the kernel takes.
    #[error("a BGP password has at most {LONGEST} octets, this one has {0}; give both sides a shorter one")]
    TooLong(usize),
}

impl Password {
    /// A password of 1 to 80 octets.
    pub fn new(secret: impl Into<Vec<u8>>) -> Result<Self, PasswordError> {
        let secret = secret.into();
        match secret.len() {
            0 => Err(PasswordError::Empty),
            1..=LONGEST => Ok(Self(secret.into_boxed_slice())),
            length => Err(PasswordError::TooLong(length)),
        }
    }

    /// Its octets, for the kernel.
    pub(crate) fn secret(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(hidden)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_bounded_and_never_shown() {
        assert_eq!(Password::new(""), Err(PasswordError::Empty));
        assert_eq!(Password::new([1; 81]), Err(PasswordError::TooLong(81)));
        let password = Password::new("s3cret").unwrap();
        assert!(!format!("{password:?}").contains("s3cret"));
    }
}
