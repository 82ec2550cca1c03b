//! Looking at single objects of rule sets that others made, at a cost that does not grow with the rest of them.

use super::chain::Chain;
use super::connection::Nft;
use super::expression::Expression;
use super::list::{ListedChain, ListedRule, counter, open};
use super::name::ChainName;
use super::rule::Rule;
use super::wire::{self, message};
use crate::error::{KernelError, Result};
use crate::netlink::{AttributeReader, Attributes};

/// `NFTA_MATCH_NAME`, `NFTA_MATCH_INFO` (`include/uapi/linux/netfilter/nf_tables_compat.h`).
const MATCH_NAME: u16 = 1;
const MATCH_INFO: u16 = 3;

impl Nft {
    /// One chain; `None` if there is no such chain, or no such table.
    pub fn find_chain(&mut self, name: &ChainName) -> Result<Option<ListedChain>> {
        let what = format!("get chain {name}");
        let mut filter = Attributes::new();
        filter.string(wire::chain::TABLE, &name.table.name).string(wire::chain::NAME, &name.name);
        let mut payload = wire::header(Some(name.table.family)).to_vec();
        payload.extend_from_slice(filter.as_bytes());
        let answers = match self.socket.request(&what, wire::kind(message::GET_CHAIN), 0, &payload) {
            Err(error) if error.is_not_found() => return Ok(None),
            other => other?,
        };
        let found = answers.iter().find_map(|answer| open(answer, message::NEW_CHAIN));
        let Some((_, attributes)) = found else { return Ok(None) };
        let (chain, handle, users) = Chain::read(&name.table, &attributes)
            .ok_or_else(|| KernelError::malformed(&what, "a chain without a name"))?;
        Ok(Some(ListedChain { chain, handle, users }))
    }

    /// The rules of one chain in their order; none if there is no such chain.
    pub fn list_rules_of(&mut self, chain: &ChainName) -> Result<Vec<ListedRule>> {
        let what = format!("list rules of {chain}");
        let mut filter = Attributes::new();
        filter.string(wire::rule::TABLE, &chain.table.name).string(wire::rule::CHAIN, &chain.name);
        let mut payload = wire::header(Some(chain.table.family)).to_vec();
        payload.extend_from_slice(filter.as_bytes());
        let answers = match self.socket.dump(&what, wire::kind(message::GET_RULE), &payload) {
            Err(error) if error.is_not_found() => return Ok(Vec::new()),
            other => other?,
        };
        let mut rules = Vec::new();
        for (_, attributes) in answers.iter().filter_map(|answer| open(answer, message::NEW_RULE)) {
            let (found, handle, rule) = Rule::read(&chain.table, &attributes)
                .ok_or_else(|| KernelError::malformed(&what, "a rule that cannot be read"))?;
            // Kernels that do not know the filter list the whole table.
            if found == *chain {
                rules.push(ListedRule { chain: found, handle, rule, counter: counter(&attributes) });
            }
        }
        Ok(rules)
    }
}

impl Rule {
    /// The chain this rule jumps or goes to.
    pub fn target(&self) -> Option<&str> {
        self.expressions.iter().find_map(|expression| match expression {
            Expression::Verdict(verdict) => verdict.chain(),
            _ => None,
        })
    }

    /// The comment of the rule, or the one that `iptables -m comment` gave it, which is a match of its own.
    pub fn any_comment(&self) -> Option<String> {
        self.comment.clone().or_else(|| {
            self.expressions.iter().find_map(|expression| match expression {
                Expression::Other { name, attributes } if name == "match" => xt_comment(attributes),
                _ => None,
            })
        })
    }

    /// The constants that the rule compares with, or loads, as an address it translates to.
    pub fn values(&self) -> impl Iterator<Item = &[u8]> {
        self.expressions.iter().filter_map(|expression| match expression {
            Expression::Compare { data, .. } | Expression::Immediate { data, .. } => Some(data.as_slice()),
            _ => None,
        })
    }

    /// True if one of [`Rule::values`] is exactly this.
    pub fn has_value(&self, value: &[u8]) -> bool {
        self.values().any(|found| found == value)
    }
}

/// The text of `struct xt_comment_info`.
fn xt_comment(attributes: &[u8]) -> Option<String> {
    let attributes = AttributeReader::new(attributes);
    if attributes.find(MATCH_NAME)?.string() != "comment" {
        return None;
    }
    Some(attributes.find(MATCH_INFO)?.string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nft::Verdict;

    #[test]
    fn a_comment_of_iptables_is_read_and_other_matches_are_not_taken_for_one() {
        let rule = |name: &str, info: &[u8]| {
            let mut out = Attributes::new();
            out.string(MATCH_NAME, name).bytes(MATCH_INFO, info);
            let attributes = out.into_bytes();
            Rule::new().then(Expression::Other { name: "match".into(), attributes })
        };
        let mut info = b"name: \"n\" id: \"c1\"".to_vec();
        info.resize(256, 0);
        assert_eq!(rule("comment", &info).any_comment().unwrap(), "name: \"n\" id: \"c1\"");
        assert_eq!(rule("multiport", &info).any_comment(), None);
        assert_eq!(rule("comment", &[]).any_comment().unwrap(), "");
        assert_eq!(Rule::new().comment("ours").any_comment().unwrap(), "ours");
    }

    #[test]
    fn a_rule_tells_where_it_jumps_and_which_values_it_has() {
        let rule = Rule::new().source(&"10.0.0.2/32".parse().unwrap()).verdict(Verdict::Jump("CNI-1".into()));
        assert_eq!(rule.target(), Some("CNI-1"));
        assert!(rule.has_value(&[10, 0, 0, 2]) && !rule.has_value(&[10, 0, 0]));
        assert_eq!(Rule::new().accept().target(), None);
    }
}
