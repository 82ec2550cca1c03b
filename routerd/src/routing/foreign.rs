//! Rules of others that throw away what this node forwards for pods, as Docker's `FORWARD` with the policy `drop`.
//!
//! No accept of ours can overrule them: each table judges for itself. They are found and said, and never written to.

use kernel::Result;
use kernel::nft::{ChainName, Expression, Hook, ListedRule, Nft, Policy, TableFamily};

use crate::ruleset::table;
use crate::runner::Problem;

/// The pods' bridge; a rule that names it was made for pods.
const BRIDGE: &[u8] = b"kube-bridge";

/// A problem for each chain that drops what it does not know and whose table has no rule for the pods' bridge. Those of the
/// old `iptables-legacy` cannot be seen.
pub(super) fn problems(nft: &mut Nft) -> Result<Vec<Problem>> {
    let mut found = Vec::new();
    for listed in nft.list_tables()? {
        let name = listed.table.name;
        let judges = matches!(name.family, TableFamily::Ip4 | TableFamily::Ip6 | TableFamily::Inet);
        if !judges || name == table() {
            continue;
        }
        let droppers = droppers(nft, &name)?;
        // Only a table that drops is looked at, which may have thousands of rules.
        if !droppers.is_empty() && !nft.list_rules(&name)?.iter().any(speaks_of_pods) {
            found.extend(droppers.iter().map(problem));
        }
    }
    Ok(found)
}

fn droppers(nft: &mut Nft, name: &kernel::nft::TableName) -> Result<Vec<ChainName>> {
    let chains = nft.list_chains(name)?.into_iter().filter(|listed| {
        listed
            .chain
            .base
            .as_ref()
            .is_some_and(|base| base.hook == Hook::Forward && base.policy == Policy::Drop)
    });
    Ok(chains.map(|listed| listed.chain.name).collect())
}

fn speaks_of_pods(listed: &ListedRule) -> bool {
    let names = |expression: &Expression| match expression {
        Expression::Compare { data, .. } => data.starts_with(BRIDGE),
        _ => false,
    };
    listed.rule.expressions.iter().any(names)
}

fn problem(chain: &ChainName) -> Problem {
    let message = format!(
        "the chain {chain} of another program drops what is forwarded and no rule of it knows, and it has none for pods; let it accept what comes in by or leaves by kube-bridge (iptables -I FORWARD -i kube-bridge -j ACCEPT, and -o)"
    );
    Problem { item: format!("firewall {chain}"), message, retry: false }
}
