//! What kube-router left in nf_tables: its own tables (experimental backend), and its chains among those of iptables-nft.
//!
//! Rules of iptables-nft have matches of their own kind (`xt`), which need not be understood: a rule is kube-router's if
//! it leads to a chain with one of its names, or carries one of its comments (release 2.11).

use kernel::KernelError;
use kernel::nft::{ChainName, ListedRule, Nft, TableFamily, TableName, Transaction};

use super::report::Report;

/// The tables of `--use-nftables-for-netpol`.
const TABLES: [(TableFamily, &str); 2] =
    [(TableFamily::Ip4, "kube-router-filter-ipv4"), (TableFamily::Ip6, "kube-router-filter-ipv6")];
/// The tables of iptables that it writes to.
const SHARED: [&str; 3] = ["filter", "nat", "mangle"];
/// What its chains' names begin with.
const CHAINS: [&str; 3] = ["KUBE-ROUTER-", "KUBE-NWPLCY-", "KUBE-POD-FW-"];
/// The comments of its rules in FORWARD.
const COMMENTS: [&str; 3] = [
    "allow inbound traffic to pods",
    "allow outbound traffic from pods",
    "allow outbound node port traffic on node interface with which node ip is associated",
];

/// The kernel's list of the tables of iptables-legacy in this network namespace, for each family.
const LEGACY: [(&str, &str); 2] =
    [("/proc/net/ip_tables_names", "iptables-legacy"), ("/proc/net/ip6_tables_names", "ip6tables-legacy")];

/// Says where rules of kube-router's may be that nf_tables does not show: it uses iptables-legacy where the node does.
pub(super) fn name_legacy(report: &mut Report) {
    for (path, program) in LEGACY {
        let tables = std::fs::read_to_string(path).unwrap_or_default();
        if !tables.trim().is_empty() {
            report.kept.push(format!(
                "left the rules of {program} ({}), which nf_tables does not show: if `{program}-save | grep KUBE` names chains of kube-router's, \
                 `{program} -F` and `-X` remove them one by one, or a reboot all of them",
                tables.split_whitespace().collect::<Vec<_>>().join(", ")
            ));
        }
    }
}

/// Removes it.
pub(super) fn remove(nft: &mut Nft, report: &mut Report) {
    let Some(present) = report.value(nft.list_tables()) else { return };
    let present: Vec<TableName> = present.into_iter().map(|listed| listed.table.name).collect();
    for name in TABLES.map(|(family, name)| TableName::new(family, name)) {
        if present.contains(&name) {
            let mut transaction = Transaction::new();
            transaction.delete_table(name.clone());
            report.gone(format!("nft table {name}"), nft.commit(&transaction).map_err(|error| error.error));
        }
    }
    let shared = |name: &&TableName| {
        matches!(name.family, TableFamily::Ip4 | TableFamily::Ip6) && SHARED.contains(&name.name.as_str())
    };
    for table in present.iter().filter(shared) {
        let Some((chains, rules)) = report.value(find(nft, table)) else { continue };
        if chains.is_empty() && rules.is_empty() {
            continue;
        }
        let what =
            format!("kube-router's {} chains and {} rules in the table {table}", chains.len(), rules.len());
        if report.gone(what, nft.commit(&removal(&chains, &rules)).map_err(|error| error.error)) {
            report.kept.push(format!(
                "left kube-router's rule that masquerades pods, if it is in {table}, and its ipsets: they are gone after a reboot"
            ));
        }
    }
}

/// kube-router's chains of the table, and its rules in chains of others.
fn find(nft: &mut Nft, table: &TableName) -> Result<(Vec<ChainName>, Vec<ListedRule>), KernelError> {
    let is_theirs = |name: &str| CHAINS.iter().any(|prefix| name.starts_with(prefix));
    let chains = nft.list_chains(table)?.into_iter().map(|listed| listed.chain.name);
    let chains = chains.filter(|chain| is_theirs(&chain.name)).collect();
    let mut rules = nft.list_rules(table)?;
    rules.retain(|listed| {
        let leads = listed.rule.target().is_some_and(is_theirs);
        let says = || listed.rule.any_comment().is_some_and(|comment| COMMENTS.contains(&comment.as_ref()));
        !is_theirs(&listed.chain.name) && (leads || (listed.chain.name == "FORWARD" && says()))
    });
    Ok((chains, rules))
}

/// Rules that lead to chains go before the chains, and the chains' own rules too: they lead to one another.
fn removal(chains: &[ChainName], rules: &[ListedRule]) -> Transaction {
    let mut transaction = Transaction::new();
    for listed in rules {
        transaction.delete_rule(&listed.chain, listed.handle);
    }
    for chain in chains {
        transaction.flush_chain(chain.clone());
    }
    for chain in chains {
        transaction.delete_chain(chain.clone());
    }
    transaction
}
