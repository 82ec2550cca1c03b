//! A whole pod: lease, devices, port mappings, masquerade, bandwidth, in one process that is killed.

use std::process::{Child, Stdio};
use std::time::Duration;

use kernel::testing::TestNs;
use serde_json::{Value, json};

use crate::kill::{Moments, kill_after, kill_in, wait_for_exec};
use crate::plugin::{Answer, Installed, finish};

/// At once, so that one kill's wait for the kernel is another's work.
const WORKERS: usize = 4;

/// A node with one pod.
struct World {
    installed: Installed,
    node: TestNs,
    pod: TestNs,
    conf: String,
}

impl World {
    fn new() -> Self {
        let installed = Installed::new();
        let mut conf = super::conf(&installed);
        for (key, value) in [
            ("cniVersion", json!("1.1.0")),
            ("type", json!("routerd-cni")),
            ("isDefaultGateway", json!(true)),
            ("hairpinMode", json!(true)),
            ("ipMasq", json!(true)),
            ("macspoofchk", json!(true)),
            ("routerd", json!({"socket": installed.path().join("cni.sock"), "required": false})),
            ("capabilities", json!({"portMappings": true, "bandwidth": true})),
            (
                "runtimeConfig",
                json!({
                    "portMappings": [
                        {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
                        {"hostPort": 53, "containerPort": 53, "protocol": "udp"},
                    ],
                    "bandwidth": {"ingressRate": 8_000_000, "ingressBurst": 8_000_000,
                                  "egressRate": 8_000_000, "egressBurst": 8_000_000},
                }),
            ),
        ] {
            conf[key] = value;
        }
        Self { installed, node: TestNs::new("node"), pod: TestNs::new("pod"), conf: conf.to_string() }
    }

    fn spawn(&self, operation: &str, netns: &str) -> Child {
        let mut command = self.node.command(self.installed.path().join("routerd-cni").to_str().unwrap());
        command.env("CNI_COMMAND", operation).env("CNI_CONTAINERID", "crashed").env("CNI_NETNS", netns);
        command.env("CNI_IFNAME", "eth0").env("CNI_PATH", self.installed.path());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn call(&self, operation: &str, netns: &str) -> Answer {
        finish(self.spawn(operation, netns), self.conf.as_bytes())
    }

    /// The runtime's DEL, with the pod's namespace or, as after a restart of the node, without.
    fn del(&self, with_namespace: bool, when: &str) {
        let netns = if with_namespace { self.pod.path() } else { String::new() };
        assert_eq!(self.call("DEL", &netns).result(), Value::Null, "{when}");
    }

    /// What [`Self::assert_clean`] looks for can be seen when it is there.
    fn assert_made(&self) {
        assert_eq!(self.installed.leftovers().len(), 2);
        let links = self.node.run("ip", &["-o", "link"]);
        assert!(links.contains("veth") && links.contains("bwp"), "{links}");
        let rules = self.node.run("nft", &["list", "ruleset"]);
        assert!(rules.contains("crashed") && rules.contains("8080"), "{rules}");
    }

    fn assert_clean(&self, when: &str) {
        assert_eq!(self.installed.leftovers(), Vec::<String>::new(), "{when}");
        let links = self.node.run("ip", &["-o", "link"]) + &self.pod.run("ip", &["-o", "link"]);
        for device in ["veth", "eth0", "bwp"] {
            assert!(!links.contains(device), "{when}: {links}");
        }
        let rules = self.node.run("nft", &["list", "ruleset"]);
        assert!(!rules.contains("crashed") && !rules.contains("8080"), "{when}: {rules}");
    }
}

/// Kills `operation` at every moment, each worker at its share of them, on a node of its own.
fn at_every_moment(operation: &'static str) {
    let moments = Moments::wanted();
    std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            scope.spawn(move || {
                let world = World::new();
                for count in (worker..).step_by(WORKERS) {
                    assert!(count < 5000, "it never ends");
                    if operation == "DEL" {
                        world.call("ADD", &world.pod.path()).result();
                    }
                    let mut child = world.spawn(operation, &world.pod.path());
                    wait_for_exec(&child);
                    let killed = kill_after(&mut child, moments, count, world.conf.as_bytes());
                    let when = format!("{operation} killed after {count} of {moments:?}");
                    world.del(count % 3 != 0, &when);
                    world.assert_clean(&when);
                    if !killed {
                        assert!(count > 20, "it did not even begin");
                        return;
                    }
                }
            });
        }
    });
}

#[test]
fn a_pods_add_that_is_killed_at_any_system_call_leaves_nothing_after_del() {
    at_every_moment("ADD");
}

#[test]
fn a_pods_del_that_is_killed_at_any_system_call_is_finished_by_the_next() {
    at_every_moment("DEL");
}

#[test]
fn a_pods_add_that_is_killed_at_any_time_leaves_nothing_after_del_and_the_next_add_works() {
    let world = World::new();
    // Multiples of the golden ratio: times spread over all of the ADD.
    for number in 0..40_u32 {
        let time = Duration::from_micros(u64::from(number * 618_034 % 1_000_000) / 60);
        let mut child = world.spawn("ADD", &world.pod.path());
        wait_for_exec(&child);
        kill_in(&mut child, time, world.conf.as_bytes());
        world.del(number % 2 == 0, &format!("killed after {time:?}"));
        world.assert_clean(&format!("killed after {time:?}"));
    }
    world.call("ADD", &world.pod.path()).result();
    world.assert_made();
    world.del(true, "an orderly pod");
    world.assert_clean("an orderly pod");
}
