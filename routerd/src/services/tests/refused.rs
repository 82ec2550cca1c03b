//! What the kernel refuses of one Service, or of one family, costs the others nothing.

use super::super::state::Refusal;
use super::applier::{applier, clean, desired, keys, web_and_db};
use super::fake::Fake;
use super::fixture::*;
use crate::cluster::Object;
use crate::runner::{Apply, Scope};

/// [`web_and_db`], in which `web` asks for this scheduler.
fn web_by(scheduler: &str) -> Vec<Object> {
    let mut objects = web_and_db();
    let Object::Service(web) = &mut objects[0] else { panic!() };
    web.annotations.insert("kube-router.io/service.scheduler".into(), scheduler.into());
    objects
}

#[test]
fn a_service_the_kernel_refuses_is_named_and_the_others_are_programmed() {
    let mut objects = web_and_db();
    let Object::Service(web) = &mut objects[0] else { panic!() };
    web.annotations.insert("kube-router.io/service.scheduler".into(), "mh".into());
    let mut applier = applier(Fake { missing_scheduler: Some("mh"), ..Fake::default() });
    let wanted = desired(&index(objects.clone()));
    let report = applier.apply(&wanted, &Scope::Everything);
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert!(report.problems[0].item == "Service default/web" && report.problems[0].retry);
    let state = &applier.kernel().state;
    assert!(state.services.contains_key(&tuple("10.96.0.2", 17, 53)));
    // Or what the node listens at on all addresses would get them.
    let refused = [(tuple("10.96.0.1", 6, 80), Refusal::Reject)];
    assert_eq!(state.packets.refused, refused.into(), "packets to what is not balanced are refused");
    assert_eq!(applier.apply(&wanted, &Scope::Everything).writes, 0, "and stay so");

    let Object::Service(web) = &mut objects[0] else { panic!() };
    web.annotations.clear();
    clean(&applier.apply(&desired(&index(objects)), &keys(&["web"])));
    assert_eq!(applier.kernel().observed, 2, "one refused Service makes no change read the kernel again");
    assert_eq!(applier.kernel().state.services.len(), 3);
    assert_eq!(applier.kernel().state.packets.refused, [].into());
}

#[test]
fn on_a_node_without_ipv6_a_service_of_both_families_has_one_problem_and_costs_the_others_nothing() {
    let mut objects = web_and_db();
    let Object::Service(web) = &mut objects[0] else { panic!() };
    web.cluster_ips.push(ip("fd00:96::1"));
    let mut applier = applier(Fake { without_ipv6: true, ..Fake::default() });
    let report = applier.apply(&desired(&index(objects.clone())), &Scope::Everything);
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    assert_eq!(report.problems[0].item, "Service default/web");
    assert!(applier.kernel().state.vips[&ip("10.96.0.1")].on_device);

    objects[3] = Object::EndpointSlice(slice("db", "a", vec![ready("10.1.2.3")]));
    clean(&applier.apply(&desired(&index(objects)), &keys(&["db"])));
    assert_eq!(applier.kernel().observed, 1, "nothing of it makes a change read the kernel again");
}

#[test]
fn a_service_that_asks_for_what_the_kernel_lacks_stays_as_it_was_and_the_others_are_looked_after() {
    let mut applier = applier(Fake { missing_scheduler: Some("mh"), ..Fake::default() });
    clean(&applier.apply(&desired(&index(web_and_db())), &Scope::Everything));
    let mut objects = web_by("mh");
    let report = applier.apply(&desired(&index(objects.clone())), &keys(&["web"]));
    assert_eq!((report.problems.len(), report.problems[0].item.as_str()), (1, "Service default/web"));
    assert!(applier.tend_after().is_some(), "what others take out of IPVS still comes back");
    assert!(applier.tend(&desired(&index(objects.clone()))).is_none(), "and there is nothing to do");

    objects[3] = Object::EndpointSlice(slice("db", "a", vec![ready("10.1.2.3")]));
    clean(&applier.apply(&desired(&index(objects)), &keys(&["db"])));
    assert_eq!(applier.kernel().observed, 1, "no change reads the kernel again");
    let web = &applier.kernel().state.services[&tuple("10.96.0.1", 6, 80)];
    assert_eq!((web.scheduling.unwrap().scheduler, web.destinations.len()), ("rr", 2));
}

#[test]
fn a_node_address_that_no_device_has_is_one_problem_and_makes_no_change_read_the_kernel() {
    let mut objects = web_and_db();
    let missing = ip("192.0.2.11");
    let mut applier = applier(Fake { missing_address: Some(missing), ..Fake::default() });
    let report = applier.apply(&desired(&index(objects.clone())), &Scope::Everything);
    assert_eq!(report.problems.len(), 1, "one for two Services: {:?}", report.problems);
    let problem = &report.problems[0];
    assert!(problem.retry && problem.message.contains("192.0.2.11"), "{problem:?}");
    assert_eq!(problem.item, "services of IPv4 on this node");

    objects[3] = Object::EndpointSlice(slice("db", "a", vec![ready("10.1.2.3")]));
    applier.apply(&desired(&index(objects.clone())), &keys(&["db"]));
    assert_eq!(applier.kernel().observed, 1, "no change reads the kernel again");
    applier.kernel_mut().missing_address = None;
    clean(&applier.apply(&desired(&index(objects)), &Scope::Everything));
    assert_eq!(applier.kernel().state.vips[&ip("10.96.0.1")].source, Some(missing));
}
