//! Prefixes on the wire (RFC 4271 §4.3): a length in bits and as many octets as hold it.

use std::net::IpAddr;

use prefix::{Family, Prefix};

use super::reader::{Reader, Short};

/// Why a field of prefixes cannot be read. Where one ends is then unknown for all that follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BadField;

impl From<Short> for BadField {
    fn from(_: Short) -> Self {
        BadField
    }
}

/// Reads a whole field of prefixes. Prefixes that are no unicast destinations are left out, as RFC 4271 §6.3 asks.
pub(super) fn decode(bytes: &[u8], family: Family) -> Result<Vec<Prefix>, BadField> {
    let mut reader = Reader::new(bytes);
    let mut prefixes = Vec::with_capacity(count(bytes));
    while !reader.is_empty() {
        let length = reader.u8()?;
        if length > family.bits() {
            return Err(BadField);
        }
        let octets = reader.take(usize::from(length.div_ceil(8)))?;
        let address = match family {
            Family::V4 => IpAddr::from(padded::<4>(octets)),
            Family::V6 => IpAddr::from(padded::<16>(octets)),
        };
        let prefix = Prefix::new(address, length).map_err(|_| BadField)?;
        if is_unicast(&prefix) {
            prefixes.push(prefix);
        }
    }
    Ok(prefixes)
}

/// How many prefixes a field has, if it can be read.
fn count(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some((length, rest)) = bytes.split_first() {
        bytes = rest.get(usize::from(length.div_ceil(8))..).unwrap_or_default();
        count += 1;
    }
    count
}

fn padded<const N: usize>(octets: &[u8]) -> [u8; N] {
    let mut bytes = [0; N];
    for (to, from) in bytes.iter_mut().zip(octets) {
        *to = *from;
    }
    bytes
}

/// True if a route to `prefix` makes sense: neither multicast nor, for IPv4, the reserved block above it.
pub(super) fn is_unicast(prefix: &Prefix) -> bool {
    match prefix.address() {
        IpAddr::V4(address) => address.octets()[0] < 224,
        IpAddr::V6(address) => !address.is_multicast(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_host_bits_and_multicast() {
        let bytes = [0, 12, 10, 0xff, 4, 0xe0, 32, 192, 0, 2, 1];
        let prefixes: Vec<String> =
            decode(&bytes, Family::V4).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(prefixes, ["0.0.0.0/0", "10.240.0.0/12", "192.0.2.1/32"]);
    }

    #[test]
    fn a_length_beyond_the_family_or_the_field_is_refused() {
        for bytes in [&[33, 1, 2, 3, 4, 5][..], &[24, 10, 0], &[129]] {
            assert_eq!(decode(bytes, Family::V4), Err(BadField));
        }
        assert_eq!(decode(&[129; 18], Family::V6), Err(BadField));
    }
}
