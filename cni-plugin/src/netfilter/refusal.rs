//! What a refused transaction means for the network's configuration.

use kernel::nft::{ChainType, CommitError, Operation, TableFamily};

use super::entry::Entry;
use crate::error::{CniError, Code};

/// The error for the reader: which key asks for what this kernel lacks.
pub(super) fn explain(error: CommitError, operation: Option<&Operation>, entries: &[Entry]) -> CniError {
    let Some(missing) = missing(&error, operation) else { return error.error.into() };
    let key = match operation {
        Some(operation) if is_of_bridge(operation) => "macspoofchk",
        _ => entries.first().map_or("portMappings", Entry::key),
    };
    CniError::new(Code::UNSUPPORTED, format!("{key} needs {missing}, which this kernel lacks"))
        .with_details(error.error.to_string())
        .with_details(format!("load the module, or take {key} out of the network configuration"))
}

fn missing(error: &CommitError, operation: Option<&Operation>) -> Option<&'static str> {
    // The kernel says "not found" of a type of chain or an expression that no module provides.
    if !error.error.is_unsupported() && !error.error.is_not_found() {
        return None;
    }
    match operation {
        None => Some("nf_tables (CONFIG_NF_TABLES)"),
        Some(operation) if is_of_bridge(operation) => Some("nf_tables for bridges (CONFIG_NF_TABLES_BRIDGE)"),
        Some(Operation::CreateTable(_)) => Some("nf_tables for both families (CONFIG_NF_TABLES_INET)"),
        Some(Operation::CreateChain(chain)) => {
            let nat = chain.base.as_ref().is_some_and(|base| base.kind == ChainType::Nat);
            nat.then_some("address translation in nf_tables (CONFIG_NFT_NAT, CONFIG_NF_NAT)")
        }
        Some(Operation::AddRule(..)) => Some(
            "an nf_tables expression (CONFIG_NFT_CT, CONFIG_NFT_NAT, CONFIG_NFT_MASQ, CONFIG_NFT_FIB_INET)",
        ),
        Some(_) => None,
    }
}

fn is_of_bridge(operation: &Operation) -> bool {
    let family = match operation {
        Operation::CreateTable(table) => table.name.family,
        Operation::CreateChain(chain) => chain.name.table.family,
        Operation::AddRule(chain, ..) => chain.table.family,
        Operation::AddSet(set) => set.name.table.family,
        _ => return false,
    };
    family == TableFamily::Bridge
}

#[cfg(test)]
mod tests {
    use kernel::KernelError;
    use kernel::nft::{Chain, Hook, Table, TableName, priority};
    use nix::errno::Errno;

    use super::*;

    fn explained(operation: Option<&Operation>, errno: Errno) -> CniError {
        let error = KernelError::new("commit", errno);
        let spoof = Entry::SpoofCheck { port: "veth1".into(), mac: "02:00:00:00:00:01".parse().unwrap() };
        let masquerade = Entry::Masquerade {
            address: "10.9.0.2".parse().unwrap(),
            subnet: "10.9.0.0/24".parse().unwrap(),
        };
        let error = CommitError { operation: operation.map(|_| 0), element: None, error };
        explain(error, operation, &[masquerade, spoof])
    }

    #[test]
    fn what_the_kernel_lacks_is_said_with_the_key_that_asks_for_it() {
        let inet = TableName::new(TableFamily::Inet, "t");
        let nat = Chain::base(inet.chain("c"), ChainType::Nat, Hook::Prerouting, priority::DSTNAT);
        let bridge = Table::new(TableFamily::Bridge, "t");
        for (operation, errno, key, word) in [
            (None, Errno::EOPNOTSUPP, "ipMasq", "CONFIG_NF_TABLES)"),
            (Some(Operation::CreateTable(bridge)), Errno::EAFNOSUPPORT, "macspoofchk", "BRIDGE"),
            (Some(Operation::CreateChain(nat)), Errno::ENOENT, "ipMasq", "CONFIG_NF_NAT"),
        ] {
            let error = explained(operation.as_ref(), errno);
            assert_eq!(error.code, Code::UNSUPPORTED);
            assert!(error.msg.starts_with(key) && error.msg.contains(word), "{error}");
        }
    }

    #[test]
    fn other_refusals_stay_as_the_kernel_words_them() {
        let table = Table::new(TableFamily::Inet, "t");
        assert_eq!(explained(Some(&Operation::CreateTable(table)), Errno::EPERM).code, Code::KERNEL);
    }
}
