//! What this kernel can do.

use nix::errno::Errno;

use super::chain::Chain;
use super::connection::Nft;
use super::name::TableFamily;
use super::rule::Rule;
use super::table::Table;
use super::transaction::Transaction;
use crate::error::{KernelError, Result};

/// A name that nobody gives a table.
const NOBODYS: &str = "routerd-probe";

impl Nft {
    /// True if this kernel can have such a rule in a table of family `inet`; modules that are there are loaded for it.
    ///
    /// Nothing is changed, not even for a moment: the rule stands in a transaction whose last operation cannot be done.
    pub fn supports(&mut self, rule: &Rule) -> Result<bool> {
        let table = Table::new(TableFamily::Inet, NOBODYS);
        let (chain, none) = (table.name.chain("probe"), table.name.chain("none"));
        let mut transaction = Transaction::new();
        transaction
            .add_table(table)
            .add_chain(Chain::new(chain.clone()))
            .add_rule(&chain, rule.clone())
            .delete_chain(none);
        let last = transaction.len() - 1;
        match self.commit(&transaction) {
            Err(refused) if refused.operation == Some(last) => Ok(true),
            Err(refused) if refused.operation == Some(last - 1) => Ok(false),
            Err(refused) => Err(refused.error),
            Ok(()) => Err(KernelError::new("try a rule", Errno::EEXIST)
                .with_detail(format!("somebody has a table {NOBODYS}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Expression, TimeUnit};
    use super::*;
    use crate::testing::TestNs;

    #[test]
    fn what_the_kernel_can_is_told_from_what_it_cannot_without_a_change() {
        let space = TestNs::new("probe");
        space.run("nft", &["add table inet others"]);
        let mut nft = Nft::open_in(space.namespace()).unwrap();
        let generation = nft.generation().unwrap();
        let log = Rule::new().limit(1, TimeUnit::Second, 5).log_group(100, "x");
        assert!(nft.supports(&log).unwrap());
        let other = Expression::Other { name: "no-such-thing".into(), attributes: Vec::new() };
        assert!(!nft.supports(&Rule::new().then(other)).unwrap());
        assert_eq!(nft.generation().unwrap(), generation);
        assert_eq!(nft.list_tables().unwrap().len(), 1);
    }
}
