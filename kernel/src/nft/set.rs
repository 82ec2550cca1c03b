//! Sets, maps and verdict maps.

use super::datum::{DataType, Key};
use super::expression::Expression;
use super::name::{SetName, TableName};
use super::wire::set as attribute;
use super::{state, userdata, wire};
use crate::netlink::{AttributeReader, Attributes};

/// `BYTEORDER_HOST_ENDIAN` and `BYTEORDER_BIG_ENDIAN` of `nft`, for printing only.
const HOST_ORDER: u32 = 1;
const NETWORK_ORDER: u32 = 2;

/// What a map gives for a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SetData {
    /// A verdict.
    Verdict,
    /// A value of one type or a concatenation.
    Value(Vec<DataType>),
}

/// How the elements of a set stand on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Shape {
    /// Each element is one key.
    Plain,
    /// One field with ranges: a range is two elements, its first value and the one after its last.
    Interval,
    /// Several fields with ranges: an element holds the first and the last value.
    ConcatenatedInterval,
}

/// A set, map or verdict map without its elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// Table and name.
    pub name: SetName,
    /// The fields of a key; more than one is a concatenation.
    pub key: Vec<DataType>,
    /// What a map gives; `None` for a set.
    pub data: Option<SetData>,
    /// Elements may be ranges. Field types must be in network order: no marks and no interfaces.
    pub interval: bool,
    /// Elements may have a timeout.
    pub timeouts: bool,
    /// The kernel refuses more elements than this.
    pub size: Option<u32>,
    /// What is done each time a packet's key is found: instructions with a state, of which every element has its own.
    /// Counting, and a limit that ends the rule when it is exceeded. Two or more need Linux 5.11.
    pub each: Vec<Expression>,
    /// A comment that `nft list` shows; at most 127 bytes.
    pub comment: Option<String>,
}

impl Set {
    /// A set of single keys.
    pub fn new(name: SetName, key: impl Into<Vec<DataType>>) -> Self {
        Self {
            name,
            key: key.into(),
            data: None,
            interval: false,
            timeouts: false,
            size: None,
            each: Vec::new(),
            comment: None,
        }
    }

    /// The same as a verdict map.
    #[must_use]
    pub fn verdicts(mut self) -> Self {
        self.data = Some(SetData::Verdict);
        self
    }

    /// The same as a map to values.
    #[must_use]
    pub fn values(mut self, data: impl Into<Vec<DataType>>) -> Self {
        self.data = Some(SetData::Value(data.into()));
        self
    }

    /// The same with ranges and prefixes as elements.
    #[must_use]
    pub fn intervals(mut self) -> Self {
        self.interval = true;
        self
    }

    /// The same with elements that may time out.
    #[must_use]
    pub fn timeouts(mut self) -> Self {
        self.timeouts = true;
        self
    }

    /// The same with room for `size` elements at most.
    #[must_use]
    pub fn size(mut self, size: u32) -> Self {
        self.size = Some(size);
        self
    }

    /// The same with instructions of which every element has its own state.
    #[must_use]
    pub fn each(mut self, instructions: impl Into<Vec<Expression>>) -> Self {
        self.each = instructions.into();
        self
    }

    /// The same with a comment.
    #[must_use]
    pub fn comment(mut self, comment: &str) -> Self {
        self.comment = Some(userdata::fit(comment).to_owned());
        self
    }

    /// How its elements stand on the wire.
    pub fn shape(&self) -> Shape {
        match (self.interval, self.key.len()) {
            (false, _) => Shape::Plain,
            (true, 1) => Shape::Interval,
            (true, _) => Shape::ConcatenatedInterval,
        }
    }

    fn flags(&self) -> u32 {
        let mut flags = 0;
        if self.interval {
            flags |= attribute::INTERVAL;
        }
        if self.shape() == Shape::ConcatenatedInterval {
            flags |= attribute::CONCATENATED;
        }
        if self.data.is_some() {
            flags |= attribute::MAP;
        }
        if self.timeouts {
            flags |= attribute::HAS_TIMEOUT;
        }
        if self.each.len() > 1 {
            flags |= attribute::HAS_EXPRESSIONS;
        }
        flags
    }

    /// Writes the definition; `id` names the set inside its transaction.
    pub(super) fn write(&self, out: &mut Attributes, id: u32) {
        let length = |types: &[DataType]| u32::try_from(Key::length(types)).unwrap_or(u32::MAX);
        out.string(attribute::TABLE, &self.name.table.name)
            .string(attribute::NAME, &self.name.name)
            .u32_be(attribute::FLAGS, self.flags())
            .u32_be(attribute::KEY_TYPE, DataType::concatenation(&self.key))
            .u32_be(attribute::KEY_LENGTH, length(&self.key));
        match &self.data {
            None => {}
            Some(SetData::Verdict) => {
                out.u32_be(attribute::DATA_TYPE, attribute::VERDICT_TYPE);
            }
            Some(SetData::Value(types)) => {
                out.u32_be(attribute::DATA_TYPE, DataType::concatenation(types))
                    .u32_be(attribute::DATA_LENGTH, length(types));
            }
        }
        self.write_description(out);
        state::write(out, &self.each);
        out.u32_be(attribute::ID, id).bytes(attribute::USERDATA, &self.userdata());
    }

    fn write_description(&self, out: &mut Attributes) {
        let concatenated = self.shape() == Shape::ConcatenatedInterval;
        if self.size.is_none() && !concatenated {
            return;
        }
        out.nested(attribute::DESCRIPTION, |out| {
            if let Some(size) = self.size {
                out.u32_be(attribute::DESCRIPTION_SIZE, size);
            }
            if concatenated {
                out.nested(attribute::DESCRIPTION_FIELDS, |out| {
                    for field in &self.key {
                        out.nested(wire::LIST_ELEMENT, |out| {
                            let length = u32::try_from(field.length()).unwrap_or(u32::MAX);
                            out.u32_be(attribute::FIELD_LENGTH, length);
                        });
                    }
                });
            }
        });
    }

    fn userdata(&self) -> Vec<u8> {
        let order = |types: &[DataType]| match types {
            [one] if !one.is_ordered() => HOST_ORDER,
            _ => NETWORK_ORDER,
        };
        let mut out = Vec::new();
        userdata::put_number(&mut out, userdata::SET_KEY_ORDER, order(&self.key));
        if let Some(SetData::Value(types)) = &self.data {
            userdata::put_number(&mut out, userdata::SET_DATA_ORDER, order(types));
        }
        if let Some(comment) = &self.comment {
            userdata::put_text(&mut out, userdata::SET_COMMENT, comment);
        }
        out
    }

    /// Reads a definition; `None` if it has types or flags that this library does not make.
    pub(super) fn read(table: &TableName, attributes: &AttributeReader<'_>) -> Option<Self> {
        let number = |kind| attributes.find(kind).and_then(|found| found.u32_be().ok());
        let flags = number(attribute::FLAGS).unwrap_or(0);
        if flags & (attribute::ANONYMOUS | attribute::CONSTANT | attribute::DYNAMIC) != 0 {
            return None;
        }
        let data = match (flags & attribute::MAP != 0, number(attribute::DATA_TYPE)) {
            (false, _) => None,
            (true, Some(attribute::VERDICT_TYPE)) => Some(SetData::Verdict),
            (true, kind) => Some(SetData::Value(DataType::split(kind?)?)),
        };
        let size = attributes
            .find(attribute::DESCRIPTION)
            .and_then(|description| description.nested().find(attribute::DESCRIPTION_SIZE))
            .and_then(|size| size.u32_be().ok());
        let comment = attributes
            .find(attribute::USERDATA)
            .and_then(|userdata| userdata::text(userdata.payload, userdata::SET_COMMENT));
        Some(Self {
            name: table.set(attributes.find(attribute::NAME)?.string()),
            key: DataType::split(number(attribute::KEY_TYPE)?).filter(|types| !types.is_empty())?,
            data,
            interval: flags & attribute::INTERVAL != 0,
            timeouts: flags & attribute::HAS_TIMEOUT != 0,
            size,
            each: state::read(attributes)?,
            comment,
        })
    }
}
