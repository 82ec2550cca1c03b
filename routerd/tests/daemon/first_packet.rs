//! Policy holds from a pod's first packet on.

use std::time::Duration;

use cni_plugin::socket::Reply;

use super::wired::{Background, Counter, Pod, Wired, flood, rounds};
use super::world::{pods, policy, wait};

/// The port that no policy opens, and the one that is open.
const CLOSED: u16 = 9;
const OPEN: u16 = 10;
/// Admits one port to the pods of `app: victim`.
const ONE_PORT: &str =
    "podSelector: {matchLabels: {app: victim}}, ingress: [{ports: [{protocol: UDP, port: 10}]}]";

#[test]
fn a_pod_that_is_flooded_from_before_its_birth_gets_nothing_in_that_policy_refuses() {
    let rounds = rounds("POD_STARTS", 12);
    let wired = Wired::running("flooded");
    let names: Vec<String> = (0..rounds).map(|round| format!("victim-{round}")).collect();
    let victims = names.iter().map(|name| (name.as_str(), "victim"));
    wired.world.write("pods.yaml", &pods(victims.chain([("neighbour", "other")])));
    wired.world.write("policy.yaml", &policy("one-port", ONE_PORT));
    wired.world.until("all pods", |status| status["cluster"]["objects"]["Pod"] == rounds + 1);
    let neighbour = wired.pod("neighbour", 2);
    let numbers = |round: u32| u8::try_from(10 + round % 200).unwrap();
    let targets: Vec<_> = (0..rounds.min(200))
        .flat_map(|round| [CLOSED, OPEN].map(|port| ([10, 244, 1, numbers(round)], port).into()))
        .collect();
    let mut admitted = 0;
    for round in 0..rounds {
        // Each round floods one address, as fast as can be, from near and far.
        let at = usize::try_from(round % 200).unwrap() * 2;
        let floods = [&wired.outside, &neighbour.space].map(|from| flood(from, targets[at..at + 2].to_vec()));
        let pod = wired.wire(numbers(round));
        let counters = [CLOSED, OPEN].map(|port| Counter::new(&pod.space, port, true));
        wired.plug(&pod);
        std::thread::sleep(Duration::from_millis(20));
        let before = counters[1].arrived();
        let name = &names[usize::try_from(round).unwrap()];
        assert_eq!(wired.world.attach(name, &pod.address.to_string()), Reply::Committed);
        wait("an admitted datagram", || (counters[1].arrived() > before + 5).then_some(()));
        assert_eq!(counters[0].arrived(), 0, "pod start {round}: refused datagrams got in");
        assert_eq!(before, 0, "pod start {round}: datagrams got in before its verdict was in the kernel");
        admitted += counters[1].arrived();
        floods.into_iter().for_each(Background::end);
        drop(counters);
        wired.delete(name, pod);
    }
    println!("{rounds} pod starts: 0 refused datagrams, {admitted} admitted ones");
}

/// A pod that no policy judges, with a flow from the outside that it has answered: connection tracking calls that
/// established. `victim`, which the policy judges, is known too.
fn answered(wired: &Wired) -> (Pod, Background) {
    wired.world.write("policy.yaml", &policy("one-port", ONE_PORT));
    wired.world.write("pods.yaml", &pods([("open", "open"), ("victim", "victim")]));
    wired.world.until("both pods", |status| status["cluster"]["objects"]["Pod"] == 2);
    let first = wired.pod("open", 7);
    let flood = flood(&wired.outside, vec![first.at(CLOSED)]);
    let counter = Counter::new(&first.space, CLOSED, true);
    wait("datagrams at the first pod", || (counter.arrived() > 20).then_some(()));
    (first, flood)
}

#[test]
fn an_address_that_is_used_again_inherits_no_flow() {
    let wired = Wired::running("recycled");
    let (first, _flood) = answered(&wired);
    wired.delete("open", first);
    let second = wired.wire(7);
    let counters = [CLOSED, OPEN].map(|port| Counter::new(&second.space, port, false));
    wired.plug(&second);
    assert_eq!(wired.world.attach("victim", "10.244.1.7"), Reply::Committed);
    let probe = flood_once(&wired, second.at(OPEN));
    wait("an admitted datagram", || {
        probe();
        (counters[1].arrived() > 0).then_some(())
    });
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(counters[0].arrived(), 0, "packets of another pod's flow got in");
}

#[test]
fn a_pod_that_takes_over_an_address_while_the_daemon_is_away_gets_nothing_of_the_flows_once_it_is_added() {
    let mut wired = Wired::running("takenover");
    let (first, _flood) = answered(&wired);
    wired.world.end(nix::sys::signal::Signal::SIGKILL);
    // The pod's device goes, as with a DEL that nobody hears of; its record is then nothing to a new daemon.
    wired.unplug(first);
    std::fs::remove_dir_all(wired.world.path("run").join("attachments")).unwrap();
    let second = wired.wire(7);
    let counter = Counter::new(&second.space, CLOSED, false);
    wired.plug(&second);
    let place = wired.world.place();
    let add = std::thread::spawn(move || place.try_attach("victim", "10.244.1.7"));
    wired.world.start_with(&super::wired::FLAGS);
    assert_eq!(add.join().unwrap().unwrap(), Reply::Committed);
    // What arrived until now is counted some time; the flood goes on.
    wait("an end of the packets of another pod's flow", || {
        let before = counter.arrived();
        std::thread::sleep(Duration::from_millis(500));
        (counter.arrived() == before).then_some(())
    });
}

/// Sends one datagram from the outside with each call.
fn flood_once(wired: &Wired, to: std::net::SocketAddr) -> impl Fn() {
    let socket = wired.outside.run_in(|| std::net::UdpSocket::bind("0.0.0.0:0").unwrap());
    move || {
        let _ = socket.send_to(b"probe", to);
    }
}
