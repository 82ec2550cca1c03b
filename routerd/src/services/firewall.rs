//! What a virtual address exposes: its tuples, echo, and the errors that the flows of its tuples live by. Without that
//! whatever the node itself listens at on all addresses could be reached at every virtual address, because these lie on
//! one of its devices.
//!
//! Only addresses that we have put on the dummy device are looked at, so an address of the node's own is never touched.

use kernel::nft::{Chain, CtState, DataType, Field, Rule, Set, Transaction};
use prefix::Family;

use super::plan::PacketChange;
use super::program::{Program, REJECT, elements_of, tuple_fields, tuple_set};
use crate::ruleset::table;

const FIREWALL: &str = "services-firewall";
/// Echo request, and the errors: unreachable (with "fragmentation needed"), time exceeded, parameter problem.
const ICMP: [u8; 4] = [8, 3, 11, 12];
/// The same of ICMPv6 with "packet too big", and what neighbours ask each other (RFC 4861).
const ICMP6: [u8; 7] = [128, 1, 2, 3, 4, 135, 136];

/// The virtual addresses of `family` that are on our device.
pub(super) fn exposed_set(family: Family) -> Set {
    let name = match family {
        Family::V4 => "services-exposed",
        Family::V6 => "services-exposed6",
    };
    Set::new(table().set(name), [DataType::address(family)])
}

/// The rules that ask the sets; they come after those that refuse what has no backend.
pub(super) fn entry() -> [Rule; 2] {
    Family::BOTH.map(|family| {
        let set = exposed_set(family).name.name;
        Rule::new().in_set(&[Field::destination(family)], set).jump(FIREWALL)
    })
}

/// Adds the sets, and the chain that [`entry`] leads to.
pub(super) fn lay(program: &mut Program) {
    for set in Family::BOTH.map(exposed_set) {
        program.sets.insert(set.name.name.clone(), set);
    }
    let tuples = Family::BOTH
        .map(|family| Rule::new().in_set(&tuple_fields(family), tuple_set(family).name.name).return_());
    let related = Rule::new().state(CtState::RELATED).return_();
    let four = ICMP.map(|kind| Rule::new().equals(Field::IcmpType, kind).return_());
    let six = ICMP6.map(|kind| Rule::new().equals(Field::Icmp6Type, kind).return_());
    let rules = tuples.into_iter().chain([related]).chain(four).chain(six);
    let refuse = Rule::new().goto(REJECT);
    program.chain(Chain::new(table().chain(FIREWALL)), rules.chain([refuse]).collect());
}

/// Writes a change.
pub(super) fn transaction(out: &mut Transaction, change: &PacketChange, family: Family) {
    let set = exposed_set(family);
    out.delete_elements(&set, elements_of(&change.hide, family))
        .add_elements(&set, elements_of(&change.expose, family));
}
