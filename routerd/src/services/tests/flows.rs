//! UDP flows to backends that are gone, when forgetting them does not go well.

use super::super::state::Tuple;
use super::applier::{applier, clean, desired, keys, web_and_db};
use super::fake::Fake;
use super::fixture::*;
use crate::cluster::Object;
use crate::runner::{Apply, Scope};

/// [`web_and_db`] with this backend of `db`, which is reached by UDP.
fn db_at(backend: &str) -> Vec<Object> {
    let mut objects = web_and_db();
    objects[3] = Object::EndpointSlice(slice("db", "a", vec![ready(backend)]));
    objects
}

fn db() -> Tuple {
    tuple("10.96.0.2", 17, 53)
}

fn flow(backend: &str) -> (Tuple, std::net::SocketAddr) {
    (db(), format!("{backend}:8080").parse().unwrap())
}

#[test]
fn flows_that_the_kernel_would_not_forget_are_forgotten_when_it_does() {
    let mut applier = applier(Fake::default());
    clean(&applier.apply(&desired(&index(db_at("10.1.2.2"))), &Scope::Everything));
    applier.kernel_mut().flows = vec![flow("10.1.2.2"), flow("10.1.2.3")];
    applier.kernel_mut().forgets_nothing = true;
    let moved = desired(&index(db_at("10.1.2.3")));
    let report = applier.apply(&moved, &keys(&["db"]));
    assert!(report.problems.len() == 1 && report.problems[0].retry, "{:?}", report.problems);

    // As long as it does not, it is a problem, though nothing else is to be done.
    assert_eq!(applier.apply(&moved, &Scope::Everything).problems.len(), 1);
    applier.kernel_mut().forgets_nothing = false;
    clean(&applier.apply(&moved, &Scope::Everything));
    assert_eq!(applier.kernel().flows, [flow("10.1.2.3")]);

    let asked = applier.kernel().asked_to_forget;
    clean(&applier.apply(&moved, &Scope::Everything));
    assert_eq!(applier.kernel().asked_to_forget, asked, "no more is to be forgotten");
}

#[test]
fn flows_to_a_backend_that_a_killed_process_took_away_are_forgotten_by_the_next_with_one_look() {
    let wanted = desired(&index(db_at("10.1.2.3")));
    let mut first = applier(Fake::default());
    clean(&first.apply(&wanted, &Scope::Everything));
    let flows = vec![
        flow("10.1.2.2"),
        flow("10.1.2.3"),
        (tuple("192.0.2.77", 17, 53), "10.1.2.9:53".parse().unwrap()),
    ];
    let left = Fake { state: first.kernel().state.clone(), flows: flows.clone(), ..Fake::default() };
    let mut second = applier(left);
    let report = second.apply(&wanted, &Scope::Everything);
    clean(&report);
    assert_eq!((report.writes, second.kernel().asked_to_forget), (1, 1));
    assert_eq!(second.kernel().flows, flows[1..], "flows to backends, and of others, stay");
}
