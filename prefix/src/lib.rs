//! IP prefixes, address families, and the ways to a prefix: the one such type that every room of the workspace uses.
//!
//! It is a crate of its own because `kernel` and `bgp` know nobody, and both speak of prefixes.

mod hops;

use std::cmp::Ordering;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use hops::Hops;

/// An IP address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "IPv4")]
    V4,
    /// IPv6.
    #[serde(rename = "IPv6")]
    V6,
}

impl Family {
    /// Both families, IPv4 first.
    pub const BOTH: [Family; 2] = [Family::V4, Family::V6];

    /// The family of `address`.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }

    /// The length in bits of an address of this family: 32 or 128.
    pub fn bits(self) -> u8 {
        match self {
            Family::V4 => 32,
            Family::V6 => 128,
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// Why a text or a pair of address and length is no prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an IP prefix (expected for example 10.244.0.0/16 or fd00:10::/64)")]
pub struct PrefixError {
    /// What was given.
    pub text: String,
}

/// An IP prefix whose host bits are zero by construction, so that equality, order and hashing speak of the
/// network and not of the way it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix(IpNetwork);

impl Ord for Prefix {
    /// IPv4 first, then by address and length. Tables of half a million prefixes compare them all the time, as numbers.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.address(), other.address()) {
            (IpAddr::V4(one), IpAddr::V4(two)) => {
                (one.to_bits(), self.length()).cmp(&(two.to_bits(), other.length()))
            }
            (IpAddr::V6(one), IpAddr::V6(two)) => {
                (one.to_bits(), self.length()).cmp(&(two.to_bits(), other.length()))
            }
            (IpAddr::V4(_), IpAddr::V6(_)) => Ordering::Less,
            (IpAddr::V6(_), IpAddr::V4(_)) => Ordering::Greater,
        }
    }
}

impl PartialOrd for Prefix {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Prefix {
    /// The prefix of `length` bits that holds `address`; host bits are cleared.
    pub fn new(address: IpAddr, length: u8) -> Result<Self, PrefixError> {
        let network = IpNetwork::new(address, length)
            .map_err(|_| PrefixError { text: format!("{address}/{length}") })?;
        Ok(Self::truncate(network))
    }

    /// The prefix of full length that holds only `address`.
    pub fn host(address: IpAddr) -> Self {
        Self(IpNetwork::from(address))
    }

    fn truncate(network: IpNetwork) -> Self {
        match IpNetwork::new(network.network(), network.prefix()) {
            Ok(network) => Self(network),
            Err(_) => Self(network),
        }
    }

    /// The network address.
    pub fn address(&self) -> IpAddr {
        self.0.ip()
    }

    /// The length in bits.
    pub fn length(&self) -> u8 {
        self.0.prefix()
    }

    /// The address family.
    pub fn family(&self) -> Family {
        Family::of(self.address())
    }

    /// True if it holds exactly one address.
    pub fn is_host(&self) -> bool {
        self.length() == self.family().bits()
    }

    /// True if it holds every address of its family.
    pub fn is_default(&self) -> bool {
        self.length() == 0
    }

    /// True if `address` is inside.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(address)
    }

    /// True if every address of `other` is inside.
    pub fn covers(&self, other: &Prefix) -> bool {
        self.length() <= other.length() && self.contains(other.address())
    }

    /// The first address (the network address) and the last one.
    pub fn range(&self) -> (IpAddr, IpAddr) {
        (self.0.network(), self.0.broadcast())
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address(), self.length())
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// Takes `address/length`, or a bare address for a host prefix. White space around it is ignored.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let trimmed = text.trim();
        let error = || PrefixError { text: text.to_owned() };
        match trimmed.split_once('/') {
            // `ipnetwork` would also take a dotted mask, which no Kubernetes field allows.
            Some((address, length)) => {
                Self::new(address.parse().map_err(|_| error())?, length.parse().map_err(|_| error())?)
            }
            None => Ok(Self::host(trimmed.parse().map_err(|_| error())?)),
        }
    }
}

impl From<IpAddr> for Prefix {
    fn from(address: IpAddr) -> Self {
        Self::host(address)
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_bits_do_not_make_two_prefixes_of_one() {
        let a: Prefix = "10.1.2.3/24".parse().unwrap();
        let b: Prefix = "10.1.2.0/24".parse().unwrap();
        assert_eq!(a, b);
        assert_eq!(a.to_string(), "10.1.2.0/24");
    }

    #[test]
    fn prefixes_are_ordered_by_family_address_and_length() {
        let ordered = [
            "9.0.0.0/8",
            "10.0.0.0/8",
            "10.0.0.0/16",
            "10.1.0.0/16",
            "200.0.0.0/8",
            "::/0",
            "fd00::/8",
            "fd00::/64",
        ];
        let prefixes: Vec<Prefix> = ordered.iter().map(|text| text.parse().unwrap()).collect();
        assert!(prefixes.is_sorted_by(|one, two| one < two));
    }

    #[test]
    fn a_bare_address_is_a_host_prefix() {
        let prefix: Prefix = "fd00::1".parse().unwrap();
        assert!(prefix.is_host());
        assert_eq!(prefix.to_string(), "fd00::1/128");
    }

    #[test]
    fn nonsense_is_refused_with_the_text_in_the_message() {
        for text in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "a/b", "10.0.0.0/255.0.0.0", "10.0.0.0/-1"] {
            let error = text.parse::<Prefix>().unwrap_err();
            assert_eq!(error.text, text);
        }
    }

    #[test]
    fn covering_compares_length_and_family() {
        let wide: Prefix = "10.0.0.0/8".parse().unwrap();
        let narrow: Prefix = "10.9.0.0/16".parse().unwrap();
        let other: Prefix = "::/0".parse().unwrap();
        assert!(wide.covers(&narrow) && !narrow.covers(&wide) && !other.covers(&wide));
        assert_eq!(wide.range().1.to_string(), "10.255.255.255");
    }
}
