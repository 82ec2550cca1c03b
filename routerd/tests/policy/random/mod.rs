//! Random clusters, policies and changes: after each change every packet meets the verdict that the oracle gives.
//!
//! `POLICY_SEED=<number>` repeats a run, `POLICY_CASES` says how many clusters, `POLICY_EDITS` how many changes each.

mod dice;
mod edits;
mod policies;

use std::time::{Instant, SystemTime};

pub(crate) use self::dice::Dice;
use crate::cluster::Cluster;
use crate::net::PLACES;
use crate::oracle::{Flow, Transport};
use crate::scene::{Scene, Tally, matrix, others};

const NAMESPACES: [&str; 3] = ["a", "b", "c"];
const NAMESPACE_KEYS: [&str; 2] = ["team", "env"];
const KEYS: [&str; 2] = ["app", "tier"];
const VALUES: [&str; 3] = ["x", "y", "z"];
/// Names of ports; the last one no pod has.
const NAMES: [&str; 5] = ["http", "dns", "sig", "adm", "nothing"];
const NUMBERS: [u16; 4] = [80, 81, 8080, 9090];
/// Addresses of pods of the other node.
const REMOTES: usize = 5;
/// In a normal run; a long one asks for more.
const CASES: u64 = 8;
const EDITS: usize = 20;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// Some ports of each protocol to try: those that rules name, and their neighbours.
fn ports(dice: &mut Dice) -> Vec<(Transport, u16)> {
    let port = |dice: &mut Dice| dice.of(&[79, 80, 80, 81, 82, 1080, 8080, 8080, 9090, 9091, 65535]);
    let mut ports: Vec<_> = Transport::ALL.into_iter().map(|transport| (transport, port(dice))).collect();
    ports.extend([(Transport::Tcp, port(dice)), (dice.of(&Transport::ALL), dice.of(&NUMBERS))]);
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// For tests that only need something random.
pub(crate) fn some_ports(dice: &mut Dice) -> Vec<(Transport, u16)> {
    ports(dice)
}

pub(crate) fn random_cluster(dice: &mut Dice) -> Cluster {
    edits::cluster(dice)
}

/// A policy of a namespace of [`random_cluster`].
pub(crate) fn random_policy(dice: &mut Dice) -> serde_json::Value {
    let (namespace, name) = (dice.of(&NAMESPACES), format!("policy{}", dice.below(4)));
    policies::policy(dice, namespace, &name)
}

/// Compares, and when there is a difference looks whether a new daemon has it, too.
fn compare(scene: &mut Scene, what: &str, flows: &[Flow]) -> Tally {
    let text = match scene.differences(flows) {
        Ok(tally) => return tally,
        Err(text) => text,
    };
    let rules = scene.net.node.run("nft", &["list", "table", "inet", "routerd"]);
    scene.restart();
    let after = match scene.differences(flows) {
        Ok(_) => "after a new start of the daemon nothing differs: a change was not followed".to_owned(),
        Err(text) => format!("after a new start of the daemon {text}"),
    };
    panic!("{what}\n{text}{after}\n{}\n{rules}", scene.cluster)
}

/// One random cluster and what happens to it.
fn case(scene: &mut Scene, seed: u64, edits: usize) -> Tally {
    let mut dice = Dice::new(seed);
    let mut sum = Tally::default();
    let mut history = String::new();
    scene.replace(edits::cluster(&mut dice));
    for step in 0..=edits {
        if step > 0 {
            let mut told = Vec::new();
            for _ in 0..=dice.of(&[0, 0, 0, 1, 3]) {
                let (what, events) = edits::edit(&mut dice, &mut scene.cluster);
                history = format!("{history}  {step}: {what} {events:?}\n");
                told.extend(events);
            }
            if dice.chance(30) {
                for event in told {
                    scene.tell(vec![event]);
                }
            } else {
                scene.tell(told);
            }
            if dice.chance(4) {
                scene.restart();
            }
        }
        let flows = matrix(PLACES, &others(REMOTES), &ports(&mut dice));
        let what =
            format!("POLICY_SEED={seed} POLICY_CASES=1 POLICY_EDITS={edits}, change {step}\n{history}");
        let tally = compare(scene, &what, &flows);
        sum.admitted += tally.admitted;
        sum.refused += tally.refused;
    }
    sum
}

#[test]
fn after_every_change_every_packet_meets_the_verdict_of_the_documents() {
    let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() * 1000;
    let first = number("POLICY_SEED").unwrap_or_else(now);
    let cases = number("POLICY_CASES").unwrap_or(CASES);
    let edits = number("POLICY_EDITS").map_or(EDITS, |edits| usize::try_from(edits).unwrap());
    println!("POLICY_SEED={first} POLICY_CASES={cases} POLICY_EDITS={edits}");
    let mut scene = Scene::new(Cluster::new());
    let (began, mut sum) = (Instant::now(), Tally::default());
    for seed in first..first + cases {
        let tally = case(&mut scene, seed, edits);
        sum.admitted += tally.admitted;
        sum.refused += tally.refused;
    }
    println!("{cases} clusters, {edits} changes each, {sum:?} in {:?}", began.elapsed());
    assert!(sum.admitted > 0 && sum.refused > 0, "{sum:?}");
}
