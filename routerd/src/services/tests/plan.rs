//! A plan applied to what it was made from gives what is desired, and touches nothing else.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use kernel::ipvs::Command;
use proptest::prelude::*;

use super::super::Settings;
use super::super::apply::Kernel;
use super::super::desired::{At, NodeFacts, Origin, VirtualService, Wish};
use super::super::endpoints::{Backend, Backends};
use super::super::gates::Gate;
use super::super::plan::{Extent, Plan, VipStep};
use super::super::scheduling::Scheduling;
use super::super::state::{Packets, Refusal, State, Tuple, Vip};
use super::super::wanted::{LocalAddresses, Wanted};
use super::fake::Fake;
use super::fixture::{ip, name};
use crate::cluster::objects::Protocol;
use kernel::ipvs::ServiceFlags;
use prefix::Family;

const VIPS: [&str; 4] = ["10.96.0.1", "10.96.0.2", "10.96.9.9", "fd00:96::1"];
/// Where addresses of others lie.
const EXCLUDED: &str = "10.96.9.9";

fn facts(source: u8) -> NodeFacts {
    let addresses = match source {
        0 => vec![ip("192.0.2.11"), ip("2001:db8::11")],
        1 => vec![ip("192.0.2.12"), ip("2001:db8::12")],
        _ => Vec::new(),
    };
    NodeFacts { addresses, pod_cidrs: vec!["10.1.1.0/24".parse().unwrap()] }
}

fn backend(number: u8, weight: u32) -> (SocketAddr, Backend) {
    (SocketAddr::new(IpAddr::from([10, 1, 1, number]), 8080), Backend { weight, local: number < 3 })
}

prop_compose! {
    fn gate()(sources in proptest::option::of(0u8..8), detour in 0u16..3, private: bool) -> Gate {
        // Prefixes that lie in each other or beside each other.
        let all = ["192.0.2.0/24", "192.0.2.0/25", "198.51.100.1/32"].map(|text| text.parse().unwrap());
        let some = |bits: u8| all.iter().enumerate().filter(move |(number, _)| bits & (1 << number) != 0);
        Gate {
            sources: sources.and_then(|bits| {
                Gate::admits(&some(bits).map(|(_, prefix)| *prefix).collect::<Vec<_>>(), Family::V4)
            }),
            detour: (detour > 0).then(|| SocketAddr::new(ip("10.96.0.1"), 80 + detour)),
            private,
        }
    }
}

prop_compose! {
    fn virtual_service()(
        place in 0usize..5, udp in any::<bool>(), port in 80u16..82, lc in any::<bool>(),
        backends in proptest::collection::btree_map(1u8..5, 0u32..2, 0..4), drop in any::<bool>(),
        external in any::<bool>(), gate in gate(),
    ) -> VirtualService {
        VirtualService {
            origin: if external { Origin::External } else { Origin::Cluster },
            gate: gate.kept(),
            at: VIPS.get(place).map_or(At::Node(ip("192.0.2.11")), |text| At::Virtual(ip(text))),
            protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
            port,
            scheduling: Scheduling {
                scheduler: if lc { "lc" } else { "rr" },
                flags: ServiceFlags::empty(),
                affinity_seconds: 0,
            },
            backends: Backends {
                by_socket: backends.into_iter().map(|(number, weight)| backend(number, weight)).collect(),
                refusal: if drop { Refusal::Drop } else { Refusal::Reject },
            },
        }
    }
}

fn wishes() -> impl Strategy<Value = Vec<Wish>> {
    let wish = proptest::collection::vec(virtual_service(), 0..4).prop_map(|virtuals| Wish {
        since: 0,
        virtuals,
        problems: Vec::new(),
    });
    proptest::collection::vec(wish, 0..4)
}

fn wanted(wishes: &[Wish], source: u8) -> Wanted {
    let mut wanted = Wanted::new(facts(source), LocalAddresses::default(), &Settings::default());
    for (number, wish) in wishes.iter().enumerate() {
        wanted.set(&name(&format!("s{number}")), Some(wish));
    }
    wanted
}

fn vip() -> impl Strategy<Value = (usize, bool, u8, bool)> {
    (0..VIPS.len(), any::<bool>(), 0u8..3, any::<bool>())
}

/// What an earlier run, or somebody else, has left in the kernel.
fn left_behind(wishes: &[Wish], source: u8, vips: &[(usize, bool, u8, bool)], noted: bool) -> State {
    let mut state = wanted(wishes, source).state().clone();
    for (number, on_device, source, kernel_route) in vips {
        let address = ip(VIPS[*number]);
        let source = facts(*source).addresses.into_iter().find(|found| found.is_ipv4() == address.is_ipv4());
        let vip = Vip { on_device: *on_device, source, kernel_route: *kernel_route };
        state.vips.remove(&address);
        if vip != Vip::default() {
            state.vips.insert(address, vip);
        }
    }
    if !noted {
        state.packets = Packets::default();
    }
    state
}

fn excluded(address: IpAddr) -> bool {
    address == ip(EXCLUDED)
}

fn run(fake: &mut Fake, plan: &Plan) {
    fake.packets(&plan.announce).unwrap();
    for outcome in fake.balance(&plan.balance) {
        outcome.unwrap();
    }
    for outcome in fake.vips(&plan.vips) {
        outcome.unwrap();
    }
    for outcome in fake.balance(&plan.unbalance) {
        outcome.unwrap();
    }
    fake.packets(&plan.withdraw).unwrap();
    fake.forget(&plan.flows).unwrap();
}

proptest! {
    #[test]
    fn a_plan_applied_gives_what_is_desired_and_then_there_is_nothing_to_do(
        before in wishes(), after in wishes(), sources in (0u8..3, 0u8..3),
        vips in proptest::collection::vec(vip(), 0..3), noted in any::<bool>(),
    ) {
        let observed = left_behind(&before, sources.0, &vips, noted);
        let wanted = wanted(&after, sources.1);
        let desired = wanted.state();
        let plan = Plan::between(&observed, desired, &Extent::Everything, excluded);
        let mut fake = Fake { state: observed.clone(), ..Fake::default() };
        run(&mut fake, &plan);
        prop_assert_eq!(&fake.refused, &None);

        for (tuple, balanced) in &desired.services {
            prop_assert_eq!(fake.state.services.get(tuple), Some(balanced));
        }
        for (address, vip) in &desired.vips {
            prop_assert_eq!(fake.state.vips.get(address), Some(vip));
        }
        for address in fake.state.vips.keys() {
            prop_assert!(desired.vips.contains_key(address) || excluded(*address), "{} is left", address);
        }
        for tuple in fake.state.services.keys().filter(|tuple| !desired.services.contains_key(tuple)) {
            let ours = observed.packets.tuples.contains(tuple)
                || observed.vips.contains_key(&tuple.address)
                || desired.vips.contains_key(&tuple.address);
            prop_assert!(!ours || excluded(tuple.address), "{} is left", tuple);
            prop_assert_eq!(fake.state.services.get(tuple), observed.services.get(tuple), "foreign and changed");
        }
        prop_assert_eq!(&fake.state.packets.program, &desired.packets.program);
        prop_assert_eq!(&fake.state.packets.hairpin, &desired.packets.hairpin);
        let (mut left, mut missing) = (fake.state.packets.gates.clone(), desired.packets.gates.clone());
        left.remove(&desired.packets.gates);
        missing.remove(&fake.state.packets.gates);
        prop_assert!(left.tuples().all(|tuple| excluded(tuple.address)) && missing.is_empty(), "{left:?} {missing:?}");

        let mut predicted = observed;
        plan.apply_to(&mut predicted);
        prop_assert_eq!(&predicted, &fake.state, "what we believe is what is");
        let again = Plan::between(&fake.state, desired, &Extent::Everything, excluded);
        prop_assert!(again.is_empty(), "{:?}", again);
    }

    #[test]
    fn service_by_service_leads_where_everything_at_once_leads(
        before in wishes(), changes in proptest::collection::vec((0usize..5, wishes()), 0..4),
    ) {
        let mut step_by_step = wanted(&before, 0);
        let mut fake = Fake { state: step_by_step.state().clone(), ..Fake::default() };
        let mut latest: Vec<Wish> = before;
        for (number, wishes) in changes {
            let wish = wishes.into_iter().next();
            latest.resize(latest.len().max(number + 1), Wish::default());
            latest[number] = wish.clone().unwrap_or_default();
            let touched = step_by_step.set(&name(&format!("s{number}")), wish.as_ref());
            let plan = Plan::between(&fake.state, step_by_step.state(), &Extent::Only(touched), |_| false);
            run(&mut fake, &plan);
            prop_assert_eq!(&fake.refused, &None);
        }
        let at_once = wanted(&latest, 0);
        prop_assert_eq!(step_by_step.state(), at_once.state());
        prop_assert_eq!(&fake.state, at_once.state());
    }
}

fn one(virtuals: Vec<VirtualService>) -> Wanted {
    wanted(&[Wish { since: 0, virtuals, problems: Vec::new() }], 0)
}

fn udp(backends: &[(u8, u32)]) -> VirtualService {
    VirtualService {
        origin: Origin::default(),
        gate: None,
        at: At::Virtual(ip("10.96.0.1")),
        protocol: Protocol::Udp,
        port: 53,
        scheduling: Scheduling { scheduler: "rr", flags: ServiceFlags::empty(), affinity_seconds: 0 },
        backends: Backends {
            by_socket: backends.iter().map(|(number, weight)| backend(*number, *weight)).collect(),
            refusal: Refusal::Reject,
        },
    }
}

fn between(old: &Wanted, new: &Wanted) -> Plan {
    Plan::between(old.state(), new.state(), &Extent::Everything, |_| false)
}

#[test]
fn a_backend_that_goes_takes_only_its_own_flows_along_and_the_others_are_not_touched() {
    let plan = between(&one(vec![udp(&[(3, 1), (4, 1)])]), &one(vec![udp(&[(4, 1)])]));
    let gone = backend(3, 1).0;
    assert!(matches!(plan.balance[..], [Command::DeleteDestination(_, socket)] if socket == gone));
    assert_eq!((plan.vips.len(), plan.unbalance.len()), (0, 0));
    assert_eq!(plan.flows[0].keep, BTreeSet::from([backend(4, 1).0]));

    let tuple = Tuple { address: ip("10.96.0.1"), protocol: 17, port: 53 };
    let flows = vec![(tuple, gone), (tuple, backend(4, 1).0), (Tuple { port: 54, ..tuple }, gone)];
    let mut fake = Fake { flows: flows.clone(), ..Fake::default() };
    fake.forget(&plan.flows).unwrap();
    assert_eq!(fake.flows, flows[1..]);
}

#[test]
fn a_backend_about_to_end_is_changed_in_place() {
    let plan = between(&one(vec![udp(&[(3, 1), (4, 1)])]), &one(vec![udp(&[(3, 0), (4, 1)])]));
    assert!(matches!(&plan.balance[..], [Command::SetDestination(_, found)] if found.weight == 0));
    assert!(plan.flows.is_empty());
}

#[test]
fn the_first_backend_ends_the_refusal_only_after_it_is_there() {
    let plan = between(&one(vec![udp(&[])]), &one(vec![udp(&[(4, 1)])]));
    assert_eq!((plan.announce.writes(), plan.balance.len()), (0, 1));
    assert_eq!(plan.withdraw.unrefuse.len(), 1);
    let back = between(&one(vec![udp(&[(4, 1)])]), &one(vec![udp(&[])]));
    assert_eq!((back.announce.refuse.len(), back.withdraw.writes()), (1, 0));
}

#[test]
fn a_new_virtual_address_gets_the_nodes_address_as_its_source() {
    let plan = between(&one(Vec::new()), &one(vec![udp(&[(4, 1)])]));
    let address = ip("10.96.0.1");
    assert_eq!(plan.vips, [VipStep::AddAddress(address), VipStep::SetRoute(address, ip("192.0.2.11"))]);
    let v6 = VirtualService { at: At::Virtual(ip("fd00:96::1")), ..udp(&[]) };
    let plan = between(&one(Vec::new()), &one(vec![v6]));
    assert_eq!(plan.vips, [VipStep::SetRoute(ip("fd00:96::1"), ip("2001:db8::11"))]);
}
