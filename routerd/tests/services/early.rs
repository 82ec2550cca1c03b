//! What a node can do before the whole view of the cluster is there.

use prefix::Family;
use routerd::cluster::objects::Protocol;
use routerd::services::Settings;

use crate::cluster::{Daemon, ready, service};
use crate::net::Net;
use crate::talk::{ask, connect, serve_tcp};

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn the_api_server_answers_before_the_whole_view_and_nothing_that_is_there_goes() {
    let net = Net::new();
    serve_tcp(&net.far, "10.1.2.2:6443", "api");
    serve_tcp(&net.pod_b, "10.1.1.3:8080", "near");
    let table = || net.node.run("ipvsadm", &["-Sn"]);
    let foreign = "-A -t 192.0.2.11:99 -s rr";
    net.node.run("ipvsadm", &foreign.split(' ').collect::<Vec<_>>());
    let mut daemon = Daemon::new(Settings::default());
    daemon.put(service("kubernetes", 1, Protocol::Tcp, 443, 30443));
    daemon.endpoints("kubernetes", 6443, Family::V4, vec![ready("10.1.2.2")]);
    let report = daemon.early(&net.node);
    assert!(report.problems.is_empty() && report.writes > 0, "{report:?}");
    for from in [&net.pod_a, &net.node] {
        assert_eq!(ask(from, "10.96.0.1:443").server, "api", "{}", from.name());
    }
    assert!(connect(&net.outside, "192.0.2.11:30443").is_err(), "node ports come with the whole view");
    assert!(table().contains(foreign), "{}", table());

    let mut connection = connect(&net.pod_a, "10.96.0.1:443").unwrap();
    daemon.put(service("web", 2, Protocol::Tcp, 80, 30080));
    daemon.endpoints("web", 8080, Family::V4, vec![ready("10.1.1.3")]);
    daemon.applied(&net.node, &[]);
    assert_eq!(ask(&net.pod_a, "10.96.0.2:80").server, "near");
    assert_eq!(connection.says("still there?").unwrap(), "still there?");

    // A new start that does not know of the other Service yet, and of another endpoint of this one.
    let whole = table();
    daemon.restart();
    daemon.delete("web");
    daemon.endpoints("kubernetes", 6443, Family::V4, vec![ready("10.1.2.9")]);
    assert_eq!(daemon.early(&net.node).writes, 0);
    assert_eq!(table(), whole);
    assert_eq!(ask(&net.pod_a, "10.96.0.2:80").server, "near");
}
