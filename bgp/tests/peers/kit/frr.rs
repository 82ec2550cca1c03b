//! FRR 8: bgpd, and zebra, which it asks about next hops.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::router::{Router, Seen, Setup};
use super::{ASN, v4, v6, wait_for};

fn config(setup: &Setup) -> String {
    let last = setup.kind.last();
    let [p4, p6] = setup.prefixes();
    let (mut global, mut common, mut family) = (String::new(), String::new(), String::new());
    match setup.graceful {
        Some(time) => {
            global += &format!(" bgp graceful-restart\n bgp graceful-restart restart-time {time}\n");
        }
        None => global += " bgp graceful-restart-disable\n",
    }
    if setup.keeps_over_notifications {
        global += " bgp graceful-restart notification\n";
    }
    if let Some(time) = setup.long_lived {
        global += &format!(" bgp long-lived-graceful-restart stale-time {time}\n");
    }
    if setup.reflector {
        global += " bgp cluster-id 192.0.2.250\n";
    }
    for number in &setup.neighbours {
        let neighbour = setup.side(*number);
        common += &format!(
            " neighbor {neighbour} remote-as {ASN}\n neighbor {neighbour} update-source {}\n neighbor {neighbour} timers 3 9\n neighbor {neighbour} timers connect 1\n",
            setup.address()
        );
        if let Some(password) = setup.password {
            common += &format!(" neighbor {neighbour} password {password}\n");
        }
        if setup.ttl_security {
            common += &format!(" neighbor {neighbour} ttl-security hops 1\n");
        }
        if setup.over_v6 {
            common += &format!(" neighbor {neighbour} capability extended-nexthop\n");
        }
        family += &format!("  neighbor {neighbour} activate\n  neighbor {neighbour} route-map OUT out\n");
        if setup.reflector {
            family += &format!("  neighbor {neighbour} route-reflector-client\n");
        }
    }
    format!(
        "hostname frr
ip prefix-list own seq 5 permit {p4}
ipv6 prefix-list own seq 5 permit {p6}
route-map OUT permit 10
 match ip address prefix-list own
 set ip next-hop {h4}
exit
route-map OUT permit 20
 match ipv6 address prefix-list own
 set ipv6 next-hop global {h6}
exit
route-map OUT permit 30
exit
route-map MARK permit 10
 set community {ASN}:5
 set large-community {ASN}:1:2
 set extcommunity rt {ASN}:77
exit
router bgp {asn}
 bgp router-id {h4}
 bgp log-neighbor-changes
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 no bgp network import-check
{global}{common} address-family ipv4 unicast
  network {p4} route-map MARK
{family} exit-address-family
 address-family ipv6 unicast
  network {p6} route-map MARK
{family} exit-address-family
exit
",
        asn = setup.asn,
        h4 = v4(last),
        h6 = v6(last),
    )
}

pub fn run(router: &mut Router) {
    let folder = router.folder.path().to_owned();
    // zebra runs as a user of its own.
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::write(folder.join("bgpd.conf"), config(&router.setup)).unwrap();
    std::fs::write(folder.join("zebra.conf"), "hostname frr\n").unwrap();
    let _ = std::fs::remove_file(folder.join("zebra.sock"));
    let path = folder.to_str().unwrap().to_owned();
    let socket = format!("{path}/zebra.sock");
    let run = |router: &mut Router, name: &str, more: &[&str]| {
        let (config, pid) = (format!("{path}/{name}.conf"), format!("{path}/{name}.pid"));
        let mut arguments = vec!["-f", &config, "-i", &pid, "-z", &socket, "--vty_socket", &path];
        arguments.extend(["-A", "127.0.0.1", "-P", "0", "--log", "stdout"]);
        arguments.extend(more);
        router.spawn(&format!("/usr/lib/frr/{name}"), &arguments);
    };
    run(router, "zebra", &[]);
    wait_for("zebra's socket", || folder.join("zebra.sock").exists());
    run(router, "bgpd", &["-S"]);
    wait_for("bgpd's start", || ask(router, "show bgp summary json").contains('{'));
}

pub fn ask(router: &Router, words: &str) -> String {
    let path = router.folder.path().to_str().unwrap();
    router.command("vtysh", &["--vty_socket", path, "-c", words])
}

/// Changes the configuration of its BGP.
pub fn configure(router: &Router, lines: &[&str]) -> String {
    let path = router.folder.path().to_str().unwrap();
    let bgp = format!("router bgp {}", router.setup.asn);
    let mut arguments = vec!["--vty_socket", path, "-c", "configure terminal", "-c", &bgp];
    for line in lines {
        arguments.extend(["-c", line]);
    }
    router.command("vtysh", &arguments)
}

pub fn seen(router: &Router, prefix: &str) -> Option<Seen> {
    let family = if prefix.contains(':') { "ipv6" } else { "ipv4" };
    let question = format!("show bgp {family} unicast {prefix} json");
    let json = |said: &str| serde_json::from_str::<Value>(said).ok();
    let shown = json(&router.answer(|| ask(router, &question), |said| json(said).is_some()))?;
    let path = shown["paths"].as_array()?.first()?;
    let number = |value: &Value| value.as_u64().and_then(|value| u32::try_from(value).ok());
    let list = |value: &Value| -> Vec<String> {
        value["list"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let segments = path["aspath"]["segments"].as_array().cloned().unwrap_or_default();
    Some(Seen {
        next_hop: path["nexthops"][0]["ip"].as_str()?.to_owned(),
        as_path: segments
            .iter()
            .flat_map(|segment| segment["list"].as_array().cloned().unwrap_or_default())
            .filter_map(|asn| number(&asn))
            .collect(),
        communities: list(&path["community"]),
        large: list(&path["largeCommunity"]),
        extended: path["extendedCommunity"]["string"]
            .as_str()
            .and_then(|text| text.rsplit(':').next()?.parse().ok()),
        local_pref: number(&path["locPrf"]),
        med: number(&path["metric"]),
        originator: path["originatorId"].as_str().map(str::to_owned),
        clusters: list(&path["clusterList"]),
    })
}
