//! GoBGP 3.

use std::net::Ipv4Addr;

use serde_json::Value;

use super::router::{Router, Seen, Setup};
use super::{ASN, v4, v6, wait_for};

fn neighbour(setup: &Setup, number: u8) -> String {
    let mut text = format!(
        "[[neighbors]]
[neighbors.config]
neighbor-address = \"{}\"
peer-as = {ASN}
{}
[neighbors.transport.config]
local-address = \"{}\"
[neighbors.timers.config]
hold-time = 9
keepalive-interval = 3
connect-retry = 5
idle-hold-time-after-reset = 1
",
        setup.side(number),
        setup.password.map(|password| format!("auth-password = \"{password}\"")).unwrap_or_default(),
        setup.address(),
    );
    if setup.ttl_security {
        text += "[neighbors.ttl-security.config]\nenabled = true\nttl-min = 255\n";
    }
    if let Some(time) = setup.graceful {
        text += &format!(
            "[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = {time}\nnotification-enabled = true\nlong-lived-enabled = {}\n",
            setup.long_lived.is_some()
        );
    }
    if setup.reflector {
        text += "[neighbors.route-reflector.config]\nroute-reflector-client = true\nroute-reflector-cluster-id = \"192.0.2.250\"\n";
    }
    for family in ["ipv4-unicast", "ipv6-unicast"] {
        text +=
            &format!("[[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"{family}\"\n");
        if setup.graceful.is_some() {
            text += "[neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n";
        }
        if let Some(time) = setup.long_lived {
            text += &format!(
                "[neighbors.afi-safis.long-lived-graceful-restart.config]\nenabled = true\nrestart-time = {time}\n"
            );
        }
    }
    text
}

fn config(setup: &Setup) -> String {
    let own = v4(setup.kind.last());
    let mut text = format!(
        "[global.config]\nas = {}\nrouter-id = \"{own}\"\nlocal-address-list = [\"{}\"]\n",
        setup.asn,
        setup.address()
    );
    for number in &setup.neighbours {
        text += &neighbour(setup, *number);
    }
    text
}

pub fn run(router: &mut Router) {
    std::fs::write(router.folder.path().join("gobgp.toml"), config(&router.setup)).unwrap();
    router.spawn("gobgpd", &["-f", "gobgp.toml", "--api-hosts", "127.0.0.1:50051", "--pprof-disable"]);
    wait_for("gobgpd's start", || router.command("gobgp", &["neighbor"]).contains("Peer"));
    let last = router.setup.kind.last();
    let [p4, p6] = router.setup.prefixes();
    let marks = [
        "community",
        &format!("{ASN}:5"),
        "large-community",
        &format!("{ASN}:1:2"),
        "rt",
        &format!("{ASN}:77"),
    ]
    .map(str::to_owned);
    for (family, prefix, hop) in [("ipv4", p4, v4(last)), ("ipv6", p6, v6(last))] {
        let hop = hop.to_string();
        let mut arguments = vec!["global", "rib", "add", &prefix, "origin", "igp", "nexthop", &hop];
        arguments.extend(marks.iter().map(String::as_str));
        arguments.extend(["-a", family]);
        let said = router.command("gobgp", &arguments);
        assert!(said.trim().is_empty(), "{said}");
    }
}

pub fn seen(router: &Router, prefix: &str) -> Option<Seen> {
    let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
    let words = ["global", "rib", prefix, "-a", family, "-j"];
    let json = |said: &str| serde_json::from_str::<Value>(said).ok();
    let is_answer = |said: &str| said.contains("not in table") || json(said).is_some();
    let shown = json(&router.answer(|| router.command("gobgp", &words), is_answer))?;
    let path = match &shown {
        Value::Array(all) => all.first()?.clone(),
        Value::Object(all) => all.values().next()?.as_array()?.first()?.clone(),
        _ => return None,
    };
    let attributes = path["attrs"].as_array()?.clone();
    let of = |code: u64| {
        attributes.iter().find(|one| one["type"].as_u64() == Some(code)).cloned().unwrap_or_default()
    };
    let number = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
    let numbers =
        |value: &Value| -> Vec<u32> { value.as_array().into_iter().flatten().filter_map(number).collect() };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let large = of(32)["value"].as_array().cloned().unwrap_or_default();
    Some(Seen {
        next_hop: text(&of(3)["nexthop"]).or_else(|| text(&of(14)["nexthop"]))?,
        as_path: of(2)["as_paths"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|one| numbers(&one["asns"]))
            .collect(),
        communities: numbers(&of(8)["communities"])
            .into_iter()
            .map(|value| format!("{}:{}", value >> 16, value & 0xffff))
            .collect(),
        large: large
            .iter()
            .map(|one| format!("{}:{}:{}", one["ASN"], one["LocalData1"], one["LocalData2"]))
            .collect(),
        extended: of(16)["value"][0]["value"].as_str().and_then(|text| text.rsplit(':').next()?.parse().ok()),
        local_pref: number(&of(5)["value"]),
        med: number(&of(4)["metric"]),
        originator: text(&of(9)["value"]),
        clusters: of(10)["value"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one.as_str()?.parse::<Ipv4Addr>().ok())
            .map(|one| one.to_string())
            .collect(),
    })
}
