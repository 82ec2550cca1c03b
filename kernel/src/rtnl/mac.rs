//! Ethernet addresses.

use std::fmt;
use std::str::FromStr;

/// An Ethernet address, written as `0a:58:0a:f4:01:02`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacAddress(pub [u8; 6]);

/// A text is no Ethernet address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an Ethernet address (expected for example 0a:58:0a:f4:01:02)")]
pub struct MacAddressError {
    /// What was given.
    pub text: String,
}

impl MacAddress {
    /// True for the address of a group, which no interface can have.
    pub fn is_multicast(&self) -> bool {
        self.0[0] & 1 == 1
    }

    /// True for `00:00:00:00:00:00`, which no interface can have.
    pub fn is_zero(&self) -> bool {
        self.0 == [0; 6]
    }

    /// The address that `bytes` hold, if they are six.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for MacAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if at == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

impl FromStr for MacAddress {
    type Err = MacAddressError;

    /// Takes six pairs of hexadecimal digits, separated by `:` or `-`, or three groups of four, separated by `.`: what Go's
    /// `net.ParseMAC` takes, which other plugins read such texts with.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || MacAddressError { text: text.to_owned() };
        let (separator, width) = match text {
            dotted if dotted.contains('.') => ('.', 4),
            dashed if dashed.contains('-') => ('-', 2),
            _ => (':', 2),
        };
        // `from_str_radix` would take "+1".
        let is_group =
            |part: &str| part.len() == width && part.bytes().all(|digit| digit.is_ascii_hexdigit());
        let digits = text.replace(separator, "");
        if !text.split(separator).all(is_group) || digits.len() != 12 {
            return Err(error());
        }
        let bytes = u64::from_str_radix(&digits, 16).map_err(|_| error())?.to_be_bytes();
        Self::from_bytes(&bytes[2..]).ok_or_else(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_value_are_the_same_address() {
        let address: MacAddress = "0A:58:0a:f4:01:02".parse().unwrap();
        assert_eq!(address.to_string(), "0a:58:0a:f4:01:02");
        assert_eq!("0a-58-0a-f4-01-02".parse::<MacAddress>().unwrap(), address);
        assert_eq!("0a58.0af4.0102".parse::<MacAddress>().unwrap(), address);
        assert!(!address.is_multicast());
    }

    #[test]
    fn nonsense_is_refused_with_the_text() {
        for text in [
            "",
            "0a:58:0a:f4:01",
            "0a:58:0a:f4:01:02:03",
            "0a:58:0a:f4:01:zz",
            "a:b:c:d:e:f",
            "+1:58:0a:f4:01:02",
            "0a58.0af4",
            "0a58.0af4.01-2",
            "0a58:0af4:0102",
        ] {
            assert_eq!(text.parse::<MacAddress>().unwrap_err().text, text);
        }
    }
}
