//! The CNI versions this plugin speaks.

use std::fmt;

use crate::error::{CniError, Code};

/// A version of the CNI specification. The order is that of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// 0.1.0
    V010,
    /// 0.2.0
    V020,
    /// 0.3.0
    V030,
    /// 0.3.1
    V031,
    /// 0.4.0
    V040,
    /// 1.0.0
    V100,
    /// 1.1.0
    V110,
}

impl Version {
    /// All of them, oldest first.
    pub const ALL: [Version; 7] = [
        Version::V010,
        Version::V020,
        Version::V030,
        Version::V031,
        Version::V040,
        Version::V100,
        Version::V110,
    ];

    /// The newest.
    pub const NEWEST: Version = Version::V110;

    /// As it is written in a configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V010 => "0.1.0",
            Version::V020 => "0.2.0",
            Version::V030 => "0.3.0",
            Version::V031 => "0.3.1",
            Version::V040 => "0.4.0",
            Version::V100 => "1.0.0",
            Version::V110 => "1.1.0",
        }
    }

    /// The version a configuration names. Missing or empty means 0.1.0 (libcni); the match is exact, because a
    /// version is a name of a format and not a range.
    pub fn parse(text: &str) -> Result<Self, CniError> {
        if text.is_empty() {
            return Ok(Version::V010);
        }
        Self::ALL.into_iter().find(|version| version.as_str() == text).ok_or_else(|| {
            CniError::new(Code::VERSION, "incompatible CNI versions")
                .with_details(format!("cniVersion: config is {text:?}, plugin supports {}", Self::list()))
        })
    }

    /// All versions as one text for messages, as `["0.1.0" "0.2.0"]`.
    pub fn list() -> String {
        let quoted: Vec<String> = Self::ALL.iter().map(|version| format!("{:?}", version.as_str())).collect();
        format!("[{}]", quoted.join(" "))
    }

    /// CHECK exists in this version.
    pub fn has_check(self) -> bool {
        self >= Version::V040
    }

    /// STATUS and GC exist in this version.
    pub fn has_status_and_gc(self) -> bool {
        self >= Version::V110
    }

    /// Results of this version are the old ones with `ip4` and `ip6`.
    pub fn has_legacy_result(self) -> bool {
        self <= Version::V020
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_read_as_it_is_written_and_the_order_is_that_of_time() {
        for version in Version::ALL {
            assert_eq!(Version::parse(version.as_str()).unwrap(), version);
        }
        assert!(Version::V031 < Version::V040 && Version::V100 < Version::V110);
        assert_eq!(Version::parse("").unwrap(), Version::V010);
    }

    #[test]
    fn an_unknown_version_is_refused_with_the_list() {
        let error = Version::parse("9.9.9").unwrap_err();
        assert_eq!(error.code, Code::VERSION);
        assert_eq!(error.msg, "incompatible CNI versions");
        assert!(error.details.contains("\"9.9.9\"") && error.details.contains("\"1.1.0\""));
    }
}
