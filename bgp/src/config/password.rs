//! The shared secret of a session.

use std::fmt;

use kernel::tcp::{LONGEST_KEY as LONGEST, ao};

/// How packets are signed by a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Signature {
    /// TCP MD5 (RFC 2385).
    #[default]
    Md5,
    /// The TCP Authentication Option (RFC 5925), by the key with these identifiers. Linux has it since 6.7.
    Ao(ao::Key),
}

/// The key by which a session's packets are signed, as TCP MD5 does it unless told otherwise. The secret is never shown:
/// not in logs, not by `Debug`.
#[derive(Clone, PartialEq, Eq)]
pub struct Password {
    secret: Box<[u8]>,
    signature: Signature,
}

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
            1..=LONGEST => Ok(Self { secret: secret.into_boxed_slice(), signature: Signature::default() }),
            length => Err(PasswordError::TooLong(length)),
        }
    }

    /// The same secret, to sign in another way.
    #[must_use]
    pub fn signing(self, signature: Signature) -> Self {
        Self { signature, ..self }
    }

    /// Its octets, for the kernel.
    pub(crate) fn secret(&self) -> &[u8] {
        &self.secret
    }

    /// How packets are signed.
    pub(crate) fn signature(&self) -> Signature {
        self.signature
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Password(hidden, {:?})", self.signature)
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
