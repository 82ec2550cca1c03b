//! Netlink attributes (`struct nlattr`): a writer that nests and a reader that never reads past its end.

use nix::errno::Errno;

use crate::error::{KernelError, Result};

const HEADER: usize = 4;
const NESTED: u16 = 1 << 15;
const TYPE_MASK: u16 = 0x3fff;

fn align(length: usize) -> usize {
    length.next_multiple_of(4)
}

/// A growing byte buffer of attributes.
///
/// Integers with `_be` are in network order, as all of nf_tables' are; the others are in host order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes {
    bytes: Vec<u8>,
}

impl Attributes {
    /// An empty buffer.
    pub fn new() -> Self {
        Self::default()
    }

    /// The bytes written so far; the length is always a multiple of four.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Number of bytes written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True if nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn put(&mut self, kind: u16, payload: &[u8]) {
        // A payload too long for the 16-bit length would corrupt its neighbours; it is cut and the kernel refuses it.
        let length = u16::try_from(HEADER + payload.len()).unwrap_or(u16::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&payload[..usize::from(length) - HEADER]);
        self.bytes.resize(align(self.bytes.len()), 0);
    }

    /// Adds raw bytes.
    pub fn bytes(&mut self, kind: u16, payload: &[u8]) -> &mut Self {
        self.put(kind, payload);
        self
    }

    /// Adds a text with its terminating zero.
    pub fn string(&mut self, kind: u16, text: &str) -> &mut Self {
        let mut payload = text.as_bytes().to_vec();
        payload.push(0);
        self.put(kind, &payload);
        self
    }

    /// Adds one byte.
    pub fn u8(&mut self, kind: u16, value: u8) -> &mut Self {
        self.put(kind, &[value]);
        self
    }

    /// Adds a 16-bit number in host order.
    pub fn u16(&mut self, kind: u16, value: u16) -> &mut Self {
        self.put(kind, &value.to_ne_bytes());
        self
    }

    /// Adds a 16-bit number in network order.
    pub fn u16_be(&mut self, kind: u16, value: u16) -> &mut Self {
        self.put(kind, &value.to_be_bytes());
        self
    }

    /// Adds a 32-bit number in host order.
    pub fn u32(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_ne_bytes());
        self
    }

    /// Adds a 32-bit number in network order.
    pub fn u32_be(&mut self, kind: u16, value: u32) -> &mut Self {
        self.put(kind, &value.to_be_bytes());
        self
    }

    /// Adds a 64-bit number in network order.
    pub fn u64_be(&mut self, kind: u16, value: u64) -> &mut Self {
        self.put(kind, &value.to_be_bytes());
        self
    }

    /// Adds a nested attribute whose content `fill` writes. The length is patched in afterwards, so that nothing is
    /// copied.
    ///
    /// A content of more than 65,531 bytes does not fit netlink's 16-bit length; callers that add elements in a loop
    /// look at [`Attributes::len`] and begin another message in time.
    pub fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&(kind | NESTED).to_ne_bytes());
        fill(self);
        let length = u16::try_from(self.bytes.len() - start).unwrap_or(u16::MAX);
        self.bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        self
    }
}

/// One attribute as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// The attribute's number without the flag bits.
    pub kind: u16,
    /// Its content.
    pub payload: &'a [u8],
}

impl<'a> Attribute<'a> {
    fn fixed<const N: usize>(&self) -> Result<[u8; N]> {
        self.payload.try_into().map_err(|_| {
            KernelError::malformed(
                format!("read netlink attribute {}", self.kind),
                format!("{} bytes where {N} are expected", self.payload.len()),
            )
        })
    }

    /// The content as one byte.
    pub fn u8(&self) -> Result<u8> {
        self.fixed::<1>().map(|bytes| bytes[0])
    }

    /// The content as a 16-bit number in host order.
    pub fn u16(&self) -> Result<u16> {
        self.fixed().map(u16::from_ne_bytes)
    }

    /// The content as a 16-bit number in network order.
    pub fn u16_be(&self) -> Result<u16> {
        self.fixed().map(u16::from_be_bytes)
    }

    /// The content as a 32-bit number in host order.
    pub fn u32(&self) -> Result<u32> {
        self.fixed().map(u32::from_ne_bytes)
    }

    /// The content as a 32-bit number in network order.
    pub fn u32_be(&self) -> Result<u32> {
        self.fixed().map(u32::from_be_bytes)
    }

    /// The content as a 64-bit number in host order.
    pub fn u64(&self) -> Result<u64> {
        self.fixed().map(u64::from_ne_bytes)
    }

    /// The content as a 64-bit number in network order.
    pub fn u64_be(&self) -> Result<u64> {
        self.fixed().map(u64::from_be_bytes)
    }

    /// The content as text up to its first zero; bytes that are no UTF-8 are replaced.
    pub fn string(&self) -> String {
        let end = self.payload.iter().position(|byte| *byte == 0).unwrap_or(self.payload.len());
        String::from_utf8_lossy(&self.payload[..end]).into_owned()
    }

    /// The attributes inside this one.
    pub fn nested(&self) -> AttributeReader<'a> {
        AttributeReader::new(self.payload)
    }
}

/// Walks over attributes. A length that lies ends the walk with an error and never a panic.
#[derive(Debug, Clone)]
pub struct AttributeReader<'a> {
    rest: &'a [u8],
}

impl<'a> AttributeReader<'a> {
    /// Reads the attributes in `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The first attribute of that number.
    pub fn find(&self, kind: u16) -> Option<Attribute<'a>> {
        self.clone().filter_map(Result::ok).find(|attribute| attribute.kind == kind)
    }
}

impl<'a> Iterator for AttributeReader<'a> {
    type Item = Result<Attribute<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.len() < HEADER {
            return None;
        }
        let length = usize::from(u16::from_ne_bytes([self.rest[0], self.rest[1]]));
        let kind = u16::from_ne_bytes([self.rest[2], self.rest[3]]) & TYPE_MASK;
        if length < HEADER || length > self.rest.len() {
            self.rest = &[];
            return Some(Err(KernelError::new("read netlink attributes", Errno::EBADMSG)
                .with_detail(format!("attribute {kind} claims {length} bytes"))));
        }
        let payload = &self.rest[HEADER..length];
        self.rest = &self.rest[align(length).min(self.rest.len())..];
        Some(Ok(Attribute { kind, payload }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nested_attributes_come_back_as_written() {
        let mut attributes = Attributes::new();
        attributes.string(1, "tcp").nested(2, |inner| {
            inner.u32_be(3, 7).u8(4, 9);
        });
        let reader = AttributeReader::new(attributes.as_bytes());
        assert_eq!(reader.find(1).unwrap().string(), "tcp");
        let inner = reader.find(2).unwrap().nested();
        assert_eq!(inner.find(3).unwrap().u32_be().unwrap(), 7);
        assert_eq!(inner.find(4).unwrap().u8().unwrap(), 9);
        assert!(inner.find(5).is_none());
    }

    #[test]
    fn a_length_that_lies_is_an_error() {
        let mut reader = AttributeReader::new(&[200, 0, 1, 0, 1, 2]);
        assert!(reader.next().unwrap().is_err());
        assert!(reader.next().is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for attribute in AttributeReader::new(&bytes).flatten() {
                let _ = attribute.nested().count();
                let _ = (attribute.u32(), attribute.string());
            }
        }
    }
}
