//! Random policies, of everything that the API knows.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::dice::Dice;
use super::{KEYS, NAMES, NAMESPACE_KEYS, NUMBERS, VALUES};
use crate::net::{ip, place, remote};

/// Addresses that blocks are built around.
fn known(dice: &mut Dice) -> IpAddr {
    let family = dice.below(2);
    match dice.below(3) {
        0 => place(dice.below(crate::net::PLACES))[family],
        1 => remote(dice.below(super::REMOTES))[family],
        _ => dice
            .of(&[
                ["192.0.2.2", "2001:db8::2"],
                ["203.0.113.9", "64:ff9b::cb00:7109"],
                ["198.51.100.77", "2001:db8:f::9"],
                ["192.0.2.1", "2001:db8::1"],
                ["10.244.1.1", "fd00:244:1::1"],
            ])
            .map(ip)[family],
    }
}

pub(super) fn policy(dice: &mut Dice, namespace: &str, name: &str) -> Value {
    let mut spec = Map::new();
    spec.insert("podSelector".into(), selector(dice, &KEYS));
    let types =
        [None, None, Some(json!(["Ingress"])), Some(json!(["Egress"])), Some(json!(["Ingress", "Egress"]))];
    if let Some(types) = dice.of(&types) {
        spec.insert("policyTypes".into(), types);
    }
    for (direction, side) in [("ingress", "from"), ("egress", "to")] {
        match dice.below(10) {
            0..=2 => {}
            3 => drop(spec.insert(direction.into(), json!([]))),
            _ => drop(spec.insert(direction.into(), dice.some(1, 3, |dice| rule(dice, side)).into())),
        }
    }
    let mut document = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace}, "spec": spec,
    });
    if dice.chance(4) {
        spoil(dice, &mut document["spec"]);
    }
    document
}

fn rule(dice: &mut Dice, side: &str) -> Value {
    let mut rule = Map::new();
    match dice.below(10) {
        0 => {}
        1 => drop(rule.insert(side.into(), json!([]))),
        _ => drop(rule.insert(side.into(), dice.some(1, 3, peer).into())),
    }
    match dice.below(10) {
        0..=3 => {}
        4 => drop(rule.insert("ports".into(), json!([]))),
        _ => drop(rule.insert("ports".into(), dice.some(1, 3, port).into())),
    }
    rule.into()
}

fn peer(dice: &mut Dice) -> Value {
    match dice.below(10) {
        0..=3 => json!({"ipBlock": block(dice)}),
        4..=5 => json!({"podSelector": selector(dice, &KEYS)}),
        6..=7 => json!({"namespaceSelector": selector(dice, &NAMESPACE_KEYS)}),
        _ => json!({
            "podSelector": selector(dice, &KEYS),
            "namespaceSelector": selector(dice, &NAMESPACE_KEYS),
        }),
    }
}

/// A block around an address that is there, so that it matters; its text may have bits behind the prefix.
fn block(dice: &mut Dice) -> Value {
    if dice.chance(5) {
        return json!({"cidr": dice.of(&["8000::/1", "::/1", "0.0.0.0/1", "128.0.0.0/1", "400::/8"])});
    }
    let inside = known(dice);
    let width = if inside.is_ipv4() { 32 } else { 128 };
    let length = match dice.below(4) {
        0 => 0,
        1 => dice.below(width + 1),
        _ => width - dice.below(9),
    };
    let cidr = match (length, inside) {
        (0, IpAddr::V4(_)) => "0.0.0.0/0".to_owned(),
        (0, IpAddr::V6(_)) => "::/0".to_owned(),
        _ => format!("{inside}/{length}"),
    };
    if length == width || dice.chance(40) {
        return json!({"cidr": cidr});
    }
    // An exception must be inside: the same first bits, and a longer prefix.
    let except = dice.some(1, 3, |dice| {
        let other = known(dice);
        let longer = length + 1 + dice.below(width - length);
        let base = if other.is_ipv4() == inside.is_ipv4() && length == 0 { other } else { inside };
        format!("{base}/{longer}")
    });
    json!({"cidr": cidr, "except": except})
}

fn port(dice: &mut Dice) -> Value {
    let mut entry = Map::new();
    if let Some(protocol) = dice.of(&[None, Some("TCP"), Some("UDP"), Some("SCTP")]) {
        entry.insert("protocol".into(), protocol.into());
    }
    match dice.below(10) {
        0..=1 => {}
        2..=4 => drop(entry.insert("port".into(), dice.of(&NUMBERS).into())),
        5..=7 => drop(entry.insert("port".into(), dice.of(&NAMES).into())),
        _ => {
            let first = dice.of(&NUMBERS) - u16::from(dice.chance(50));
            entry.insert("port".into(), first.into());
            let last = first + dice.of(&[0, 1, 2, 1000, 9000]);
            entry.insert("endPort".into(), last.into());
        }
    }
    entry.into()
}

pub(super) fn selector(dice: &mut Dice, keys: &[&str]) -> Value {
    let mut selector = Map::new();
    if dice.chance(25) {
        return selector.into();
    }
    if dice.chance(60) {
        let mut pairs = Map::new();
        for (key, value) in dice.some(1, 2, |dice| (dice.of(keys), dice.of(&VALUES))) {
            pairs.insert(key.into(), value.into());
        }
        selector.insert("matchLabels".into(), pairs.into());
    }
    if selector.is_empty() || dice.chance(30) {
        selector.insert("matchExpressions".into(), dice.some(1, 2, |dice| expression(dice, keys)).into());
    }
    selector.into()
}

fn expression(dice: &mut Dice, keys: &[&str]) -> Value {
    let key = dice.of(keys);
    let operator = dice.of(&["In", "NotIn", "Exists", "DoesNotExist"]);
    if matches!(operator, "In" | "NotIn") {
        let values = dice.some(1, 2, |dice| dice.of(&VALUES));
        return json!({"key": key, "operator": operator, "values": values});
    }
    json!({"key": key, "operator": operator})
}

/// Something that the API would refuse.
fn spoil(dice: &mut Dice, spec: &mut Value) {
    let direction = dice.of(&["ingress", "egress"]);
    let side = if direction == "ingress" { "from" } else { "to" };
    let wrong = dice.of(&[
        json!({"ports": [{"port": 90, "endPort": 80}]}),
        json!({"ports": [{"port": "http", "endPort": 80}]}),
        json!({"ports": [{"port": 0}]}),
        json!({"ports": [{"protocol": "ICMP"}]}),
        json!({(side): [{}]}),
        json!({(side): [{"ipBlock": {"cidr": "10.0.0.0/33"}}]}),
        json!({(side): [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["11.0.0.0/16"]}}]}),
        json!({(side): [{"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}]}),
        json!({(side): [{"podSelector": {"matchExpressions": [{"key": "app", "operator": "Has"}]}}]}),
        json!({(side): [{"podSelector": {"matchExpressions": [{"key": "app", "operator": "In"}]}}]}),
    ]);
    match &mut spec[direction] {
        Value::Array(rules) => rules.push(wrong),
        other => *other = json!([wrong]),
    }
}
