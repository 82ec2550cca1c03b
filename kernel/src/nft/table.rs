//! Tables.

use super::name::{TableFamily, TableName};
use super::{userdata, wire};
use crate::netlink::{AttributeReader, Attributes};

/// A table: what one program owns of the rule set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Family and name.
    pub name: TableName,
    /// A comment that `nft list` shows; at most 127 bytes.
    pub comment: Option<String>,
}

impl Table {
    /// The table `name` of `family`.
    pub fn new(family: TableFamily, name: impl Into<String>) -> Self {
        Self { name: TableName::new(family, name), comment: None }
    }

    /// The same with a comment.
    #[must_use]
    pub fn comment(mut self, comment: &str) -> Self {
        self.comment = Some(userdata::fit(comment).to_owned());
        self
    }

    pub(super) fn write(&self, out: &mut Attributes) {
        out.string(wire::table::NAME, &self.name.name).u32_be(wire::table::FLAGS, 0);
        if let Some(comment) = &self.comment {
            out.bytes(wire::table::USERDATA, &userdata::comment(comment));
        }
    }

    pub(super) fn read(family: TableFamily, attributes: &AttributeReader<'_>) -> Option<(Self, u64)> {
        let name = attributes.find(wire::table::NAME)?.string();
        let handle = attributes.find(wire::table::HANDLE)?.u64_be().ok()?;
        let comment = attributes
            .find(wire::table::USERDATA)
            .and_then(|userdata| userdata::text(userdata.payload, userdata::COMMENT));
        Some((Self { name: TableName { family, name }, comment }, handle))
    }
}
