//! What is told of virtual addresses: only what the kernel has, with an endpoint behind it.

use std::collections::BTreeMap;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::super::apply::Applier;
use super::super::desired::{Key, Value};
use super::super::{Herald, NAME, Settings};
use super::fake::Fake;
use super::fixture::*;
use crate::cluster::{Event, ForceNews, InForce, Index, Object};
use crate::runner::{Apply, Scope};

fn applier(fake: Fake) -> (Applier<Fake>, UnboundedReceiver<InForce>) {
    let (sender, told) = unbounded_channel();
    (Applier::new(fake, Settings::default()).telling(Some(Herald::new(sender))), told)
}

fn desired(index: &Index) -> BTreeMap<Key, Value> {
    desired_with(Settings::default(), index)
}

fn objects(weighted: bool) -> Vec<Object> {
    let mut endpoint = ready("10.1.2.1");
    endpoint.ready = weighted;
    endpoint.serving = weighted;
    vec![
        Object::Service(service("web", "10.96.0.1")),
        Object::EndpointSlice(slice("web", "a", vec![endpoint])),
        Object::Service(service("db", "10.96.0.2")),
        Object::EndpointSlice(slice("db", "a", vec![ready("10.1.2.2")])),
        Object::Service(service("empty", "10.96.0.3")),
    ]
}

/// What an index holds that was told all of it.
fn in_force(index: &mut Index, told: &mut UnboundedReceiver<InForce>) -> Vec<&'static str> {
    while let Ok(news) = told.try_recv() {
        index.apply(Event::InForce(news));
    }
    let all = ["10.96.0.1", "10.96.0.2", "10.96.0.3"];
    all.into_iter().filter(|address| index.is_in_force(&ip(address))).collect()
}

fn web() -> Scope<Key> {
    Scope::Keys([Key::Service(name("web"))].into())
}

#[test]
fn an_address_is_in_force_while_the_kernel_has_it_with_an_endpoint() {
    let (mut applier, mut told) = applier(Fake::default());
    let mut known = index(Vec::new());
    applier.apply(&desired(&index(objects(true))), &Scope::Everything);
    assert_eq!(in_force(&mut known, &mut told), ["10.96.0.1", "10.96.0.2"]);
    assert!(known.has_told_all(NAME));
    applier.apply(&desired(&index(objects(false))), &web());
    assert_eq!(in_force(&mut known, &mut told), ["10.96.0.2"]);
    applier.apply(&desired(&index(objects(true))), &web());
    assert_eq!(in_force(&mut known, &mut told), ["10.96.0.1", "10.96.0.2"]);
    // The Service is gone, and its address with it.
    applier.apply(&desired(&index(objects(true)[2..].to_vec())), &web());
    assert_eq!(in_force(&mut known, &mut told), ["10.96.0.2"]);
}

#[test]
fn a_service_that_the_kernel_refuses_is_not_in_force_and_the_others_are() {
    let mut wanted = objects(true);
    let Object::Service(service) = &mut wanted[0] else { panic!() };
    service.annotations.insert("kube-router.io/service.scheduler".into(), "mh".into());
    let (mut applier, mut told) = applier(Fake { missing_scheduler: Some("mh"), ..Fake::default() });
    applier.apply(&desired(&index(wanted)), &Scope::Everything);
    assert_eq!(in_force(&mut index(Vec::new()), &mut told), ["10.96.0.2"]);
}

#[test]
fn what_somebody_else_takes_away_is_in_force_again_when_it_is_put_right() {
    let (mut applier, mut told) = applier(Fake::default());
    let mut known = index(Vec::new());
    applier.apply(&desired(&index(objects(true))), &Scope::Everything);
    in_force(&mut known, &mut told);
    applier.kernel_mut().state.services.clear();
    applier.tend(&BTreeMap::new());
    assert_eq!(in_force(&mut known, &mut told), ["10.96.0.1", "10.96.0.2"]);
}

#[test]
fn a_restart_tells_what_it_finds_and_a_kernel_without_ipvs_that_it_cannot_tell() {
    let (mut first, _) = applier(Fake::default());
    first.apply(&desired(&index(objects(true))), &Scope::Everything);
    let left = Fake { state: first.kernel().state.clone(), ..Fake::default() };
    let (mut second, mut told) = applier(left);
    assert_eq!(second.apply(&desired(&index(objects(true))), &Scope::Everything).writes, 0);
    assert_eq!(in_force(&mut index(Vec::new()), &mut told), ["10.96.0.1", "10.96.0.2"]);
    let (mut without, mut told) = applier(Fake { without_ipvs: true, ..Fake::default() });
    without.apply(&desired(&index(objects(true))), &Scope::Everything);
    assert_eq!(told.try_recv(), Ok(InForce { plane: NAME, news: ForceNews::Unknown }));
}
