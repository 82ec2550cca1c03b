//! A transaction: operations that the kernel takes all together or not at all.

use std::fmt;

use super::chain::Chain;
use super::element::Element;
use super::name::{ChainName, SetName, TableName};
use super::rule::Rule;
use super::set::{Set, Shape};
use super::table::Table;

/// Where a new rule stands in its chain. A handle is the kernel's number of a rule, as listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Position {
    /// After all others.
    Last,
    /// Before all others.
    First,
    /// After the rule with this handle.
    After(u64),
    /// Before the rule with this handle.
    Before(u64),
}

/// How something is taken away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Removal {
    /// It must be there.
    Delete,
    /// It may be gone already. Needs Linux 6.3.
    Destroy,
}

/// One operation. Adding a table, chain or set that is there already with the same definition changes nothing, and so
/// does adding an element that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Adds a table.
    AddTable(Table),
    /// Adds a table that must not be there yet: of several who try, one succeeds.
    CreateTable(Table),
    /// Removes a table with all that is in it.
    RemoveTable(TableName, Removal),
    /// Removes all rules of a table.
    FlushTable(TableName),
    /// Adds a chain.
    AddChain(Chain),
    /// Adds a chain that must not be there yet.
    CreateChain(Chain),
    /// Removes a chain with its rules; nothing may refer to it.
    RemoveChain(ChainName, Removal),
    /// Removes all rules of a chain.
    FlushChain(ChainName),
    /// Adds a rule.
    AddRule(ChainName, Position, Rule),
    /// Puts a rule in the place of the one with this handle.
    ReplaceRule(ChainName, u64, Rule),
    /// Removes the rule with this handle.
    RemoveRule(ChainName, u64, Removal),
    /// Adds a set or map.
    AddSet(Set),
    /// Removes a set or map with its elements; no rule may refer to it.
    RemoveSet(SetName, Removal),
    /// Removes all elements of a set or map.
    FlushSet(SetName),
    /// Adds elements.
    AddElements(SetName, Shape, Vec<Element>),
    /// Adds elements that must not be there yet, whatever they hold.
    CreateElements(SetName, Shape, Vec<Element>),
    /// Removes elements; of each only the keys count.
    RemoveElements(SetName, Shape, Removal, Vec<Element>),
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Operation::AddTable(table) => write!(f, "add table {}", table.name),
            Operation::CreateTable(table) => write!(f, "create table {}", table.name),
            Operation::RemoveTable(name, how) => write!(f, "{how} table {name}"),
            Operation::FlushTable(name) => write!(f, "flush table {name}"),
            Operation::AddChain(chain) => write!(f, "add chain {}", chain.name),
            Operation::CreateChain(chain) => write!(f, "create chain {}", chain.name),
            Operation::RemoveChain(name, how) => write!(f, "{how} chain {name}"),
            Operation::FlushChain(name) => write!(f, "flush chain {name}"),
            Operation::AddRule(chain, _, rule) => {
                write!(f, "add rule {chain}")?;
                rule.comment.as_ref().map_or(Ok(()), |comment| write!(f, " ({comment})"))
            }
            Operation::ReplaceRule(chain, handle, _) => write!(f, "replace rule {chain} handle {handle}"),
            Operation::RemoveRule(chain, handle, how) => write!(f, "{how} rule {chain} handle {handle}"),
            Operation::AddSet(set) => write!(f, "add set {}", set.name),
            Operation::RemoveSet(name, how) => write!(f, "{how} set {name}"),
            Operation::FlushSet(name) => write!(f, "flush set {name}"),
            Operation::AddElements(set, _, elements) => {
                write!(f, "add {} element(s) to {set}", elements.len())
            }
            Operation::CreateElements(set, _, elements) => {
                write!(f, "create {} element(s) in {set}", elements.len())
            }
            Operation::RemoveElements(set, _, how, elements) => {
                write!(f, "{how} {} element(s) of {set}", elements.len())
            }
        }
    }
}

impl fmt::Display for Removal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Removal::Delete => "delete",
            Removal::Destroy => "destroy",
        })
    }
}

/// Operations in the order in which the kernel is to look at them.
///
/// Each may use what those before it made: a rule a set, an element a chain it jumps to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Transaction {
    operations: Vec<Operation>,
}

impl Transaction {
    /// A transaction that does nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The operations in order.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// True if it does nothing.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Number of operations.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Appends an operation.
    pub fn push(&mut self, operation: Operation) -> &mut Self {
        self.operations.push(operation);
        self
    }

    /// Appends all operations of another transaction.
    pub fn append(&mut self, other: Transaction) -> &mut Self {
        self.operations.extend(other.operations);
        self
    }

    /// Adds a table.
    pub fn add_table(&mut self, table: Table) -> &mut Self {
        self.push(Operation::AddTable(table))
    }

    /// Adds a table that must not be there yet.
    pub fn create_table(&mut self, table: Table) -> &mut Self {
        self.push(Operation::CreateTable(table))
    }

    /// Removes a table that must be there.
    pub fn delete_table(&mut self, name: TableName) -> &mut Self {
        self.push(Operation::RemoveTable(name, Removal::Delete))
    }

    /// Removes a table if it is there. Needs Linux 6.3.
    pub fn destroy_table(&mut self, name: TableName) -> &mut Self {
        self.push(Operation::RemoveTable(name, Removal::Destroy))
    }

    /// Adds a chain.
    pub fn add_chain(&mut self, chain: Chain) -> &mut Self {
        self.push(Operation::AddChain(chain))
    }

    /// Adds a chain that must not be there yet.
    pub fn create_chain(&mut self, chain: Chain) -> &mut Self {
        self.push(Operation::CreateChain(chain))
    }

    /// Removes a chain that must be there.
    pub fn delete_chain(&mut self, name: ChainName) -> &mut Self {
        self.push(Operation::RemoveChain(name, Removal::Delete))
    }

    /// Removes all rules of a chain.
    pub fn flush_chain(&mut self, name: ChainName) -> &mut Self {
        self.push(Operation::FlushChain(name))
    }

    /// Adds a rule at the end of its chain.
    pub fn add_rule(&mut self, chain: &ChainName, rule: Rule) -> &mut Self {
        self.push(Operation::AddRule(chain.clone(), Position::Last, rule))
    }

    /// Adds a rule at the beginning of its chain.
    pub fn insert_rule(&mut self, chain: &ChainName, rule: Rule) -> &mut Self {
        self.push(Operation::AddRule(chain.clone(), Position::First, rule))
    }

    /// Removes the rule with the handle, which must be there.
    pub fn delete_rule(&mut self, chain: &ChainName, handle: u64) -> &mut Self {
        self.push(Operation::RemoveRule(chain.clone(), handle, Removal::Delete))
    }

    /// Adds a set or map.
    pub fn add_set(&mut self, set: Set) -> &mut Self {
        self.push(Operation::AddSet(set))
    }

    /// Removes a set or map that must be there.
    pub fn delete_set(&mut self, name: SetName) -> &mut Self {
        self.push(Operation::RemoveSet(name, Removal::Delete))
    }

    /// Removes all elements of a set or map.
    pub fn flush_set(&mut self, name: SetName) -> &mut Self {
        self.push(Operation::FlushSet(name))
    }

    /// Adds elements; nothing is done for none.
    pub fn add_elements(&mut self, set: &Set, elements: Vec<Element>) -> &mut Self {
        if elements.is_empty() {
            return self;
        }
        self.push(Operation::AddElements(set.name.clone(), set.shape(), elements))
    }

    /// Adds elements of which none may be there yet, not even with the same data; nothing is done for none.
    pub fn create_elements(&mut self, set: &Set, elements: Vec<Element>) -> &mut Self {
        if elements.is_empty() {
            return self;
        }
        self.push(Operation::CreateElements(set.name.clone(), set.shape(), elements))
    }

    /// Removes elements that must be there; nothing is done for none. (An empty list would mean all to the kernel.)
    pub fn delete_elements(&mut self, set: &Set, elements: Vec<Element>) -> &mut Self {
        if elements.is_empty() {
            return self;
        }
        self.push(Operation::RemoveElements(set.name.clone(), set.shape(), Removal::Delete, elements))
    }
}
