//! Addresses as CNI writes them: an address with its prefix length, and a link-layer address.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use prefix::{Family, Prefix};

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

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if index == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl FromStr for Mac {
    type Err = String;

    /// Takes `c2:11:22:33:44:55`, also with `-` between the bytes.
    fn from_str(text: &str) -> Result<Self, String> {
        let error = || format!("{text:?} is no Ethernet address, as c2:11:22:33:44:55");
        let mut bytes = [0u8; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(error)?;
            if !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(error());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| error())?;
        }
        if parts.next().is_some() { Err(error()) } else { Ok(Mac(bytes)) }
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

    #[test]
    fn a_link_address_is_read_in_both_spellings_and_nonsense_is_not() {
        let mac: Mac = "C2:11:22:33:44:5f".parse().unwrap();
        assert_eq!(mac.to_string(), "c2:11:22:33:44:5f");
        assert_eq!("c2-11-22-33-44-5f".parse::<Mac>().unwrap(), mac);
        for text in ["", "c2:11:22:33:44", "c2:11:22:33:44:55:66", "c2:11:22:33:44:5", "+2:11:22:33:44:55"] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
