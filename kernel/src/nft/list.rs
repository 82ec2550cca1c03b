//! Reading the rule set back.

use super::chain::Chain;
use super::connection::Nft;
use super::datum::Key;
use super::element::{Element, ElementReader};
use super::name::{ChainName, SetName, TableFamily, TableName};
use super::rule::Rule;
use super::set::Set;
use super::state;
use super::table::Table;
use super::wire::{self, message};
use crate::error::{KernelError, Result};
use crate::netlink::{AttributeReader, Attributes, Message};

/// A table as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedTable {
    /// The table.
    pub table: Table,
    /// The kernel's number of it; a table made anew has another.
    pub handle: u64,
}

/// A chain as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedChain {
    /// The chain.
    pub chain: Chain,
    /// The kernel's number of it.
    pub handle: u64,
    /// How many rules it has and how many verdicts lead to it, together.
    pub users: u32,
}

/// A rule as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRule {
    /// The chain it is in.
    pub chain: ChainName,
    /// The kernel's number of it.
    pub handle: u64,
    /// What it does.
    pub rule: Rule,
    /// Packets and bytes of its first counter.
    pub counter: Option<(u64, u64)>,
}

/// A set or map as listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedSet {
    /// Table and name.
    pub name: SetName,
    /// The kernel's number of it.
    pub handle: u64,
    /// Its definition; `None` if it is of a kind that this library does not make.
    pub set: Option<Set>,
}

/// The family and attributes of a message of the wanted kind.
pub(super) fn open(answer: &Message, wanted: u16) -> Option<(TableFamily, AttributeReader<'_>)> {
    if answer.kind != wire::kind(wanted) {
        return None;
    }
    let family = TableFamily::from_number(*answer.payload.first()?)?;
    Some((family, AttributeReader::new(answer.payload.get(4..)?)))
}

impl Nft {
    fn list(
        &mut self,
        what: &str,
        get: u16,
        family: Option<TableFamily>,
        filter: &Attributes,
    ) -> Result<Vec<Message>> {
        let mut payload = wire::header(family).to_vec();
        payload.extend_from_slice(filter.as_bytes());
        self.socket.dump(what, wire::kind(get), &payload)
    }

    /// All tables of all families.
    pub fn list_tables(&mut self) -> Result<Vec<ListedTable>> {
        let what = "list nf_tables tables";
        let answers = self.list(what, message::GET_TABLE, None, &Attributes::new())?;
        let tables = answers.iter().filter_map(|answer| open(answer, message::NEW_TABLE)).map(
            |(family, attributes)| {
                Table::read(family, &attributes).map(|(table, handle)| ListedTable { table, handle })
            },
        );
        tables.collect::<Option<_>>().ok_or_else(|| KernelError::malformed(what, "a table without a name"))
    }

    /// All chains of a table; none if there is no such table.
    pub fn list_chains(&mut self, table: &TableName) -> Result<Vec<ListedChain>> {
        let what = format!("list chains of {table}");
        let answers = self.list(&what, message::GET_CHAIN, Some(table.family), &Attributes::new())?;
        let mut chains = Vec::new();
        for (_, attributes) in answers.iter().filter_map(|answer| open(answer, message::NEW_CHAIN)) {
            // The kernel lists the chains of all tables of the family.
            if attributes.find(wire::chain::TABLE).is_none_or(|found| found.string() != table.name) {
                continue;
            }
            let (chain, handle, users) = Chain::read(table, &attributes)
                .ok_or_else(|| KernelError::malformed(&what, "a chain without a name"))?;
            chains.push(ListedChain { chain, handle, users });
        }
        Ok(chains)
    }

    /// All rules of a table, chain after chain, in their order; none if there is no such table.
    pub fn list_rules(&mut self, table: &TableName) -> Result<Vec<ListedRule>> {
        let what = format!("list rules of {table}");
        let mut filter = Attributes::new();
        filter.string(wire::rule::TABLE, &table.name);
        let answers = self.list(&what, message::GET_RULE, Some(table.family), &filter)?;
        let rules =
            answers.iter().filter_map(|answer| open(answer, message::NEW_RULE)).map(|(_, attributes)| {
                let (chain, handle, rule) = Rule::read(table, &attributes)?;
                Some(ListedRule { chain, handle, rule, counter: counter(&attributes) })
            });
        rules.collect::<Option<_>>().ok_or_else(|| KernelError::malformed(what, "a rule that cannot be read"))
    }

    /// All sets and maps of a table without their elements; none if there is no such table.
    pub fn list_sets(&mut self, table: &TableName) -> Result<Vec<ListedSet>> {
        let what = format!("list sets of {table}");
        let mut filter = Attributes::new();
        filter.string(wire::set::TABLE, &table.name);
        let answers = match self.list(&what, message::GET_SET, Some(table.family), &filter) {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            other => other?,
        };
        let sets =
            answers.iter().filter_map(|answer| open(answer, message::NEW_SET)).map(|(_, attributes)| {
                let name = table.set(attributes.find(wire::set::NAME)?.string());
                let handle = attributes.find(wire::set::HANDLE)?.u64_be().ok()?;
                Some(ListedSet { name, handle, set: Set::read(table, &attributes) })
            });
        sets.collect::<Option<_>>().ok_or_else(|| KernelError::malformed(what, "a set without a name"))
    }

    /// The element of `key` of a set or map; `None` if there is none, or no such set. It costs the same whatever the
    /// set's size is.
    pub fn get_element(&mut self, set: &Set, key: &Key) -> Result<Option<Element>> {
        let what = format!("get element {key} of {}", set.name);
        let mut filter = Attributes::new();
        filter
            .string(wire::element::LIST_TABLE, &set.name.table.name)
            .string(wire::element::LIST_SET, &set.name.name)
            .nested(wire::element::LIST_ELEMENTS, |out| {
                Element::new(key.clone()).write(out, set.shape(), true);
            });
        let mut payload = wire::header(Some(set.name.table.family)).to_vec();
        payload.extend_from_slice(filter.as_bytes());
        let answers = match self.socket.request(&what, wire::kind(message::GET_ELEMENT), 0, &payload) {
            Err(error) if error.is_not_found() => return Ok(None),
            other => other?,
        };
        let elements = read_elements(&what, set, &answers)?;
        Ok(elements.into_iter().next())
    }

    /// All elements of a set or map, in the order of their keys.
    pub fn list_elements(&mut self, set: &Set) -> Result<Vec<Element>> {
        let what = format!("list elements of {}", set.name);
        let answers = self.list_content(&what, set)?;
        read_elements(&what, set, &answers)
    }

    /// How often each key of `set` was found, for a set that counts (see [`Set::each`]) and has single keys: key,
    /// packets and bytes, in an order of the kernel's. None if there is no such set.
    pub fn list_counters(&mut self, set: &Set) -> Result<Vec<(Key, u64, u64)>> {
        let what = format!("list counters of {}", set.name);
        let answers = match self.list_content(&what, set) {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            other => other?,
        };
        let mut counters = Vec::new();
        for (_, attributes) in answers.iter().filter_map(|answer| open(answer, message::NEW_ELEMENT)) {
            let Some(list) = attributes.find(wire::element::LIST_ELEMENTS) else { continue };
            for element in list.nested() {
                counters.extend(state::of_element(&element?.nested(), &set.key));
            }
        }
        Ok(counters)
    }

    fn list_content(&mut self, what: &str, set: &Set) -> Result<Vec<Message>> {
        let mut filter = Attributes::new();
        filter
            .string(wire::element::LIST_TABLE, &set.name.table.name)
            .string(wire::element::LIST_SET, &set.name.name);
        self.list(what, message::GET_ELEMENT, Some(set.name.table.family), &filter)
    }
}

fn read_elements(what: &str, set: &Set, answers: &[Message]) -> Result<Vec<Element>> {
    let mut reader = ElementReader::new(set);
    let malformed = || KernelError::malformed(what, "an element that is not of the set's types");
    for (_, attributes) in answers.iter().filter_map(|answer| open(answer, message::NEW_ELEMENT)) {
        let Some(list) = attributes.find(wire::element::LIST_ELEMENTS) else { continue };
        for element in list.nested() {
            reader.push(&element?.nested()).ok_or_else(malformed)?;
        }
    }
    reader.finish().ok_or_else(malformed)
}

/// Packets and bytes of a rule's first counter.
pub(super) fn counter(rule: &AttributeReader<'_>) -> Option<(u64, u64)> {
    state::counter(&rule.find(wire::rule::EXPRESSIONS)?.nested())
}
