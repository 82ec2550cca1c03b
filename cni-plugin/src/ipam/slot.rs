//! One slot of the index: 32 bytes, of which 25 are used.
//!
//! | bytes | what |
//! | --- | --- |
//! | 0..8 | hash of the owner, little endian |
//! | 8 | 0 free, 4 or 6 a lease of an address of that family, 255 removed |
//! | 16..32 | the address; an IPv4 one has the first four |

use std::net::IpAddr;

/// Bytes of a slot.
pub(super) const SLOT: usize = 32;

/// The kind of a slot that was a lease: searches go on behind it.
const REMOVED: u8 = 255;

/// What a slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// Nothing, and nothing was ever put behind it.
    Free,
    /// Nothing any more.
    Removed,
    /// The owner with this hash holds this address.
    Lease(u64, IpAddr),
}

impl Slot {
    pub(super) fn encode(self) -> [u8; SLOT] {
        let mut bytes = [0; SLOT];
        match self {
            Self::Free => {}
            Self::Removed => bytes[8] = REMOVED,
            Self::Lease(hash, address) => {
                bytes[..8].copy_from_slice(&hash.to_le_bytes());
                match address {
                    IpAddr::V4(v4) => {
                        bytes[8] = 4;
                        bytes[16..20].copy_from_slice(&v4.octets());
                    }
                    IpAddr::V6(v6) => {
                        bytes[8] = 6;
                        bytes[16..].copy_from_slice(&v6.octets());
                    }
                }
            }
        }
        bytes
    }

    /// Of any bytes: what is no slot of ours reads as removed, so that a search passes over it.
    pub(super) fn decode(bytes: &[u8; SLOT]) -> Self {
        let [h0, h1, h2, h3, h4, h5, h6, h7, kind, _, _, _, _, _, _, _, address @ ..] = *bytes;
        let hash = u64::from_le_bytes([h0, h1, h2, h3, h4, h5, h6, h7]);
        match kind {
            0 => Self::Free,
            4 => {
                let [a, b, c, d, ..] = address;
                Self::Lease(hash, IpAddr::from([a, b, c, d]))
            }
            6 => Self::Lease(hash, IpAddr::from(address)),
            _ => Self::Removed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_reads_as_it_was_written() {
        for slot in [
            Slot::Free,
            Slot::Removed,
            Slot::Lease(u64::MAX - 1, "10.1.2.3".parse().unwrap()),
            Slot::Lease(1, "fd00::2".parse().unwrap()),
        ] {
            assert_eq!(Slot::decode(&slot.encode()), slot);
        }
        assert_eq!(Slot::decode(&[7; SLOT]), Slot::Removed);
    }
}
