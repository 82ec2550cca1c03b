//! The daemon as a process: what it says, what it writes and when, how it ends and starts again.

#![expect(
    clippy::disallowed_methods,
    reason = "the daemon is run as a process, and nft looks with other eyes"
)]

#[cfg(test)]
mod api_server;
#[cfg(test)]
mod bad_policies;
#[cfg(test)]
mod cleanup;
#[cfg(test)]
mod configuration;
#[cfg(test)]
mod explain;
#[cfg(test)]
mod firewall;
#[cfg(test)]
mod first_packet;
#[cfg(test)]
mod killed;
#[cfg(test)]
mod link_local;
#[cfg(test)]
mod pods;
#[cfg(test)]
mod tampered;
#[cfg(test)]
mod wired;
#[cfg(test)]
mod without_ipvs;
#[cfg(test)]
mod world;

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use cni_plugin::socket::Reply;
use nix::sys::signal::Signal;
use serde_json::Value;

use world::{NODE, ROUTERD, World, wait};

const POD: &str =
    "apiVersion: v1\nkind: Pod\nmetadata: {name: web, labels: {app: web}}\nspec: {nodeName: node1}\n";
const CLOSED: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: closed}\nspec: {podSelector: {}}\n";

/// The plane called `name`.
#[expect(clippy::unwrap_used, reason = "a test fails by panicking")]
fn plane<'a>(status: &'a Value, name: &str) -> &'a Value {
    status["planes"].as_array().unwrap().iter().find(|plane| plane["name"] == name).unwrap()
}

fn is_synced(status: &Value, names: &[&str]) -> bool {
    names.iter().all(|name| plane(status, name)["runs"].as_u64() > Some(0))
}

#[test]
fn a_wrong_flag_ends_the_start_with_status_2_and_names_flag_value_and_what_is_allowed() {
    let output = Command::new(ROUTERD).args(["--bgp-port=0", "--manifests=/x"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--bgp-port=0") && said.contains("1 to 65535"), "{said}");
}

#[test]
fn help_and_version_are_printed_and_a_status_without_a_daemon_is_explained() {
    let help = Command::new(ROUTERD).arg("--help").output().unwrap();
    assert!(
        help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--service-cluster-ip-range")
    );
    let version = Command::new(ROUTERD).arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&version.stdout).starts_with("routerd "));
    let away = Command::new(ROUTERD).args(["status", "--run-dir=/nonexistent"]).output().unwrap();
    assert_eq!(away.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&away.stderr).contains("/nonexistent/admin.sock"));
}

#[test]
fn the_daemon_answers_health_readiness_metrics_and_status() {
    let world = World::running("daemon");
    let status =
        world.until("planes that have run", |status| is_synced(status, &["routing", "policy", "cni"]));
    assert_eq!(status["node"], "node1");
    assert_eq!(plane(&status, "cni")["state"], "ok", "{status:#}");
    assert_eq!(world.get(20244, "/healthz"), (200, "OK".to_owned()));
    // The kernel of the test machine may have no IPVS; that is then the only reason.
    wait("readiness", || {
        let (code, reasons) = world.get(20244, "/readyz");
        let of_services = |text: &str| text.lines().all(|line| line.starts_with("services:"));
        (code == 200 || (code == 503 && of_services(&reasons))).then_some(())
    });
    let (code, metrics) = world.get(20245, "/metrics");
    assert!(code == 200 && metrics.contains("kube_router_cluster_objects{kind=\"Node\"} 1"), "{metrics}");
    let table = Command::new(ROUTERD).args(["status", "--run-dir"]).arg(world.path("run")).output().unwrap();
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    assert!(table.contains("node node1") && table.contains("policy"), "{table}");
    let conflist = fs::read_to_string(world.path("cni.conflist")).unwrap();
    assert!(conflist.contains("10.244.1.0/24"), "{conflist}");
}

#[test]
fn nothing_is_written_before_the_first_complete_view() {
    let mut world = World::new("daemon");
    fs::rename(world.path("manifests"), world.path("elsewhere")).unwrap();
    world.start();
    world.until("the missing folder", |status| {
        let problems = status["cluster"]["problems"].to_string();
        problems.contains("manifests") && problems.contains("cannot be watched")
    });
    assert!(!world.rules().contains("routerd"));
    assert!(!world.path("cni.conflist").exists());
    let (code, reasons) = world.get(20244, "/readyz");
    assert!(code == 503 && reasons.contains("first complete view"), "{reasons}");
    assert_eq!(world.get(20244, "/healthz").0, 200);
    fs::rename(world.path("elsewhere"), world.path("manifests")).unwrap();
    world.until_rules("rules after the view", |rules| rules.contains("table inet routerd"));
}

#[test]
fn a_broken_file_is_named_by_file_document_object_and_field_and_the_rest_is_used() {
    let world = World::running("daemon");
    world.write(
        "pods.yaml",
        &format!("{POD}---\n{}---\na: [\n", POD.replace("labels: {app: web}", "labels: 5")),
    );
    let status = world.until("the pod", |status| status["cluster"]["objects"]["Pod"] == 1);
    let problems = status["cluster"]["problems"].to_string();
    for part in
        ["pods.yaml document 2, Pod default/web", "metadata.labels", "pods.yaml document 3", "line 11"]
    {
        assert!(problems.contains(part), "{problems} lacks {part}");
    }
    world.write("pods.yaml", POD);
    world.until("no problem", |status| status["cluster"]["problems"] == Value::Array(Vec::new()));
}

#[test]
fn an_add_is_answered_when_the_pods_verdict_is_in_the_kernel() {
    let world = World::running("daemon");
    world.write("pods.yaml", POD);
    let started = Instant::now();
    assert_eq!(world.attach("web", "10.244.1.7"), Reply::Committed);
    let rules = world.rules();
    assert!(rules.contains("10.244.1.7"), "no verdict after {:?}:\n{rules}", started.elapsed());
    match world.attach("stranger", "10.244.1.8") {
        Reply::Error(error) => {
            assert_eq!(error.code, 11);
            assert!(error.msg.contains("default/stranger"), "{}", error.msg);
        }
        other => panic!("{other:?}"),
    }
    assert!(!world.rules().contains("10.244.1.8"));
}

#[test]
fn an_edited_policy_takes_effect_without_a_restart() {
    let world = World::running("daemon");
    world.write("pods.yaml", POD);
    assert_eq!(world.attach("web", "10.244.1.7"), Reply::Committed);
    let isolated = |status: &Value| plane(status, "policy")["counts"]["isolated_ingress"].as_u64();
    world.until("an open pod", |status| isolated(status) == Some(0));
    world.write("policy.yaml", CLOSED);
    world.until("an isolated pod", |status| isolated(status) == Some(1));
    fs::remove_file(world.path("manifests").join("policy.yaml")).unwrap();
    world.until("an open pod", |status| isolated(status) == Some(0));
}

#[test]
fn the_end_leaves_the_kernel_as_it_is_and_the_next_start_writes_nothing() {
    let mut world = World::running("daemon");
    world.write("pods.yaml", &format!("{POD}---\n{CLOSED}"));
    assert_eq!(world.attach("web", "10.244.1.7"), Reply::Committed);
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        world.at_rest();
        let before = world.rules();
        let ended = world.end(signal);
        assert_eq!(ended.code(), (signal == Signal::SIGTERM).then_some(0), "{signal}");
        assert_eq!(world.rules(), before, "after {signal}");
        world.start();
        world.until("planes that have run", |status| is_synced(status, &["routing", "policy", "cni"]));
        let status = world.at_rest();
        for name in ["routing", "policy", "cni"] {
            assert_eq!(plane(&status, name)["writes"], 0, "{name} after {signal}");
        }
        assert_eq!(world.rules(), before, "after {signal} and a start");
        assert_eq!(status["cluster"]["objects"]["attachment"], 1);
    }
}

#[test]
fn rules_that_somebody_else_flushes_are_back() {
    let world = World::running("daemon");
    world.until("planes that have run", |status| is_synced(status, &["routing", "policy"]));
    world.at_rest();
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<std::collections::BTreeSet<String>>();
    let before = lines(&world.rules());
    let text = format!("{before:?}");
    assert!(text.contains("policy-forward") && text.contains("routing-"), "{text}");
    world.namespace.run("nft", &["flush", "ruleset"]);
    // Each plane puts its own back, one after the other.
    world.until_rules("the same rules again", |rules| lines(rules) == before);
}

#[test]
fn a_second_daemon_waits_and_takes_over_when_the_first_is_gone() {
    let mut world = World::running("daemon");
    let mut second = world.command();
    second.arg("--health-port=0").arg("--log-format=json");
    let first = world.status().unwrap()["uptime_seconds"].as_f64().unwrap();
    let mut second = Guard(second.spawn().unwrap());
    std::thread::sleep(Duration::from_millis(700));
    assert!(second.0.try_wait().unwrap().is_none(), "it waits and does not end");
    assert!(world.status().unwrap()["uptime_seconds"].as_f64().unwrap() > first, "the first still answers");
    world.end(Signal::SIGTERM);
    wait("answer of the second", || world.status());
}

#[test]
fn a_node_without_address_or_range_is_said_by_the_planes_that_miss_it_and_the_others_work() {
    let mut world = World::new("daemon");
    world.write("node.yaml", "apiVersion: v1\nkind: Node\nmetadata: {name: node1}\n");
    world.start();
    let status = world.until("planes that have run", |status| {
        !status["planes"].as_array().unwrap().is_empty()
            && is_synced(status, &["advertise", "policy", "routing", "cni"])
    });
    assert!(plane(&status, "advertise")["problems"].to_string().contains("address"), "{status:#}");
    assert!(plane(&status, "cni")["problems"].to_string().contains("pod range"), "{status:#}");
    assert!(plane(&status, "policy")["problems"].to_string().contains("podCIDR"), "{status:#}");
    assert_eq!(plane(&status, "routing")["state"], "ok", "{status:#}");
    world.write("node.yaml", NODE);
    world.until("all of it mended", |status| {
        plane(status, "advertise")["state"] == "ok" && plane(status, "cni")["state"] == "ok"
    });
}

/// A process that ends with the test.
struct Guard(std::process::Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
