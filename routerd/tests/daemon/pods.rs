//! Pods that are added while the daemon stands still or is replaced.

use std::thread;
use std::time::Duration;

use cni_plugin::socket::{Attach, Client, ClientError, Reply, Request, moment};
use nix::sys::signal::Signal;

use super::POD;
use super::world::World;

fn attach(started: u64) -> Request {
    Request::Attach(Attach {
        network: "kubernetes".into(),
        pod_namespace: "default".into(),
        pod_name: "web".into(),
        container_id: "c1".into(),
        interface: "eth0".into(),
        host_interface: "up0".into(),
        addresses: vec!["10.244.1.7".parse().unwrap()],
        started,
        ..Attach::default()
    })
}

#[test]
fn a_daemon_that_stands_still_attaches_nothing_that_its_plugin_has_given_up() {
    let world = World::running("stopped");
    world.write("pods.yaml", POD);
    world.until("the pod", |status| status["cluster"]["objects"]["Pod"] == 1);
    let client = Client::new(world.path("run").join("cni.sock"));
    world.signal(Signal::SIGSTOP);
    let short = Duration::from_millis(300);
    let outcome = client.ask(&attach(moment()), short, short);
    world.signal(Signal::SIGCONT);
    assert!(matches!(outcome, Err(ClientError::Timeout { .. })), "{outcome:?}");
    world.until("the plugin that went", |status| status["pods"]["connections_refused"]["gone"] == 1);
    assert!(!world.rules().contains("10.244.1.7"));
    assert_eq!(world.attach("web", "10.244.1.7"), Reply::Committed);
    world.until("the pod attached, in the status", |status| {
        let pods = &status["pods"];
        pods["attachments"] == 1 && pods["latency"]["count"] == 1 && pods["ready"] == true
    });
}

#[test]
fn a_pod_that_is_added_while_the_daemon_is_killed_and_started_again_is_committed() {
    let mut world = World::running("replaced");
    world.write("pods.yaml", POD);
    world.until("the pod", |status| status["cluster"]["objects"]["Pod"] == 1);
    // It stands still, so that the plugin waits for it when it is killed.
    world.signal(Signal::SIGSTOP);
    let client = Client::new(world.path("run").join("cni.sock"));
    let long = Duration::from_mins(1);
    let add = thread::spawn(move || client.ask(&attach(moment()), long, long));
    thread::sleep(Duration::from_millis(100));
    world.end(Signal::SIGKILL);
    world.start();
    assert_eq!(add.join().unwrap().unwrap(), Reply::Committed);
    assert!(world.rules().contains("10.244.1.7"));
}
