//! Address blocks, compared bit by bit.

use std::net::IpAddr;

/// A block as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    base: IpAddr,
    length: u32,
}

impl Block {
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (base, length) = text.split_once('/')?;
        let block = Self { base: base.parse().ok()?, length: length.parse().ok()? };
        (block.length <= bits(block.base).1).then_some(block)
    }

    pub(super) fn contains(&self, address: IpAddr) -> bool {
        let ((base, width), (number, other)) = (bits(self.base), bits(address));
        // A shift by all bits is none to the language: a block of everything has nothing to compare.
        width == other && (self.length == 0 || (base ^ number) >> (width - self.length) == 0)
    }

    /// True if `part` is smaller and inside.
    pub(super) fn is_wider_than(&self, part: &Block) -> bool {
        self.length < part.length && self.contains(part.base)
    }
}

/// The address as a number, and how many bits such an address has.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (u128::from(u32::from(address)), 32),
        IpAddr::V6(address) => (u128::from(address), 128),
    }
}

#[test]
fn blocks_hold_what_begins_alike() {
    for (block, address, inside) in [
        ("10.0.0.0/8", "10.255.0.1", true),
        ("10.0.0.0/8", "11.0.0.1", false),
        ("10.1.2.3/32", "10.1.2.3", true),
        ("10.1.2.2/31", "10.1.2.4", false),
        ("0.0.0.0/0", "255.255.255.255", true),
        ("0.0.0.0/0", "::1", false),
        ("::/0", "64:ff9b::1", true),
        ("::/0", "0.0.0.1", false),
        ("fd00::/64", "fd00:0:0:1::", false),
        ("fd00::1/128", "fd00::1", true),
    ] {
        assert_eq!(
            Block::parse(block).unwrap().contains(address.parse().unwrap()),
            inside,
            "{block} {address}"
        );
    }
    assert_eq!(Block::parse("10.0.0.0/33"), None);
    assert_eq!(Block::parse("10.0.0.0"), None);
}
