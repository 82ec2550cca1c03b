//! Our part of the nft table `inet routerd`: chains, rules and sets, pure.
//!
//! ```text
//!  prerouting (mangle)   in services-tuples?            -> mark 0x4000; gates/rules.rs: who may come
//!  output (mangle)       the same
//!  both (dstnat)         gates/rules.rs: where clients of this node are led
//!  output (behind that)  in services-refused?           -> reject or drop
//!  input (before filter) in services-refused?           -> reject or drop
//!  postrouting (srcnat)  mark 0x4000?                   -> services-masquerade:
//!      a backend to itself                              -> source becomes the node's address
//!      from a pod or to a backend of this node          -> source stays (that is what policies judge)
//!      else                                             -> source becomes the node's address, so that replies come back here;
//!                                                          with --run-router=false that of the device it leaves by
//! ```
//!
//! nf_tables cannot ask whether IPVS has rewritten a packet, but the mark that the tuple got on arrival is still there
//! when the packet leaves with the backend as its destination.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use kernel::nft::{
    Chain, ChainType, CtState, DataType, Element, Field, Hook, NatFlags, Reject, Rule, Set, Table,
    Transaction, Unreachable, Verdict, priority,
};
use prefix::Family;

use super::desired::NodeFacts;
use super::plan::PacketChange;
use super::state::{Refusal, Tuple};
use super::{Settings, firewall, gates, pods};
use crate::ruleset::table;

/// The mark that asks for masquerading, and its mask. The plugin's host ports leave alone what has it.
pub(super) const MARK: u32 = cni_plugin::netfilter::SERVICE_MARK;
const PREROUTING: &str = "services-prerouting";
const INPUT: &str = "services-input";
const OUTPUT: &str = "services-output";
const REFUSE: &str = "services-refuse";
const POSTROUTING: &str = "services-postrouting";
const MASQUERADE: &str = "services-masquerade";
pub(super) const REJECT: &str = "services-reject";
/// What begins so is ours.
pub const PREFIX: &str = "services-";
/// Chains with their rules, and the definitions of sets.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// The chains, by name.
    pub chains: BTreeMap<String, (Chain, Vec<Rule>)>,
    /// The sets, by name.
    pub sets: BTreeMap<String, Set>,
}

/// The tuples of all our virtual services of `family`.
pub fn tuple_set(family: Family) -> Set {
    let name = match family {
        Family::V4 => "services-tuples",
        Family::V6 => "services-tuples6",
    };
    Set::new(table().set(name), [DataType::address(family), DataType::Protocol, DataType::Port])
}

/// What becomes of packets to virtual services of `family` without backends.
pub fn refused_map(family: Family) -> Set {
    let name = match family {
        Family::V4 => "services-refused",
        Family::V6 => "services-refused6",
    };
    let key = [DataType::address(family), DataType::Protocol, DataType::Port];
    Set::new(table().set(name), key).verdicts()
}

/// Pairs of a local backend with itself.
pub fn hairpin_set(family: Family) -> Set {
    let name = match family {
        Family::V4 => "services-hairpin",
        Family::V6 => "services-hairpin6",
    };
    Set::new(table().set(name), [DataType::address(family), DataType::address(family)])
}

pub(super) fn tuple_fields(family: Family) -> [Field; 3] {
    [Field::destination(family), Field::L4Proto, Field::DestinationPort]
}

impl Program {
    /// The program of a node.
    pub fn new(node: &NodeFacts, settings: &Settings) -> Self {
        let mut program = Self { chains: BTreeMap::new(), sets: BTreeMap::new() };
        for family in Family::BOTH {
            for set in [tuple_set(family), refused_map(family), hairpin_set(family), pods::set(family)] {
                program.sets.insert(set.name.name.clone(), set);
            }
        }
        gates::lay(&mut program, node);
        firewall::lay(&mut program);
        let rules = [gates::unmarked_rule, mark_rule, gates::guard_rule];
        let mark: Vec<Rule> = rules.into_iter().flat_map(|rule| Family::BOTH.map(rule)).collect();
        let refuse = [gates::private_rule, refuse_rule].into_iter().flat_map(|rule| Family::BOTH.map(rule));
        let refuse: Vec<Rule> = refuse.collect();
        let base = |name, kind, hook, priority| Chain::base(table().chain(name), kind, hook, priority);
        program.chain(base(PREROUTING, ChainType::Filter, Hook::Prerouting, priority::MANGLE), mark.clone());
        program.chain(base(OUTPUT, ChainType::Filter, Hook::Output, priority::MANGLE), mark);
        // Behind detours, and before IPVS, which takes the node's own packets right after.
        program.chain(base(REFUSE, ChainType::Filter, Hook::Output, priority::DSTNAT + 1), refuse.clone());
        // Before policies judge: that nobody answers is so for everyone.
        program.chain(base(INPUT, ChainType::Filter, Hook::Input, priority::FILTER - 10), refuse);
        program.chain(
            base(POSTROUTING, ChainType::Nat, Hook::Postrouting, priority::SRCNAT),
            vec![Rule::new().masked(Field::Mark, MARK, MARK).goto(MASQUERADE)],
        );
        program.chain(Chain::new(table().chain(MASQUERADE)), masquerade_rules(node, settings));
        program.chain(Chain::new(table().chain(REJECT)), reject_rules());
        program
    }

    /// The same, and virtual addresses expose their Services only.
    #[must_use]
    pub fn with_firewall(mut self) -> Self {
        if let Some((_, rules)) = self.chains.get_mut(INPUT) {
            rules.extend(firewall::entry());
        }
        self
    }

    pub(super) fn chain(&mut self, chain: Chain, rules: Vec<Rule>) {
        self.chains.insert(chain.name.name.clone(), (chain, rules));
    }
}

fn mark_rule(family: Family) -> Rule {
    Rule::new().in_set(&tuple_fields(family), tuple_set(family).name.name).set_mark(MARK, MARK)
}

/// A connection that a backend without successor still serves goes on.
fn refuse_rule(family: Family) -> Rule {
    let new = CtState::NEW | CtState::INVALID | CtState::UNTRACKED;
    Rule::new().state(new).verdict_map(&tuple_fields(family), refused_map(family).name.name)
}

/// `IPPROTO_SCTP`.
const SCTP: u8 = 132;

/// By "port unreachable" Linux' SCTP would go on trying for minutes. For IPv6 there is no error that ends it.
fn reject_rules() -> Vec<Rule> {
    vec![
        Rule::new().reject(Reject::TcpReset),
        Rule::new().protocol(SCTP).reject(Reject::ProtocolUnreachable),
        Rule::new().reject(Reject::Unreachable(Unreachable::Port)),
    ]
}

fn masquerade_rules(node: &NodeFacts, settings: &Settings) -> Vec<Rule> {
    // The mark has done its work; on the outer packet of a tunnel it would do it again.
    let mut rules = vec![Rule::new().set_mark(0, MARK)];
    for family in Family::BOTH {
        let pair = [Field::source(family), Field::destination(family)];
        let rule = Rule::new().in_set(&pair, hairpin_set(family).name.name);
        rules.push(rewrite(rule, node, family));
    }
    if !settings.masquerade_all {
        rules.extend(node.pod_cidrs.iter().map(|prefix| Rule::new().source(prefix).return_()));
        for family in Family::BOTH {
            rules.push(pods::from_one(family).return_());
            // Every backend of this node is in there, twice.
            let twice = [Field::destination(family), Field::destination(family)];
            rules.push(Rule::new().in_set(&twice, hairpin_set(family).name.name).return_());
        }
    }
    rules.extend(Family::BOTH.map(|family| {
        let rule = Rule::new().family(family);
        // The tunnels of another network have addresses, and where it checks sources the node's own does not come back.
        if settings.foreign_ways {
            rule.masquerade(NatFlags::FULLY_RANDOM)
        } else {
            rewrite(rule, node, family)
        }
    }));
    rules
}

/// The node's own address as the source and not the one of the device the packet leaves by: a tunnel has none.
fn rewrite(rule: Rule, node: &NodeFacts, family: Family) -> Rule {
    match node.address(family) {
        Some(address) => rule.snat(address, None, NatFlags::FULLY_RANDOM),
        None => rule.masquerade(NatFlags::FULLY_RANDOM),
    }
}

fn key(tuple: &Tuple) -> (IpAddr, u8, u16) {
    (tuple.address, tuple.protocol, tuple.port)
}

fn refusal(tuple: &Tuple, refusal: Refusal) -> Element {
    Element::new(key(tuple)).verdict(match refusal {
        Refusal::Reject => Verdict::Goto(REJECT.to_owned()),
        Refusal::Drop => Verdict::Drop,
    })
}

/// Those of `addresses` that are of `family`, as a set takes them.
pub(super) fn elements_of(addresses: &BTreeSet<IpAddr>, family: Family) -> Vec<Element> {
    let of_family = addresses.iter().filter(|address| Family::of(**address) == family);
    of_family.map(|address| Element::new(*address)).collect()
}

/// The refusal that a verdict of the map stands for.
pub fn refusal_of(verdict: &Verdict) -> Option<Refusal> {
    match verdict {
        Verdict::Drop => Some(Refusal::Drop),
        Verdict::Goto(chain) if chain == REJECT => Some(Refusal::Reject),
        _ => None,
    }
}

/// The transaction of a change. `present` are the chains of ours that are there.
pub fn transaction(change: &PacketChange, present: &[Chain]) -> Transaction {
    let mut out = Transaction::new();
    if change.writes() == 0 {
        return out;
    }
    let name = table();
    out.add_table(Table::new(name.family, name.name));
    if let Some(program) = &change.program {
        lay(&mut out, program, present);
    }
    for family in Family::BOTH {
        let of_family = |address: IpAddr| Family::of(address) == family;
        let tuples = |tuples: &BTreeSet<Tuple>| -> Vec<Element> {
            tuples
                .iter()
                .filter(|tuple| of_family(tuple.address))
                .map(|tuple| Element::new(key(tuple)))
                .collect()
        };
        let pairs = |addresses: &BTreeSet<IpAddr>| -> Vec<Element> {
            addresses.iter().filter(|ip| of_family(**ip)).map(|ip| Element::new((*ip, *ip))).collect()
        };
        let refused = change.refuse.iter().filter(|(tuple, _)| of_family(tuple.address));
        let refused = refused.map(|(tuple, how)| refusal(tuple, *how)).collect();
        out.delete_elements(&refused_map(family), tuples(&change.unrefuse))
            .add_elements(&refused_map(family), refused)
            .delete_elements(&tuple_set(family), tuples(&change.remove_tuples))
            .add_elements(&tuple_set(family), tuples(&change.add_tuples))
            .delete_elements(&hairpin_set(family), pairs(&change.remove_hairpin))
            .add_elements(&hairpin_set(family), pairs(&change.add_hairpin));
        firewall::transaction(&mut out, change, family);
        pods::transaction(&mut out, change, family);
    }
    gates::transaction(&mut out, &change.gates);
    out
}

/// Puts the program in the place of what is there; the elements of sets stay.
fn lay(out: &mut Transaction, program: &Program, present: &[Chain]) {
    for chain in present {
        out.flush_chain(chain.name.clone());
    }
    let stays =
        |chain: &Chain| program.chains.get(&chain.name.name).is_some_and(|(wanted, _)| wanted == chain);
    for chain in present.iter().filter(|chain| !stays(chain)) {
        out.delete_chain(chain.name.clone());
    }
    for set in program.sets.values() {
        out.add_set(set.clone());
    }
    for (chain, _) in program.chains.values() {
        out.add_chain(chain.clone());
    }
    for (chain, rules) in program.chains.values() {
        for rule in rules {
            out.add_rule(&chain.name, rule.clone());
        }
    }
}
