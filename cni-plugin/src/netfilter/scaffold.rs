//! Making the tables where they are missing, and mending them.
//!
//! An ADD sends its elements and nothing else. Only when the kernel says that something they need is not there, this
//! looks what it is; the elements then go in one transaction with it. Tables and chains are asked to be new, so that
//! of several first ADDs one makes the rules and the others see that.

use std::collections::BTreeSet;

use kernel::KernelError;
use kernel::nft::{Chain, ListedChain, Nft, Rule, Set, Table, TableFamily, Transaction};

use super::entry::Entry;
use super::layout::{self, Block, Subnet};

/// What is to be there besides elements.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Scaffold {
    families: BTreeSet<TableFamily>,
    subnets: BTreeSet<Subnet>,
}

/// A difference between what is to be there and what is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fault {
    /// The table is not there.
    NoTable(TableFamily),
    /// A map or set is not there.
    NoSet(Set),
    /// A chain is not there.
    NoChain(Block),
    /// A chain is another one or has other rules.
    OtherChain(Block),
}

impl Fault {
    /// What is wrong, for a reader.
    pub(super) fn text(&self) -> String {
        match self {
            Fault::NoTable(family) => format!("table {} is not there", layout::table(*family)),
            Fault::NoSet(set) => format!("{} is not there", set.name),
            Fault::NoChain(block) => format!("chain {} is not there", block.chain.name),
            Fault::OtherChain(block) => format!("the rules of chain {} were changed", block.chain.name),
        }
    }
}

impl Scaffold {
    /// What `entries` need. The inet table is always among it: it has the list of attachments.
    pub(super) fn of(entries: &[Entry]) -> Self {
        let mut families = BTreeSet::from([TableFamily::Inet]);
        if entries.iter().any(|entry| matches!(entry, Entry::SpoofCheck { .. })) {
            families.insert(TableFamily::Bridge);
        }
        Self { families, subnets: entries.iter().filter_map(Entry::subnet).collect() }
    }

    /// What there is, as it should be: the tables that exist, and the chains of subnets that something leads to.
    pub(super) fn existing(nft: &mut Nft) -> Result<Self, KernelError> {
        let mut scaffold = Self { families: tables(nft)?, subnets: BTreeSet::new() };
        for (subnet, listed, rules) in subnets(nft)? {
            if listed.users > rules {
                scaffold.subnets.insert(subnet);
            }
        }
        Ok(scaffold)
    }

    fn definition(&self, family: TableFamily) -> (Table, Vec<Set>, Vec<Block>) {
        let (table, sets, mut blocks) = layout::definition(family);
        if family == TableFamily::Inet {
            blocks.extend(self.subnets.iter().map(|subnet| subnet.block()));
        }
        (table, sets, blocks)
    }

    /// What of it is missing; with `rules` also what has other rules than it should, which costs more to find out.
    pub(super) fn faults(&self, nft: &mut Nft, rules: bool) -> Result<Vec<Fault>, KernelError> {
        let there = tables(nft)?;
        let mut faults = Vec::new();
        for family in &self.families {
            if there.contains(family) {
                self.faults_in(nft, *family, rules, &mut faults)?;
            } else {
                faults.push(Fault::NoTable(*family));
            }
        }
        Ok(faults)
    }

    fn faults_in(
        &self,
        nft: &mut Nft,
        family: TableFamily,
        rules: bool,
        faults: &mut Vec<Fault>,
    ) -> Result<(), KernelError> {
        let (table, sets, blocks) = self.definition(family);
        let found = nft.list_sets(&table.name)?;
        let is_there = |set: &Set| found.iter().any(|listed| listed.set.as_ref() == Some(set));
        faults.extend(sets.into_iter().filter(|set| !is_there(set)).map(Fault::NoSet));
        let chains = nft.list_chains(&table.name)?;
        let listed = if rules { nft.list_rules(&table.name)? } else { Vec::new() };
        for block in blocks {
            let name = &block.chain.name;
            let has: Vec<&Rule> =
                listed.iter().filter(|rule| rule.chain == *name).map(|rule| &rule.rule).collect();
            match chains.iter().find(|listed| listed.chain.name == *name) {
                None => faults.push(Fault::NoChain(block)),
                Some(_) if !rules => {}
                Some(listed) if listed.chain == block.chain && has.iter().copied().eq(&block.rules) => {}
                Some(_) => faults.push(Fault::OtherChain(block)),
            }
        }
        Ok(())
    }

    /// What makes the faults good.
    pub(super) fn mending(&self, faults: &[Fault]) -> Transaction {
        let mut transaction = Transaction::new();
        let (mut sets, mut chains, mut blocks) = (Vec::new(), Vec::<Chain>::new(), Vec::new());
        for fault in faults {
            match fault {
                Fault::NoTable(family) => {
                    let (table, all, made) = self.definition(*family);
                    transaction.create_table(table);
                    sets.extend(all);
                    chains.extend(made.iter().map(|block| block.chain.clone()));
                    blocks.extend(made);
                }
                Fault::NoSet(set) => sets.push(set.clone()),
                Fault::NoChain(block) => {
                    chains.push(block.chain.clone());
                    blocks.push(block.clone());
                }
                Fault::OtherChain(block) => {
                    transaction.flush_chain(block.chain.name.clone());
                    blocks.push(block.clone());
                }
            }
        }
        for set in sets {
            transaction.add_set(set);
        }
        for chain in chains {
            transaction.create_chain(chain);
        }
        for Block { chain, rules } in blocks {
            for rule in rules {
                transaction.add_rule(&chain.name, rule);
            }
        }
        transaction
    }
}

/// Removes the chains of subnets that nothing leads to any more, and mends what is there. Tells what was wrong.
pub(super) fn tidy(nft: &mut Nft) -> Result<Vec<String>, KernelError> {
    let generation = nft.generation()?;
    let scaffold = Scaffold::existing(nft)?;
    let faults = scaffold.faults(nft, true)?;
    let mut transaction = scaffold.mending(&faults);
    for (_, listed, rules) in subnets(nft)? {
        if listed.users <= rules {
            transaction.delete_chain(listed.chain.name);
        }
    }
    // If somebody changed something meanwhile it is looked at the next time.
    match nft.commit_if(&transaction, generation) {
        Err(refused) if refused.error.errno == nix::errno::Errno::ERESTART => Ok(Vec::new()),
        outcome => Ok(outcome.map(|()| faults.iter().map(Fault::text).collect())?),
    }
}

/// The families of our tables that are there.
fn tables(nft: &mut Nft) -> Result<BTreeSet<TableFamily>, KernelError> {
    let listed = nft.list_tables()?.into_iter().map(|listed| listed.table.name);
    Ok(listed.filter(|name| *name == layout::table(name.family)).map(|name| name.family).collect())
}

/// The chains of subnets, each with the number of its rules.
fn subnets(nft: &mut Nft) -> Result<Vec<(Subnet, ListedChain, u32)>, KernelError> {
    let table = layout::table(TableFamily::Inet);
    let mut found = Vec::new();
    for listed in nft.list_chains(&table)? {
        if let Some(subnet) = Subnet::of_chain(&listed.chain.name.name) {
            found.push((subnet, listed, 0));
        }
    }
    if !found.is_empty() {
        for rule in nft.list_rules(&table)? {
            if let Some((.., rules)) = found.iter_mut().find(|(_, listed, _)| listed.chain.name == rule.chain)
            {
                *rules += 1;
            }
        }
    }
    Ok(found)
}
