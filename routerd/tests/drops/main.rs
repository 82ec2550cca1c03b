//! Refused packets as an operator sees them: the daemon as a process, real packets, `routerd drops` and the metrics.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panic")]
#![expect(clippy::disallowed_methods, reason = "tests look at the kernel with other programs' eyes")]

mod echo;
mod follow;
mod lab;
#[path = "../daemon/world.rs"]
#[expect(dead_code, reason = "the helpers of the daemon's tests have more than is needed here")]
mod world;

use kernel::nflog::Nflog;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use self::lab::{Lab, OUTSIDE};
use self::world::{World, wait};

fn pod(name: &str) -> Value {
    json!({"namespace": "default", "name": name})
}

#[test]
fn refused_packets_of_both_families_and_every_protocol_show_pod_direction_peer_and_port() {
    let lab = Lab::running(&[("web", 7), ("client", 8)]);
    lab.deny("web", "Ingress");
    for address in ["10.244.1.7", "fd00:244:1::7"] {
        let end = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        lab.dial("client", &format!("{end}:80"));
        let peer = pod("client");
        let tcp = lab.until_kept(&json!({
            "direction": "ingress", "pod": {"namespace": "default", "name": "web", "address": address},
            "peer": peer, "protocol": "TCP", "port": 80,
            "reason": "not-admitted", "message": "no policy admits it",
        }));
        assert!(tcp["time"].as_str().unwrap().ends_with('Z') && tcp["source_port"].is_u64(), "{tcp}");
        lab.send("client", if address.contains(':') { "::" } else { "0.0.0.0" }, &format!("{end}:53"), 1);
        lab.until_kept(&json!({"direction": "ingress", "pod": pod("web"), "protocol": "UDP", "port": 53}));
        echo::request(lab.space("client"), address.parse().unwrap());
        let (name, kind) = if address.contains(':') { ("ICMPv6", 128) } else { ("ICMP", 8) };
        let icmp =
            json!({"pod": pod("web"), "peer": pod("client"), "protocol": name, "icmp": {"type": kind}});
        assert!(lab.until_kept(&icmp)["port"].is_null());
    }
}

#[test]
fn the_peer_may_be_a_node_or_only_an_address_and_the_pod_may_be_the_one_that_sends() {
    let lab = Lab::running(&[("web", 7), ("jail", 9)]);
    lab.deny("web", "Ingress");
    lab.deny("jail", "Egress");
    lab.send("outside", "192.0.2.9", "10.244.1.7:1000", 1);
    lab.until_kept(
        &json!({"port": 1000, "pod": pod("web"), "peer": {"node": "node2", "address": "192.0.2.9"}}),
    );
    lab.send("outside", OUTSIDE, "10.244.1.7:1001", 1);
    let line = lab.until_kept(&json!({"port": 1001, "pod": pod("web"), "peer": {"address": OUTSIDE}}));
    assert!(line["peer"]["name"].is_null() && line["peer"]["node"].is_null(), "{line}");
    lab.dial("jail", "192.0.2.10:443");
    lab.until_kept(
        &json!({"direction": "egress", "pod": pod("jail"), "peer": {"address": OUTSIDE}, "protocol": "TCP", "port": 443}),
    );
    // Who may not send is seen before who may not be reached.
    lab.dial("jail", "10.244.1.7:80");
    lab.until_kept(&json!({"direction": "egress", "pod": pod("jail"), "peer": pod("web"), "port": 80}));
    let text = String::from_utf8(lab.drops(&["-n", "1"]).stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("TIME") && lines[0].ends_with("REASON"), "{text}");
    for word in
        ["egress", "default/jail (10.244.1.9)", "default/web (10.244.1.7)", "TCP 80", "no policy admits it"]
    {
        assert!(lines[1].contains(word), "{word} in {text}");
    }
    assert_eq!(lines.len(), 2);
}

#[test]
fn addresses_without_a_verdict_and_pods_that_the_cluster_does_not_show_say_why_they_are_closed() {
    let lab = Lab::running(&[("web", 7), ("gone", 8)]);
    lab.send("outside", OUTSIDE, "10.244.1.77:1000", 3);
    let orphan = json!({"direction": "ingress", "pod": {"address": "10.244.1.77"}, "reason": "no-verdict"});
    assert!(lab.until_kept(&orphan)["pod"]["name"].is_null());
    let series = "kube_router_policy_dropped_without_verdict_packets_total{direction=\"ingress\"}";
    wait("the count", || (lab.metric(series)? >= 3).then_some(()));
    lab.show(&[("web", 7)]);
    lab.world
        .until("a closed address", |status| status["planes"].to_string().contains("\"closed_addresses\":2"));
    lab.send("outside", OUTSIDE, "10.244.1.8:1000", 1);
    let line = lab.until_kept(&json!({"pod": pod("gone"), "reason": "unknown-pod"}));
    assert!(line["message"].as_str().unwrap().contains("the cluster does not show it"), "{line}");
}

#[test]
fn a_flood_shows_a_bounded_number_of_lines_and_an_exact_count_that_outlives_the_daemon() {
    let mut lab = Lab::running(&[("web", 7), ("other", 8)]);
    lab.deny("web", "Ingress");
    lab.world.namespace.run(
        "nft",
        &["add table inet eye; add chain inet eye f { type filter hook forward priority -1; }; \
           add rule inet eye f ip daddr 10.244.1.7 udp dport 9 counter"],
    );
    let flood = 10_000;
    lab.send("outside", OUTSIDE, "10.244.1.7:9", flood);
    let series = |what: &str, pod: &str, direction: &str| {
        format!(
            "kube_router_policy_dropped_{what}_total{{namespace=\"default\",pod=\"{pod}\",direction=\"{direction}\"}}"
        )
    };
    let packets = series("packets", "web", "ingress");
    // What arrived, as another one counted it: a machine without time may lose packets before any rule.
    let arrived = |lab: &Lab| {
        let rule = lab.world.namespace.run("nft", &["list", "chain", "inet", "eye", "f"]);
        let words: Vec<&str> = rule.split_whitespace().collect();
        let at = words.iter().position(|word| *word == "packets").unwrap();
        words[at + 1].parse::<u64>().unwrap()
    };
    let seen = wait("the exact count", || lab.metric(&packets).filter(|count| *count == arrived(&lab)));
    assert!(seen > flood as u64 / 10, "{seen}");
    wait("the bytes", || (lab.metric(&series("bytes", "web", "ingress"))? == seen * 128).then_some(()));
    for (pod, direction) in [("web", "egress"), ("other", "ingress"), ("other", "egress")] {
        assert_eq!(lab.metric(&series("packets", pod, direction)), Some(0), "{pod} {direction}");
    }
    let lines = lab.kept().len();
    assert!((10..1000).contains(&lines), "{lines} lines");

    lab.world.end(Signal::SIGKILL);
    lab.start();
    wait("the count after a restart", || lab.metric(&packets).filter(|count| *count == seen));
    lab.send("outside", OUTSIDE, "10.244.1.7:9", 10);
    wait("the count of more", || lab.metric(&packets).filter(|count| *count == arrived(&lab)));
    // A pod that goes takes its counters along, and who gets its address begins anew.
    lab.show(&[("other", 8), ("heir", 7)]);
    lab.detach("web");
    wait("no series of the pod that went", || lab.metric(&packets).is_none().then_some(()));
    lab.attach("heir", 7);
    wait("a series that begins anew", || {
        lab.metric(&series("packets", "heir", "ingress")).filter(|count| *count == 0)
    });
}

#[test]
fn another_reader_of_the_group_is_said_and_waited_for() {
    let mut lab = Lab::new();
    let other = Nflog::bind_in(lab.world.namespace.namespace(), 100, 64).unwrap();
    lab.world.start_with(&["--run-service-proxy=false"]);
    let status = lab.world.until("the other reader", |status| {
        status["drops"]["reading"] == false && status["drops"]["problem"] != ""
    });
    let problem = status["drops"]["problem"].as_str().unwrap();
    assert!(problem.contains("another program reads it"), "{problem}");
    let output = lab.drops(&[]);
    assert!(output.status.success());
    assert!(String::from_utf8(output.stderr).unwrap().contains("another program reads it"));
    drop(other);
    lab.world
        .until("the group", |status| status["drops"]["reading"] == true && status["drops"]["problem"] == "");
}

#[test]
fn where_no_policies_are_enforced_the_question_is_refused_with_the_reason() {
    let mut world = World::new("drops");
    world.start_with(&["--run-service-proxy=false", "--run-firewall=false"]);
    world.until("an answer", |_| true);
    let mut command = std::process::Command::new(world::ROUTERD);
    let output = command.args(["drops", "--run-dir"]).arg(world.path("run")).output().unwrap();
    assert!(!output.status.success());
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(complaint.contains("--run-firewall=false"), "{complaint}");
}
