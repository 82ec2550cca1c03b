//! From a transaction to the bytes of one batch, and back from a sequence number to the operation.

use super::chain::Chain;
use super::element::Element;
use super::name::{ChainName, SetName, TableFamily};
use super::set::Shape;
use super::transaction::{Operation, Position, Removal, Transaction};
use super::wire::{self, message};
use crate::netlink::{Attributes, Socket, flags};

/// Elements of one message take at most about this many bytes: the attribute that holds them has a 16-bit length,
/// and one more element must fit behind the check.
const ELEMENTS_MAX: usize = 60_000;

/// Which part of the transaction a message carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    /// The message's sequence number.
    pub(super) sequence: u32,
    /// The operation's place in the transaction.
    pub(super) operation: usize,
    /// The place of the message's first element among those of the operation.
    pub(super) first_element: usize,
}

/// A transaction ready to be sent.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    /// Sequence number of the first message, under which the kernel refuses a batch as a whole.
    pub(super) begin: u32,
    pub(super) origins: Vec<Origin>,
}

/// Encodes `transaction`; with a `generation` the kernel takes it only if nothing was changed since.
pub(super) fn encode(
    transaction: &Transaction,
    generation: Option<u32>,
    mut next_sequence: impl FnMut() -> u32,
) -> Batch {
    let begin = next_sequence();
    let mut batch = Batch { bytes: Vec::new(), begin, origins: Vec::new() };
    let mut payload = wire::batch_header().to_vec();
    if let Some(generation) = generation {
        payload.extend_from_slice(Attributes::new().u32_be(wire::BATCH_GENERATION, generation).as_bytes());
    }
    Socket::append(&mut batch.bytes, wire::BATCH_BEGIN, flags::REQUEST, begin, &payload);
    let last = transaction.len().saturating_sub(1);
    for (at, operation) in transaction.operations().iter().enumerate() {
        let mut first_element = 0;
        loop {
            let (encoded, next) = encode_operation(operation, at, first_element);
            let sequence = next_sequence();
            // Errors are always told; one acknowledgement, of the last message, tells that the batch was read.
            let acknowledge = if at == last && next.is_none() { flags::ACK } else { 0 };
            batch.origins.push(Origin { sequence, operation: at, first_element });
            encoded.append(&mut batch.bytes, sequence, acknowledge);
            match next {
                Some(next) => first_element = next,
                None => break,
            }
        }
    }
    Socket::append(&mut batch.bytes, wire::BATCH_END, flags::REQUEST, next_sequence(), &wire::batch_header());
    batch
}

/// The place, among the elements of `operation`, of the element that the kernel pointed at: `offset` bytes into the
/// message that begins with `first`.
pub(super) fn element_at(operation: &Operation, first: usize, offset: usize) -> Option<usize> {
    let (name, shape, deletion, elements) = elements_of(operation)?;
    let mut out = Attributes::new();
    list_header(&mut out, name);
    // Message header, family header, and the header of the list attribute.
    let mut at = 16 + 4 + out.len() + 4;
    for (place, element) in elements.iter().enumerate().skip(first) {
        let mut one = Attributes::new();
        element.write(&mut one, shape, deletion);
        at += one.len();
        if offset < at {
            return Some(place);
        }
    }
    None
}

struct Encoded {
    message: u16,
    flags: u16,
    family: TableFamily,
    attributes: Attributes,
}

impl Encoded {
    fn append(&self, out: &mut Vec<u8>, sequence: u32, more_flags: u16) {
        let mut payload = wire::header(Some(self.family)).to_vec();
        payload.extend_from_slice(self.attributes.as_bytes());
        Socket::append(
            out,
            wire::kind(self.message),
            self.flags | more_flags | flags::REQUEST,
            sequence,
            &payload,
        );
    }
}

fn elements_of(operation: &Operation) -> Option<(&SetName, Shape, bool, &[Element])> {
    match operation {
        Operation::AddElements(set, shape, elements) | Operation::CreateElements(set, shape, elements) => {
            Some((set, *shape, false, elements))
        }
        Operation::RemoveElements(set, shape, _, elements) => Some((set, *shape, true, elements)),
        _ => None,
    }
}

/// One message of the operation; for elements also the place where the next message begins.
fn encode_operation(operation: &Operation, at: usize, first_element: usize) -> (Encoded, Option<usize>) {
    if let Some((set, shape, deletion, elements)) = elements_of(operation) {
        let (message, flags) = match operation {
            Operation::RemoveElements(_, _, how, _) => {
                (removal(*how, message::DELETE_ELEMENT, message::DESTROY_ELEMENT), 0)
            }
            Operation::CreateElements(..) => (message::NEW_ELEMENT, flags::CREATE | flags::EXCLUSIVE),
            _ => (message::NEW_ELEMENT, flags::CREATE),
        };
        let mut attributes = Attributes::new();
        let next = write_elements(&mut attributes, set, shape, deletion, elements, first_element);
        return (Encoded { message, flags, family: set.table.family, attributes }, next);
    }
    (encode_object(operation, at), None)
}

fn list_header(out: &mut Attributes, set: &SetName) {
    out.string(wire::element::LIST_TABLE, &set.table.name).string(wire::element::LIST_SET, &set.name);
}

fn write_elements(
    out: &mut Attributes,
    set: &SetName,
    shape: Shape,
    deletion: bool,
    elements: &[Element],
    first: usize,
) -> Option<usize> {
    list_header(out, set);
    let mut next = None;
    out.nested(wire::element::LIST_ELEMENTS, |out| {
        let start = out.len();
        for (at, element) in elements.iter().enumerate().skip(first) {
            if out.len() - start > ELEMENTS_MAX {
                next = Some(at);
                break;
            }
            element.write(out, shape, deletion);
        }
    });
    next
}

fn removal(how: Removal, delete: u16, destroy: u16) -> u16 {
    match how {
        Removal::Delete => delete,
        Removal::Destroy => destroy,
    }
}

fn encode_object(operation: &Operation, at: usize) -> Encoded {
    let mut attributes = Attributes::new();
    let out = &mut attributes;
    let (message, flags, family) = match operation {
        Operation::AddTable(table) => {
            table.write(out);
            (message::NEW_TABLE, flags::CREATE, table.name.family)
        }
        Operation::CreateTable(table) => {
            table.write(out);
            (message::NEW_TABLE, flags::CREATE | flags::EXCLUSIVE, table.name.family)
        }
        Operation::RemoveTable(name, how) => {
            out.string(wire::table::NAME, &name.name);
            (removal(*how, message::DELETE_TABLE, message::DESTROY_TABLE), 0, name.family)
        }
        Operation::FlushTable(name) => {
            out.string(wire::rule::TABLE, &name.name);
            (message::DELETE_RULE, 0, name.family)
        }
        Operation::AddSet(set) => {
            // The number names the set inside the batch; names do as well, but the kernel wants one.
            set.write(out, u32::try_from(at).unwrap_or(u32::MAX).saturating_add(1));
            (message::NEW_SET, flags::CREATE, set.name.table.family)
        }
        Operation::RemoveSet(name, how) => {
            out.string(wire::set::TABLE, &name.table.name).string(wire::set::NAME, &name.name);
            (removal(*how, message::DELETE_SET, message::DESTROY_SET), 0, name.table.family)
        }
        Operation::FlushSet(name) => {
            list_header(out, name);
            (message::DELETE_ELEMENT, 0, name.table.family)
        }
        _ => encode_chain_operation(operation, out),
    };
    Encoded { message, flags, family, attributes }
}

fn encode_chain_operation(operation: &Operation, out: &mut Attributes) -> (u16, u16, TableFamily) {
    let in_chain = |out: &mut Attributes, chain: &ChainName| {
        out.string(wire::rule::TABLE, &chain.table.name).string(wire::rule::CHAIN, &chain.name);
    };
    match operation {
        Operation::AddChain(chain @ Chain { name, .. }) => {
            chain.write(out);
            (message::NEW_CHAIN, flags::CREATE, name.table.family)
        }
        Operation::CreateChain(chain @ Chain { name, .. }) => {
            chain.write(out);
            (message::NEW_CHAIN, flags::CREATE | flags::EXCLUSIVE, name.table.family)
        }
        Operation::RemoveChain(name, how) => {
            out.string(wire::chain::TABLE, &name.table.name).string(wire::chain::NAME, &name.name);
            (removal(*how, message::DELETE_CHAIN, message::DESTROY_CHAIN), 0, name.table.family)
        }
        Operation::FlushChain(chain) => {
            in_chain(out, chain);
            (message::DELETE_RULE, 0, chain.table.family)
        }
        Operation::AddRule(chain, position, rule) => {
            in_chain(out, chain);
            if let Position::After(handle) | Position::Before(handle) = position {
                out.u64_be(wire::rule::POSITION, *handle);
            }
            rule.write(out);
            let order = match position {
                Position::Last | Position::After(_) => flags::APPEND,
                Position::First | Position::Before(_) => 0,
            };
            (message::NEW_RULE, flags::CREATE | order, chain.table.family)
        }
        Operation::ReplaceRule(chain, handle, rule) => {
            in_chain(out, chain);
            out.u64_be(wire::rule::HANDLE, *handle);
            rule.write(out);
            (message::NEW_RULE, flags::REPLACE, chain.table.family)
        }
        Operation::RemoveRule(chain, handle, how) => {
            in_chain(out, chain);
            out.u64_be(wire::rule::HANDLE, *handle);
            (removal(*how, message::DELETE_RULE, message::DESTROY_RULE), 0, chain.table.family)
        }
        _ => (message::NEW_GENERATION, 0, TableFamily::Inet),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DataType, Set, Table};
    use super::*;

    fn numbered() -> impl FnMut() -> u32 {
        let mut next = 0;
        move || {
            next += 1;
            next
        }
    }

    #[test]
    fn elements_of_one_set_are_spread_over_messages_and_every_one_is_found_again() {
        let table = Table::new(TableFamily::Inet, "t");
        let set = Set::new(table.name.set("s"), [DataType::Ip4]).intervals();
        let elements: Vec<_> =
            (0..5000u32).map(|n| Element::new(std::net::Ipv4Addr::from(0x0a00_0000 + 2 * n))).collect();
        let mut transaction = Transaction::new();
        transaction.add_table(table).add_set(set.clone()).add_elements(&set, elements.clone());
        let batch = encode(&transaction, None, numbered());
        let of_set: Vec<_> = batch.origins.iter().filter(|origin| origin.operation == 2).collect();
        assert!(of_set.len() > 2, "{}", of_set.len());
        assert!(of_set.windows(2).all(|pair| pair[0].first_element < pair[1].first_element));
        let operation = &transaction.operations()[2];
        let first = of_set[1].first_element;
        assert_eq!(element_at(operation, first, 16 + 4 + 8 + 8 + 4 + 1), Some(first));
        assert_eq!(element_at(operation, first, 1 << 20), None);
    }

    #[test]
    fn only_the_last_message_asks_for_an_acknowledgement() {
        let mut transaction = Transaction::new();
        transaction
            .add_table(Table::new(TableFamily::Inet, "a"))
            .add_table(Table::new(TableFamily::Ip4, "b"));
        let batch = encode(&transaction, Some(7), numbered());
        let mut at = 0;
        let mut asking = Vec::new();
        while at < batch.bytes.len() {
            let word = |at: usize| u32::from_ne_bytes(batch.bytes[at..at + 4].try_into().unwrap());
            if word(at + 4) >> 16 & u32::from(flags::ACK) != 0 {
                asking.push(word(at + 8));
            }
            at += word(at) as usize;
        }
        assert_eq!(asking, [3]);
        assert_eq!(batch.origins.last().unwrap().sequence, 3);
    }
}
