//! Rules, written as they read.
//!
//! ```
//! use kernel::nft::{CtState, Field, Rule};
//!
//! let replies = Rule::new().state(CtState::ESTABLISHED | CtState::RELATED).accept();
//! let service = Rule::new()
//!     .in_set(&[Field::Ip4Destination, Field::L4Proto, Field::DestinationPort], "services-tuples")
//!     .set_mark(0x4000, 0x4000);
//! # assert!(replies != service);
//! ```
//!
//! Conditions that a field needs to mean what it says (an IPv4 address needs an IPv4 packet) are added by themselves.

use prefix::{Family, Prefix};

use super::datum::{DataType, Datum};
use super::expression::Expression;
use super::expression::kinds::{Comparison, CtState};
use super::field::{Field, Premise};
use super::name::{ChainName, TableName};
use super::register::Register;
use super::{userdata, wire};
use crate::netlink::{AttributeReader, Attributes};

/// What a rule does, wherever it stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Its instructions, in order.
    pub expressions: Vec<Expression>,
    /// A comment that `nft list` shows; at most 127 bytes.
    pub comment: Option<String>,
}

impl Rule {
    /// A rule that holds for every packet and does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with a comment.
    #[must_use]
    pub fn comment(mut self, comment: &str) -> Self {
        self.comment = Some(userdata::fit(comment).to_owned());
        self
    }

    /// The same with one more instruction.
    #[must_use]
    pub fn then(mut self, expression: Expression) -> Self {
        self.expressions.push(expression);
        self
    }

    /// Only packets of `family`.
    #[must_use]
    pub fn family(self, family: Family) -> Self {
        self.premise(&Premise::family(family))
    }

    /// Only packets of the transport `protocol`.
    #[must_use]
    pub fn protocol(self, protocol: u8) -> Self {
        self.premise(&Premise::protocol(protocol))
    }

    /// Only packets to `port` of the transport `protocol`.
    #[must_use]
    pub fn to_port(self, protocol: u8, port: u16) -> Self {
        self.protocol(protocol).equals(Field::DestinationPort, port)
    }

    /// Only packets whose connection is in one of the states.
    #[must_use]
    pub fn state(self, states: CtState) -> Self {
        self.any_bit(Field::CtState, states.0)
    }

    /// Only packets whose `field` is `value`.
    #[must_use]
    pub fn equals(self, field: Field, value: impl Into<Datum>) -> Self {
        self.compare(field, Comparison::Equal, value)
    }

    /// Only packets whose `field` is not `value`.
    #[must_use]
    pub fn differs(self, field: Field, value: impl Into<Datum>) -> Self {
        self.compare(field, Comparison::NotEqual, value)
    }

    /// Only packets whose `field` compares so with `value`.
    ///
    /// Order (less, greater) has a meaning only for values in network order: addresses, ports, protocols.
    #[must_use]
    pub fn compare(self, field: Field, comparison: Comparison, value: impl Into<Datum>) -> Self {
        let data = value.into().bytes();
        self.load(&[field]).then(Expression::Compare { from: Register::FIRST, comparison, data })
    }

    /// Only packets whose `field` is from `first` to `last`, both included; for values in network order.
    #[must_use]
    pub fn between(self, field: Field, first: impl Into<Datum>, last: impl Into<Datum>) -> Self {
        let (first, last) = (first.into().bytes(), last.into().bytes());
        self.load(&[field]).then(Expression::Range { from: Register::FIRST, outside: false, first, last })
    }

    /// Only packets whose `field`, a 32-bit number, has one of these bits.
    #[must_use]
    pub fn any_bit(self, field: Field, bits: u32) -> Self {
        let (from, data) = (Register::FIRST, vec![0; 4]);
        self.load(&[field]).bitwise(bits.to_ne_bytes().to_vec(), vec![0; 4]).then(Expression::Compare {
            from,
            comparison: Comparison::NotEqual,
            data,
        })
    }

    /// Only packets whose `field`, a 32-bit number, is `value` where `mask` has ones.
    #[must_use]
    pub fn masked(self, field: Field, value: u32, mask: u32) -> Self {
        let (from, data) = (Register::FIRST, value.to_ne_bytes().to_vec());
        self.load(&[field]).bitwise(mask.to_ne_bytes().to_vec(), vec![0; 4]).then(Expression::Compare {
            from,
            comparison: Comparison::Equal,
            data,
        })
    }

    /// Only packets from an address inside `prefix`.
    #[must_use]
    pub fn source(self, prefix: &Prefix) -> Self {
        self.inside(Field::source(prefix.family()), prefix)
    }

    /// Only packets to an address inside `prefix`.
    #[must_use]
    pub fn destination(self, prefix: &Prefix) -> Self {
        self.inside(Field::destination(prefix.family()), prefix)
    }

    /// Only packets of the prefix's family to an address outside `prefix`. Outside of all addresses is nothing, so the
    /// rule then never holds.
    #[must_use]
    pub fn not_to(self, prefix: &Prefix) -> Self {
        self.against(Field::destination(prefix.family()), prefix, Comparison::NotEqual)
    }

    fn inside(self, field: Field, prefix: &Prefix) -> Self {
        if prefix.is_default() {
            return self.family(prefix.family());
        }
        self.against(field, prefix, Comparison::Equal)
    }

    fn against(self, field: Field, prefix: &Prefix, comparison: Comparison) -> Self {
        let loaded = self.load(&[field]);
        let masked = if prefix.is_host() {
            loaded
        } else {
            let mask = mask_bytes(prefix);
            let xor = vec![0; mask.len()];
            loaded.bitwise(mask, xor)
        };
        let data = Datum::from(prefix.address()).bytes();
        masked.then(Expression::Compare { from: Register::FIRST, comparison, data })
    }

    /// Only packets whose `fields` together are in the set.
    #[must_use]
    pub fn in_set(self, fields: &[Field], set: impl Into<String>) -> Self {
        self.lookup(fields, set.into(), None, false)
    }

    /// Only packets whose `fields` together are not in the set.
    #[must_use]
    pub fn not_in_set(self, fields: &[Field], set: impl Into<String>) -> Self {
        self.lookup(fields, set.into(), None, true)
    }

    /// Does what the verdict map says of the `fields`; goes on if it says nothing.
    #[must_use]
    pub fn verdict_map(self, fields: &[Field], map: impl Into<String>) -> Self {
        self.lookup(fields, map.into(), Some(Register::Verdict), false)
    }

    /// Loads what the map holds for the `fields` into the registers from the first one on.
    pub(super) fn load_from_map(self, fields: &[Field], map: String) -> Self {
        self.lookup(fields, map, Some(Register::FIRST), false)
    }

    fn lookup(self, fields: &[Field], set: String, to: Option<Register>, inverted: bool) -> Self {
        self.load(fields).then(Expression::Lookup { set, from: Register::FIRST, to, inverted })
    }

    /// Loads fields side by side, as the key of a concatenation is.
    fn load(mut self, fields: &[Field]) -> Self {
        for premise in fields.iter().flat_map(|field| field.premises()) {
            self = self.premise(&premise);
        }
        let mut word = 0;
        for field in fields {
            self.expressions.push(field.load(Register::Word(word)));
            word += field.words();
        }
        self
    }

    fn bitwise(self, mask: Vec<u8>, xor: Vec<u8>) -> Self {
        self.then(Expression::Bitwise { from: Register::FIRST, to: Register::FIRST, mask, xor })
    }

    /// Adds the condition unless the rule has it.
    pub(super) fn premise(self, premise: &Premise) -> Self {
        let pair = |(field, datum): &(Field, Datum)| {
            let (from, data) = (Register::FIRST, datum.bytes());
            [field.load(Register::FIRST), Expression::Compare { from, comparison: Comparison::Equal, data }]
        };
        let known = premise.satisfied_by.iter().any(|condition| {
            let wanted = pair(condition);
            self.expressions.windows(wanted.len()).any(|window| *window == wanted)
        });
        match premise.satisfied_by.first() {
            Some(condition) if !known => pair(condition).into_iter().fold(self, Self::then),
            _ => self,
        }
    }

    pub(super) fn write(&self, out: &mut Attributes) {
        out.nested(wire::rule::EXPRESSIONS, |out| {
            for expression in &self.expressions {
                expression.write(out, wire::LIST_ELEMENT);
            }
        });
        if let Some(comment) = &self.comment {
            out.bytes(wire::rule::USERDATA, &userdata::comment(comment));
        }
    }

    /// Reads a rule: its chain, its handle and what it does.
    pub(super) fn read(
        table: &TableName,
        attributes: &AttributeReader<'_>,
    ) -> Option<(ChainName, u64, Self)> {
        let chain = table.chain(attributes.find(wire::rule::CHAIN)?.string());
        let handle = attributes.find(wire::rule::HANDLE)?.u64_be().ok()?;
        let mut expressions = Vec::new();
        if let Some(list) = attributes.find(wire::rule::EXPRESSIONS) {
            for element in list.nested() {
                expressions.push(Expression::read(&element.ok()?.nested())?);
            }
        }
        let comment = attributes
            .find(wire::rule::USERDATA)
            .and_then(|userdata| userdata::text(userdata.payload, userdata::COMMENT));
        Some((chain, handle, Self { expressions, comment }))
    }
}

fn mask_bytes(prefix: &Prefix) -> Vec<u8> {
    let ones = usize::from(prefix.length());
    let length = DataType::address(prefix.family()).length();
    (0..length)
        .map(|at| match ones.saturating_sub(at * 8) {
            0 => 0,
            bits @ 1..8 => 0xff << (8 - bits),
            _ => 0xff,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_of_an_address_is_asked_for_once() {
        let rule = Rule::new()
            .source(&"10.0.0.0/8".parse().unwrap())
            .destination(&"10.1.0.0/16".parse().unwrap())
            .accept();
        let checks = rule.expressions.iter().filter(|e| **e == Field::NfProto.load(Register::FIRST)).count();
        assert_eq!(checks, 1);
    }

    #[test]
    fn in_a_bridge_table_the_ethernet_type_tells_the_family() {
        let rule = Rule::new().equals(Field::EtherType, 0x0800u16).in_set(&[Field::Ip4Source], "known");
        assert!(!rule.expressions.contains(&Field::NfProto.load(Register::FIRST)));
    }

    #[test]
    fn a_mask_has_as_many_ones_as_the_prefix_is_long() {
        assert_eq!(mask_bytes(&"10.0.0.0/12".parse().unwrap()), [255, 240, 0, 0]);
        assert_eq!(mask_bytes(&"10.0.0.0/32".parse().unwrap()), [255; 4]);
        assert_eq!(mask_bytes(&"fd00::/7".parse().unwrap())[..2], [254, 0]);
    }

    #[test]
    fn fields_of_a_concatenation_stand_side_by_side() {
        let rule = Rule::new().in_set(&[Field::Ip6Destination, Field::L4Proto, Field::DestinationPort], "s");
        let at: Vec<_> = rule
            .expressions
            .iter()
            .filter_map(|expression| match expression {
                Expression::Payload { to, .. } | Expression::Meta { to, .. } => Some(*to),
                _ => None,
            })
            .collect();
        assert_eq!(at[1..], [Register::Word(0), Register::Word(4), Register::Word(5)]);
    }
}
