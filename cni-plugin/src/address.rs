//! Addresses as CNI writes them: an address with its prefix length; an Ethernet address is the kernel room's.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

pub use kernel::rtnl::MacAddress as Mac;
use prefix::{Family, Prefix};

/// Why an interface cannot have the link address `mac`, if it cannot.
pub fn why_unusable(mac: Mac) -> Option<String> {
    if mac.is_zero() {
        return Some(format!("{mac} is the address of nobody"));
    }
    mac.is_multicast().then(|| format!("{mac} is the address of a group"))
}

/// An address together with the length of its prefix, host bits kept: `10.1.0.2/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// The length of its prefix in bits, at most 32 or 128 by construction.
    length: u8,
}

impl Cidr {
    /// `address/length`, if the length fits the family.
    pub fn new(address: IpAddr, length: u8) -> Option<Self> {
        (length <= Family::of(address).bits()).then_some(Self { address, length })
    }

    /// The length of the prefix in bits.
    pub fn length(&self) -> u8 {
        self.length
    }

    /// The address family.
    pub fn family(&self) -> Family {
        Family::of(self.address)
    }

    /// The network, host bits cleared.
    pub fn prefix(&self) -> Prefix {
        Prefix::new(self.address, self.length).unwrap_or_else(|_| Prefix::host(self.address))
    }

    /// Every address of its family: a default route's destination.
    pub fn is_default(&self) -> bool {
        self.length == 0
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.length)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(address, length)| {
            let plain = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            Cidr::new(address.parse().ok()?, length.parse().ok().filter(|_| plain)?)
        });
        parsed.ok_or_else(|| format!("{text:?} is no address with a prefix length, as 10.1.0.2/24"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_keeps_its_host_bits_and_knows_its_network() {
        let cidr: Cidr = "10.1.2.3/24".parse().unwrap();
        assert_eq!(cidr.to_string(), "10.1.2.3/24");
        assert_eq!(cidr.prefix().to_string(), "10.1.2.0/24");
        for text in ["10.1.2.3", "10.1.2.3/33", "10.1.2.3/+4", "10.1.2.3/", "/24", "fd00::/129", "x/1"] {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
