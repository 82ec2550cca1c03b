//! Passwords that are mounted as files, as of a Secret. They are never shown.

use std::collections::BTreeMap;
use std::fmt;

/// What the files say.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Passwords {
    /// By the key of the Secret, which is the name of its file.
    pub by_key: BTreeMap<String, Vec<u8>>,
    /// Those of the peers that flags name, in their order; `None` without a file of them.
    pub of_flags: Option<Vec<Option<Vec<u8>>>>,
    /// What of the files cannot be read, and why. What was read before holds.
    pub problems: Vec<String>,
}

impl fmt::Debug for Passwords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<&String> = self.by_key.keys().collect();
        f.debug_struct("Passwords")
            .field("keys", &keys)
            .field("problems", &self.problems)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_never_shown() {
        let secret = b"s3cret".to_vec();
        let by_key = [("tor".to_owned(), secret.clone())].into();
        let passwords = Passwords { by_key, of_flags: Some(vec![Some(secret)]), problems: Vec::new() };
        let shown = format!("{passwords:?}");
        assert!(shown.contains("tor") && !shown.contains("s3cret") && !shown.contains("115"), "{shown}");
    }
}
