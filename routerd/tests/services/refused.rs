//! What the kernel refuses to balance.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prefix::Family;
use routerd::cluster::objects::Protocol;
use routerd::services::Settings;

use crate::cluster::{Daemon, ready, service};
use crate::lacking::Lacking;
use crate::net::Net;
use crate::talk::{ask, refusal, serve_tcp};

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn what_the_kernel_does_not_balance_is_refused_and_does_not_reach_a_port_of_the_node() {
    let net = Net::new();
    serve_tcp(&net.node, "0.0.0.0:80", "host");
    serve_tcp(&net.far, "10.1.2.2:8080", "far");
    let lacking = Lacking::default();
    let is_loaded = Arc::clone(&lacking.is_loaded);
    let mut daemon = Daemon::on(lacking, Settings::default());
    for (name, last, scheduler) in [("good", 1, "rr"), ("bad", 2, "nq")] {
        let mut made = service(name, last, Protocol::Tcp, 80, 30080 + last);
        made.annotations.insert("kube-router.io/service.scheduler".into(), scheduler.into());
        daemon.put(made);
        daemon.endpoints(name, 8080, Family::V4, vec![ready("10.1.2.2")]);
    }
    let report = daemon.apply(&net.node, &[]);
    assert!(report.problems.iter().all(|problem| problem.item == "Service default/bad"), "{report:?}");
    for from in [&net.pod_a, &net.node] {
        assert_eq!(ask(from, "10.96.0.1:80").server, "far");
        assert_eq!(refusal(from, "10.96.0.2:80"), std::io::ErrorKind::ConnectionRefused);
    }
    assert_eq!(ask(&net.pod_a, "192.0.2.11:80").server, "host", "the node's own address is not touched");

    is_loaded.store(true, Ordering::Relaxed);
    let report = daemon.apply(&net.node, &[]);
    assert_eq!(report.problems, Vec::new());
    for from in [&net.pod_a, &net.node] {
        assert_eq!(ask(from, "10.96.0.2:80").server, "far");
    }
    assert_eq!(daemon.apply(&net.node, &[]).writes, 0);
}
