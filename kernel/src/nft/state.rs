//! Instructions with a state that belongs to an element of a set: `NFTA_SET_EXPR`, `NFTA_SET_EXPRESSIONS`.
//!
//! They are written with the set only. The kernel gives each new element a copy with a state of its own, and reports that
//! with the element; it is no part of what is compared.

use super::datum::{DataType, Key};
use super::expression::Expression;
use super::wire::{self, data, element, expression, set};
use crate::netlink::{AttributeReader, Attributes};

/// `NFTA_COUNTER_BYTES`, `NFTA_COUNTER_PACKETS`.
const COUNTER_BYTES: u16 = 1;
const COUNTER_PACKETS: u16 = 2;

/// Writes the instructions of a set. One alone has an attribute of its own, which older kernels know too.
pub(super) fn write(out: &mut Attributes, each: &[Expression]) {
    match each {
        [] => {}
        [one] => one.write(out, set::EXPRESSION),
        several => {
            out.nested(set::EXPRESSIONS, |out| {
                for expression in several {
                    expression.write(out, wire::LIST_ELEMENT);
                }
            });
        }
    }
}

/// Reads them; `None` if one has no name.
pub(super) fn read(attributes: &AttributeReader<'_>) -> Option<Vec<Expression>> {
    if let Some(one) = attributes.find(set::EXPRESSION) {
        return Some(vec![Expression::read(&one.nested())?]);
    }
    let Some(list) = attributes.find(set::EXPRESSIONS) else { return Some(Vec::new()) };
    list.nested().map(|expression| Expression::read(&expression.ok()?.nested())).collect()
}

/// Packets and bytes of the first counter among instructions.
pub(super) fn counter(expressions: &AttributeReader<'_>) -> Option<(u64, u64)> {
    expressions.clone().flatten().find_map(|one| counted(&one.nested()))
}

/// The figures of an instruction that is a counter.
fn counted(instruction: &AttributeReader<'_>) -> Option<(u64, u64)> {
    if instruction.find(expression::NAME)?.string() != "counter" {
        return None;
    }
    let figures = instruction.find(expression::DATA)?.nested();
    let number = |kind| figures.find(kind).and_then(|found| found.u64_be().ok());
    Some((number(COUNTER_PACKETS)?, number(COUNTER_BYTES)?))
}

/// Key, packets and bytes of an element of a set whose keys are of `types`; `None` without counter.
pub(super) fn of_element(attributes: &AttributeReader<'_>, types: &[DataType]) -> Option<(Key, u64, u64)> {
    let key = attributes.find(element::KEY)?.nested();
    let key = Key::read(types, key.find(data::VALUE)?.payload)?;
    let (packets, bytes) = match attributes.find(element::EXPRESSION) {
        Some(one) => counted(&one.nested())?,
        None => counter(&attributes.find(element::EXPRESSIONS)?.nested())?,
    };
    Some((key, packets, bytes))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for kind in [set::EXPRESSION, set::EXPRESSIONS, element::EXPRESSION, element::EXPRESSIONS] {
                let mut out = Attributes::new();
                out.nested(element::KEY, |out| _ = out.bytes(data::VALUE, &[10, 0, 0, 1])).bytes(kind, &bytes);
                let reader = AttributeReader::new(out.as_bytes());
                let _ = (read(&reader), counter(&reader), of_element(&reader, &[DataType::Ip4]));
            }
        }
    }
}
