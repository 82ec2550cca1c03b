//! Restarts, changes, foreign objects.

use prefix::Family;
use routerd::cluster::objects::Protocol;
use routerd::services::Settings;

use crate::cluster::{Daemon, ending, ip, ready, service};
use crate::net::Net;
use crate::talk::{ask, connect, serve_tcp};

fn scene() -> (Net, Daemon) {
    let net = Net::new();
    serve_tcp(&net.pod_b, "10.1.1.3:8080", "near");
    serve_tcp(&net.far, "10.1.2.2:8080", "far");
    let mut daemon = Daemon::new(Settings::default());
    daemon.put(service("web", 1, Protocol::Tcp, 80, 30080));
    daemon.endpoints("web", 8080, Family::V4, vec![ready("10.1.1.3"), ready("10.1.2.2")]);
    daemon.applied(&net.node, &[]);
    (net, daemon)
}

#[test]
fn a_kernel_without_ipvs_is_one_problem_that_says_what_to_do() {
    let namespace = kernel::testing::TestNs::new("no-ipvs");
    let mut daemon = Daemon::new(Settings::default());
    daemon.put(service("web", 1, Protocol::Tcp, 80, 30080));
    let report = daemon.apply(&namespace, &[]);
    if namespace.run_in(|| kernel::ipvs::Ipvs::open().is_ok()) {
        assert_eq!(report.counts["services"], 1);
        return;
    }
    assert_eq!((report.problems.len(), report.writes), (1, 0), "{:?}", report.problems);
    let problem = &report.problems[0];
    assert!(problem.item == "services" && problem.message.contains("modprobe ip_vs"), "{problem:?}");
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn an_unchanged_state_is_not_written_to_and_a_restart_breaks_no_connection() {
    let (net, mut daemon) = scene();
    let mut connections = [&net.pod_a, &net.outside, &net.node]
        .map(|from| {
            if from.name() == net.outside.name() {
                (from, "192.0.2.11:30080")
            } else {
                (from, "10.96.0.1:80")
            }
        })
        .map(|(from, to)| connect(from, to).unwrap());
    assert_eq!(daemon.applied(&net.node, &[]), 0);
    daemon.restart();
    assert_eq!(daemon.applied(&net.node, &[]), 0, "a restart finds all as it should be");
    for connection in &mut connections {
        assert_eq!(connection.says("still there?").unwrap(), "still there?");
    }
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_backend_about_to_end_keeps_its_connections_and_gets_no_new_ones() {
    let (net, mut daemon) = scene();
    let mut old = (0..4)
        .map(|_| connect(&net.pod_a, "10.96.0.1:80").unwrap())
        .find(|c| c.heard.server == "near")
        .unwrap();
    daemon.endpoints("web", 8080, Family::V4, vec![ending("10.1.1.3"), ready("10.1.2.2")]);
    assert_eq!(daemon.applied(&net.node, &["web"]), 2, "one write for each of the two virtual services");
    for _ in 0..6 {
        assert_eq!(ask(&net.pod_a, "10.96.0.1:80").server, "far");
    }
    assert_eq!(old.says("bye").unwrap(), "bye");
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn an_earlier_runs_leftovers_go_and_foreign_objects_stay() {
    let (net, mut daemon) = scene();
    daemon.put(service("old", 2, Protocol::Tcp, 81, 30081));
    daemon.applied(&net.node, &["old"]);
    for line in
        ["-A -t 192.0.2.11:9999 -s wlc", "-a -t 192.0.2.11:9999 -r 192.0.2.12:9999 -m", "-A -f 7 -s rr"]
    {
        net.node.run("ipvsadm", &line.split(' ').collect::<Vec<_>>());
    }
    net.node.run("nft", &["add table inet other; add chain inet other c; add rule inet other c counter"]);
    net.node.run("ip", &["addr", "add", "10.96.77.77/32", "dev", "kube-dummy-if"]);
    net.node.run("ipvsadm", &["-A", "-t", "10.96.77.77:1", "-s", "rr"]);
    let foreign = net.node.run("nft", &["list", "table", "inet", "other"]);

    daemon.delete("old");
    daemon.restart();
    daemon.applied(&net.node, &[]);
    let seen = net.node.run("ipvsadm", &["-ln"]);
    assert!(!seen.contains(":81") && !seen.contains("30081") && !seen.contains("10.96.77.77"), "{seen}");
    assert!(
        seen.contains("192.0.2.11:9999 wlc") && seen.contains("192.0.2.12:9999") && seen.contains("FWM  7")
    );
    assert_eq!(net.node.run("nft", &["list", "table", "inet", "other"]), foreign);
    let addresses = net.node.run("ip", &["addr", "show", "dev", "kube-dummy-if"]);
    assert!(!addresses.contains("10.96.77.77") && !addresses.contains("10.96.0.2/32"), "{addresses}");
    assert_eq!(daemon.applied(&net.node, &[]), 0);
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn services_of_excluded_prefixes_are_left_alone() {
    let net = Net::new();
    let settings = Settings { excluded: vec!["10.96.77.0/24".parse().unwrap()], ..Settings::default() };
    let mut daemon = Daemon::new(settings);
    daemon.applied(&net.node, &[]);
    net.node.run("ip", &["addr", "add", "10.96.77.77/32", "dev", "kube-dummy-if"]);
    net.node.run("ipvsadm", &["-A", "-t", "10.96.77.77:1", "-s", "rr"]);
    let before = net.node.run("ipvsadm", &["-Sn"]);
    assert_eq!(daemon.applied(&net.node, &[]), 0);
    assert_eq!(net.node.run("ipvsadm", &["-Sn"]), before);
    assert!(net.node.run("ip", &["addr", "show", "dev", "kube-dummy-if"]).contains("10.96.77.77"));
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn what_somebody_else_breaks_is_repaired() {
    let (net, mut daemon) = scene();
    let breakages: [&[&str]; 7] = [
        &["ipvsadm", "-C"],
        &["ipvsadm", "-E", "-t", "10.96.0.1:80", "-s", "wlc", "-p", "60"],
        &["ip", "link", "delete", "kube-dummy-if"],
        &["ip", "link", "set", "kube-dummy-if", "down"],
        &["nft", "delete table inet routerd"],
        &["nft", "flush chain inet routerd services-masquerade; flush set inet routerd services-tuples"],
        &["sysctl", "-qw", "net.ipv4.vs.conntrack=0"],
    ];
    for breakage in breakages {
        net.node.run(breakage[0], &breakage[1..]);
        assert!(daemon.applied(&net.node, &[]) > 0, "{breakage:?}");
        assert_eq!(daemon.applied(&net.node, &[]), 0, "{breakage:?}");
        assert!(ask(&net.pod_a, "10.96.0.1:80").source == ip("10.1.1.2").to_string(), "{breakage:?}");
        assert_eq!(ask(&net.node, "10.96.0.1:80").source, "192.0.2.11", "{breakage:?}");
    }
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn deleting_all_services_leaves_no_virtual_address_and_no_element() {
    let (net, mut daemon) = scene();
    daemon.delete("web");
    daemon.applied(&net.node, &["web"]);
    assert_eq!(net.node.run("ipvsadm", &["-Sn"]).trim(), "");
    let addresses = net.node.run("ip", &["addr", "show", "dev", "kube-dummy-if"]);
    assert!(!addresses.contains("10.96.") && !addresses.contains("fd00:96"), "{addresses}");
    for family in ["-4", "-6"] {
        let routes = net.node.run("ip", &[family, "route", "show", "table", "local"]);
        assert!(!routes.contains("10.96.") && !routes.contains("fd00:96"), "{routes}");
    }
    let table = net.node.run("nft", &["list", "table", "inet", "routerd"]);
    assert!(!table.contains("elements"), "{table}");
}
