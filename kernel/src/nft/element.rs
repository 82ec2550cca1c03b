//! Elements of sets and maps.

use std::fmt;
use std::time::Duration;

use prefix::Prefix;

use super::datum::{DataType, Datum, Key};
use super::set::{Set, SetData, Shape};
use super::verdict::Verdict;
use super::wire::{data, element as attribute};
use super::{userdata, wire};
use crate::netlink::{AttributeReader, Attributes};

/// Which keys an element stands for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Span {
    /// One key.
    Key(Key),
    /// From the first to the last key, both included; in a concatenation field by field.
    Range(Key, Key),
    /// All keys that no other element has. Needs Linux 5.13.
    Others,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Span::Key(key) => key.fmt(f),
            Span::Range(from, to) => write!(f, "{from} to {to}"),
            Span::Others => f.write_str("*"),
        }
    }
}

/// What a map gives for an element.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Data {
    /// A verdict.
    Verdict(Verdict),
    /// A value or concatenation.
    Value(Key),
}

/// An element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element {
    /// Its keys.
    pub span: Span,
    /// What a map gives for it; `None` in a set.
    pub data: Option<Data>,
    /// It goes away after this time; the set must allow timeouts. Milliseconds count.
    pub timeout: Option<Duration>,
    /// A comment that `nft list` shows; at most 127 bytes.
    pub comment: Option<String>,
}

impl Element {
    /// The element of one key.
    pub fn new(key: impl Into<Key>) -> Self {
        Self { span: Span::Key(key.into()), data: None, timeout: None, comment: None }
    }

    /// The element of the keys from `from` to `to`, both included.
    pub fn range(from: impl Into<Key>, to: impl Into<Key>) -> Self {
        let (from, to) = (from.into(), to.into());
        let span = if from == to { Span::Key(from) } else { Span::Range(from, to) };
        Self { span, ..Self::new(Datum::Byte(0)) }
    }

    /// The element of all addresses of a prefix.
    pub fn prefix(prefix: &Prefix) -> Self {
        let (first, last) = prefix.range();
        Self::range(first, last)
    }

    /// The element of all keys that no other element has.
    pub fn others() -> Self {
        Self { span: Span::Others, ..Self::new(Datum::Byte(0)) }
    }

    /// The same giving a verdict.
    #[must_use]
    pub fn verdict(mut self, verdict: Verdict) -> Self {
        self.data = Some(Data::Verdict(verdict));
        self
    }

    /// The same giving a value.
    #[must_use]
    pub fn value(mut self, value: impl Into<Key>) -> Self {
        self.data = Some(Data::Value(value.into()));
        self
    }

    /// The same with a timeout.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// The same with a comment.
    #[must_use]
    pub fn comment(mut self, comment: &str) -> Self {
        self.comment = Some(userdata::fit(comment).to_owned());
        self
    }

    /// Writes the element, which in an interval set is two of the kernel's. For a deletion only the key counts.
    pub(super) fn write(&self, out: &mut Attributes, shape: Shape, deletion: bool) {
        let (first, last) = match &self.span {
            Span::Key(key) => (Some(key), Some(key)),
            Span::Range(from, to) => (Some(from), Some(to)),
            Span::Others => (None, None),
        };
        out.nested(wire::LIST_ELEMENT, |out| {
            match first {
                Some(key) => write_key(out, attribute::KEY, &key.bytes()),
                None => _ = out.u32_be(attribute::FLAGS, attribute::CATCH_ALL),
            }
            if let (Shape::ConcatenatedInterval, Some(key)) = (shape, last) {
                write_key(out, attribute::KEY_END, &key.bytes());
            }
            if !deletion {
                self.write_attachments(out);
            }
        });
        if let (Shape::Interval, Some(end)) = (shape, last.and_then(|key| successor(key.bytes()))) {
            out.nested(wire::LIST_ELEMENT, |out| {
                write_key(out, attribute::KEY, &end);
                out.u32_be(attribute::FLAGS, attribute::INTERVAL_END);
            });
        }
    }

    fn write_attachments(&self, out: &mut Attributes) {
        match &self.data {
            None => {}
            Some(Data::Verdict(verdict)) => verdict.write(out, attribute::DATA),
            Some(Data::Value(value)) => write_key(out, attribute::DATA, &value.bytes()),
        }
        if let Some(timeout) = self.timeout {
            out.u64_be(attribute::TIMEOUT, u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX));
        }
        if let Some(comment) = &self.comment {
            out.bytes(attribute::USERDATA, &userdata::comment(comment));
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.span.fmt(f)?;
        match &self.data {
            None => Ok(()),
            Some(Data::Verdict(verdict)) => write!(f, " : {verdict}"),
            Some(Data::Value(value)) => write!(f, " : {value}"),
        }
    }
}

fn write_key(out: &mut Attributes, kind: u16, bytes: &[u8]) {
    out.nested(kind, |out| {
        out.bytes(data::VALUE, bytes);
    });
}

/// The next value in network order; `None` after the last one, where a range needs no end.
fn successor(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    for byte in bytes.iter_mut().rev() {
        let (next, overflow) = byte.overflowing_add(1);
        *byte = next;
        if !overflow {
            return Some(bytes);
        }
    }
    None
}

fn predecessor(mut bytes: Vec<u8>) -> Vec<u8> {
    for byte in bytes.iter_mut().rev() {
        let (previous, overflow) = byte.overflowing_sub(1);
        *byte = previous;
        if !overflow {
            break;
        }
    }
    bytes
}

/// One of the kernel's elements, before ranges are put together.
struct Raw {
    first: Vec<u8>,
    last: Option<Vec<u8>>,
    is_end: bool,
    element: Element,
}

/// Puts the elements of `set` together from what the kernel lists.
pub(super) struct ElementReader<'a> {
    set: &'a Set,
    raw: Vec<Raw>,
}

impl<'a> ElementReader<'a> {
    pub(super) fn new(set: &'a Set) -> Self {
        Self { set, raw: Vec::new() }
    }

    /// Takes one `NFTA_LIST_ELEM`; `None` if it is not of the set's types.
    pub(super) fn push(&mut self, attributes: &AttributeReader<'_>) -> Option<()> {
        let (mut first, mut last, mut flags) = (None, None, 0);
        let mut element = Element::others();
        for found in attributes.clone() {
            let found = found.ok()?;
            match found.kind {
                attribute::KEY => first = Some(found.nested().find(data::VALUE)?.payload.to_vec()),
                attribute::KEY_END => last = Some(found.nested().find(data::VALUE)?.payload.to_vec()),
                attribute::FLAGS => flags = found.u32_be().ok()?,
                attribute::DATA => element.data = Some(self.read_data(&found.nested())?),
                attribute::TIMEOUT => element.timeout = Some(Duration::from_millis(found.u64_be().ok()?)),
                attribute::USERDATA => element.comment = userdata::text(found.payload, userdata::COMMENT),
                _ => {}
            }
        }
        let is_end = flags & attribute::INTERVAL_END != 0;
        match first {
            Some(first) => self.raw.push(Raw { first, last, is_end, element }),
            None => self.raw.push(Raw { first: Vec::new(), last: None, is_end: false, element }),
        }
        Some(())
    }

    fn read_data(&self, attributes: &AttributeReader<'_>) -> Option<Data> {
        match self.set.data.as_ref()? {
            SetData::Verdict => Verdict::read(&attributes.find(data::VERDICT)?.nested()).map(Data::Verdict),
            SetData::Value(types) => Key::read(types, attributes.find(data::VALUE)?.payload).map(Data::Value),
        }
    }

    /// The elements in order of their keys; `None` if a key is not of the set's types.
    pub(super) fn finish(mut self) -> Option<Vec<Element>> {
        let types = &self.set.key;
        if self.set.shape() == Shape::Interval {
            close_ranges(&mut self.raw, types);
        }
        let mut elements = Vec::with_capacity(self.raw.len());
        for raw in self.raw {
            let mut element = raw.element;
            if !raw.first.is_empty() {
                let first = Key::read(types, &raw.first)?;
                element.span = match raw.last {
                    Some(last) if last != raw.first => Span::Range(first, Key::read(types, &last)?),
                    _ => Span::Key(first),
                };
            }
            elements.push(element);
        }
        elements.sort();
        Some(elements)
    }
}

/// In an interval set the kernel lists first values and ends apart, in an order of its own.
fn close_ranges(raw: &mut Vec<Raw>, types: &[DataType]) {
    raw.sort_by(|a, b| a.first.cmp(&b.first).then(b.is_end.cmp(&a.is_end)));
    let mut next: Option<Vec<u8>> = None;
    for entry in raw.iter_mut().rev().filter(|entry| !entry.first.is_empty()) {
        if !entry.is_end {
            entry.last = Some(match &next {
                Some(after) => predecessor(after.clone()),
                None => vec![0xff; Key::length(types)],
            });
        }
        next = Some(entry.first.clone());
    }
    raw.retain(|entry| !entry.is_end);
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn the_neighbours_of_a_value_carry_over_bytes() {
        assert_eq!(successor(vec![10, 0, 255, 255]), Some(vec![10, 1, 0, 0]));
        assert_eq!(successor(vec![255, 255]), None);
        assert_eq!(predecessor(vec![10, 1, 0, 0]), vec![10, 0, 255, 255]);
    }

    #[test]
    fn a_prefix_of_one_address_is_one_key() {
        let host = Element::prefix(&"10.0.0.1/32".parse().unwrap());
        assert_eq!(host.span, Span::Key("10.0.0.1".parse::<IpAddr>().unwrap().into()));
        let wide = Element::prefix(&"10.0.0.0/8".parse().unwrap());
        assert_eq!(wide.to_string(), "10.0.0.0 to 10.255.255.255");
    }
}
