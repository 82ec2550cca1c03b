//! Pods that come and go, by the plugin itself, while a janitor without patience looks all the time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use cni_plugin::bridge::Bridge;
use cni_plugin::plugin::{self, World as Process};
use kernel::testing::TestNs;
use serde_json::Value;

use super::*;
use crate::cluster::objects::Attachment;
use crate::pods::{Pods, Refusal, Server, board};

/// A cluster that has every policy in force.
#[derive(Clone)]
struct Willing;

impl Pods for Willing {
    async fn attach(&self, _: Attachment) -> Result<(), Refusal> {
        Ok(())
    }

    async fn detach(&self, _: String, _: String) {}

    async fn restore(&self, _: Vec<Attachment>) {}

    fn ready(&self) -> Result<(), String> {
        Ok(())
    }
}

/// One invocation of the plugin on the calling thread: its status and what it printed.
fn invoke(world: &World, command: &str, container: &str, pod: &TestNs) -> (u8, Value) {
    let list: Value = serde_json::from_str(&fs::read_to_string(world.path("conflist")).unwrap()).unwrap();
    let mut conf = list["plugins"][0].clone();
    conf["cniVersion"] = "1.0.0".into();
    conf["name"] = "mynet".into();
    conf["routerd"] = json!({"socket": world.path("cni.sock")});
    let (text, netns) = (conf.to_string(), pod.path());
    let variable = |name: &str| {
        let value = match name {
            "CNI_COMMAND" => command,
            "CNI_CONTAINERID" => container,
            "CNI_NETNS" => &netns,
            "CNI_IFNAME" => "eth0",
            "CNI_ARGS" => "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let mut process = Process {
        called: "routerd-cni",
        variable: &variable,
        stdin: &mut text.as_bytes(),
        stdout: &mut stdout,
        stderr: &mut stderr,
    };
    let status = plugin::run(&mut process, &Bridge);
    (status, serde_json::from_slice(&stdout).unwrap_or_default())
}

fn address(result: &Value) -> String {
    result["ips"][0]["address"].as_str().unwrap().split('/').next().unwrap().to_owned()
}

/// Pods of one thread, one after the other; each that was added has what is its own until its DEL.
fn come_and_go(world: &World, number: usize) -> usize {
    let pod = TestNs::new("churn");
    let mut added = 0;
    for turn in 0..12 {
        let container = format!("c{number}-{turn}");
        let (status, result) = world.node.run_in(|| invoke(world, "ADD", &container, &pod));
        if status == 0 {
            added += 1;
            thread::sleep(Duration::from_millis(30));
            let lease = fs::read_to_string(world.path("leases/mynet").join(address(&result)));
            assert_eq!(lease.unwrap(), format!("{container}\r\neth0"), "{result}");
            assert!(pod.run("ip", &["-o", "link"]).contains("eth0"));
        } else {
            // The janitor was faster than the ADD: it may only fail, and wholly.
            assert_eq!(result["code"], 11, "{result}");
            assert!(!pod.run("ip", &["-o", "link"]).contains("eth0"));
        }
        let (status, result) = world.node.run_in(|| invoke(world, "DEL", &container, &pod));
        assert_eq!(status, 0, "{result}");
    }
    added
}

#[test]
fn pods_that_come_and_go_lose_nothing_to_a_janitor_that_looks_all_the_time() {
    let world = World::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let server =
        world.node.run_in(|| runtime.block_on(Server::start(world.folder.path(), Willing, board()))).unwrap();
    runtime.spawn(server.run());
    let still = AtomicBool::new(true);
    let (publish, status) = watch::channel(JanitorStatus::default());
    thread::scope(|scope| {
        let janitor = scope.spawn(|| {
            let mut janitor = Janitor::new(world.settings(Duration::from_millis(40)), publish);
            world.node.run_in(|| {
                while still.load(Ordering::Relaxed) {
                    janitor.round();
                    thread::sleep(Duration::from_millis(2));
                }
            });
        });
        let world = &world;
        let pods: Vec<_> = (0..4).map(|number| scope.spawn(move || come_and_go(world, number))).collect();
        let added: Vec<usize> = pods.into_iter().map(|pods| pods.join().unwrap()).collect();
        still.store(false, Ordering::Relaxed);
        janitor.join().unwrap();
        assert!(added.iter().sum::<usize>() > 4, "hardly a pod came: {added:?}");
    });
    assert!(status.borrow().runs > 10);
    assert_eq!(world.leases("mynet"), Vec::<String>::new());
}
