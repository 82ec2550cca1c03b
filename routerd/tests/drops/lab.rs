//! A daemon whose namespace has a bridge with pods behind it and a wire to the outside, of both families.
//!
//! ```text
//!   outside 192.0.2.9 and .10, 2001:db8::9 ── up0 (a bridge) ── the daemon's namespace 192.0.2.1, 2001:db8::1
//!                                                                │ kube-bridge 10.244.1.1, fd00:244:1::1
//!                                                           pod  pod  pod
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::process::Output;
use std::time::Duration;

use cni_plugin::socket::{Attach, Client, Detach, Reply, Request, moment};
use kernel::testing::TestNs;
use serde_json::Value;

use super::world::{ROUTERD, World, wait};

/// Longer than the daemon takes for anything on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Nobody answers what is refused.
const SHORT: Duration = Duration::from_millis(50);
pub(crate) const OUTSIDE: &str = "192.0.2.10";
const NODES: &str = "apiVersion: v1
kind: Node
metadata: {name: node1}
spec: {podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, 'fd00:244:1::/64']}
status: {addresses: [{type: InternalIP, address: 192.0.2.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: node2}
spec: {podCIDR: 10.244.2.0/24}
status: {addresses: [{type: InternalIP, address: 192.0.2.9}]}
";
const NAMESPACE: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default}\n---\n";

/// A world with wires.
pub(crate) struct Lab {
    pub(crate) world: World,
    pub(crate) outside: TestNs,
    pods: BTreeMap<String, TestNs>,
}

/// Runs `ip` with the words of each line inside.
fn ip(space: &TestNs, lines: &[&str]) {
    for line in lines {
        space.run("ip", &line.split_whitespace().collect::<Vec<_>>());
    }
}

impl Lab {
    /// Everything but the daemon.
    pub(crate) fn new() -> Self {
        let (world, outside) = (World::new("drops"), TestNs::new("drops"));
        world.write("node.yaml", NODES);
        let node = &world.namespace;
        for space in [node, &outside] {
            space.run("sysctl", &["-qw", "net.ipv6.conf.default.accept_dad=0"]);
        }
        node.run("sysctl", &["-qw", "net.ipv6.conf.all.forwarding=1"]);
        let wire = format!("link add wire type veth peer name eth0 netns {}", outside.name());
        ip(
            node,
            &[
                "addr add 2001:db8::1/64 dev up0 nodad",
                "link add kube-bridge address 0a:58:0a:f4:01:01 type bridge",
                "addr add 10.244.1.1/24 dev kube-bridge",
                "addr add fd00:244:1::1/64 dev kube-bridge nodad",
                "link set kube-bridge up",
                &wire,
                "link set wire master up0 up",
            ],
        );
        ip(
            &outside,
            &[
                "addr add 192.0.2.10/24 dev eth0",
                "addr add 192.0.2.9/24 dev eth0",
                "addr add 2001:db8::9/64 dev eth0 nodad",
                "link set eth0 up",
                "route add 10.244.0.0/16 via 192.0.2.1",
                "-6 route add fd00:244::/32 via 2001:db8::1",
            ],
        );
        Self { world, outside, pods: BTreeMap::new() }
    }

    /// The same with a running daemon and these pods, each with the label `app` of its name: what the cluster shows, and
    /// what the plugin says.
    pub(crate) fn running(pods: &[(&str, u8)]) -> Self {
        let mut lab = Self::new();
        lab.show(pods);
        lab.start();
        for (name, number) in pods {
            lab.wire(name, *number);
            lab.attach(name, *number);
        }
        lab
    }

    /// Starts the daemon and waits until policies are in the kernel.
    pub(crate) fn start(&mut self) {
        self.world.start_with(&["--run-service-proxy=false"]);
        self.world.until("planes that have run", |status| {
            let planes = status["planes"].as_array();
            let mut planes = planes.into_iter().flatten().filter(|plane| plane["name"] != "cni");
            planes.all(|plane| plane["runs"].as_u64() > Some(0)) && status["drops"]["reading"] == true
        });
    }

    /// What the cluster shows of pods.
    pub(crate) fn show(&self, pods: &[(&str, u8)]) {
        let pod = |(name, _): &(&str, u8)| {
            format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: default, labels: {{app: {name}}}}}\n\
                 spec: {{nodeName: node1}}\n---\n"
            )
        };
        self.world.write("pods.yaml", &format!("{NAMESPACE}{}", pods.iter().map(pod).collect::<String>()));
    }

    /// A policy that judges the pods called `pod`, in this direction, and admits nothing; it is in the kernel.
    pub(crate) fn deny(&self, pod: &str, direction: &str) {
        let policy = format!(
            "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {pod}, namespace: default}}\n\
             spec: {{podSelector: {{matchLabels: {{app: {pod}}}}}, policyTypes: [{direction}]}}\n"
        );
        let counted = |status: &Value| {
            let planes = status["planes"].as_array().unwrap().iter();
            let policy = planes.into_iter().find(|plane| plane["name"] == "policy").unwrap();
            policy["counts"]["policies"].as_u64().unwrap_or_default()
        };
        let before = counted(&self.world.status().unwrap());
        self.world.write(&format!("deny-{pod}.yaml"), &policy);
        self.world.until("the policy", |status| counted(status) > before);
    }

    /// Wires a pod as the plugin does, without telling the daemon.
    pub(crate) fn wire(&mut self, name: &str, number: u8) {
        let space = TestNs::new("drops");
        let link = format!("link add veth{number} type veth peer name eth0 netns {}", space.name());
        ip(&self.world.namespace, &[&link, &format!("link set veth{number} master kube-bridge up")]);
        let [four, six] = addresses(number);
        ip(
            &space,
            &[
                &format!("addr add {four}/24 dev eth0"),
                &format!("addr add {six}/64 dev eth0 nodad"),
                "link set eth0 up",
                "route add default via 10.244.1.1",
                "-6 route add default via fd00:244:1::1",
            ],
        );
        self.pods.insert(name.to_owned(), space);
    }

    fn ask(&self, request: &Request) -> Reply {
        let client = Client::new(self.world.path("run").join("cni.sock"));
        client.ask(request, PATIENCE, PATIENCE).unwrap()
    }

    /// What the plugin says of a pod that it has wired.
    pub(crate) fn attach(&self, name: &str, number: u8) {
        let attach = Attach {
            network: "kubernetes".into(),
            pod_namespace: "default".into(),
            pod_name: name.into(),
            container_id: format!("container-of-{name}"),
            interface: "eth0".into(),
            host_interface: format!("veth{number}"),
            addresses: addresses(number).into(),
            started: moment(),
            ..Attach::default()
        };
        assert_eq!(self.ask(&Request::Attach(attach)), Reply::Committed);
    }

    /// What the plugin says of a pod that goes.
    pub(crate) fn detach(&self, name: &str) {
        let container_id = format!("container-of-{name}");
        let detach = Detach { container_id, interface: "eth0".into(), at: moment() };
        assert_eq!(self.ask(&Request::Detach(detach)), Reply::Detached);
    }

    /// The namespace of a pod, or of what is outside.
    pub(crate) fn space(&self, name: &str) -> &TestNs {
        if name == "outside" { &self.outside } else { &self.pods[name] }
    }

    /// Tries to connect, which nobody answers.
    pub(crate) fn dial(&self, from: &str, to: &str) {
        let to: SocketAddr = to.parse().unwrap();
        let refused = self.space(from).run_in(|| TcpStream::connect_timeout(&to, SHORT).is_err());
        assert!(refused, "{from} reaches {to}");
    }

    /// Sends datagrams from an address of the space, which may be unspecified.
    pub(crate) fn send(&self, from: &str, source: &str, to: &str, times: usize) {
        let source = SocketAddr::new(source.parse().unwrap(), 0);
        let socket = self.space(from).run_in(|| UdpSocket::bind(source).unwrap());
        for _ in 0..times {
            socket.send_to(&[7; 100], to).unwrap();
        }
    }

    /// Runs `routerd drops` with these arguments.
    pub(crate) fn drops(&self, arguments: &[&str]) -> Output {
        self.drops_command(arguments).output().unwrap()
    }

    pub(crate) fn drops_command(&self, arguments: &[&str]) -> std::process::Command {
        let mut command = std::process::Command::new(ROUTERD);
        command.arg("drops").args(arguments).arg("--run-dir").arg(self.world.path("run"));
        command
    }

    /// The refused packets that the daemon has kept.
    pub(crate) fn kept(&self) -> Vec<Value> {
        let output = self.drops(&["-o", "json", "-n", "2000"]);
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Waits for a refused packet with these members.
    pub(crate) fn until_kept(&self, wanted: &Value) -> Value {
        let matches = |line: &Value| holds(line, wanted);
        wait(&format!("refused packet like {wanted}; there are {:#?}", self.kept()), || {
            self.kept().into_iter().find(matches)
        })
    }

    /// The value of a metric; `None` if there is no such series.
    pub(crate) fn metric(&self, series: &str) -> Option<u64> {
        let (code, text) = self.world.get(20245, "/metrics");
        assert_eq!(code, 200);
        text.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }
}

/// The addresses of a pod.
pub(crate) fn addresses(number: u8) -> [IpAddr; 2] {
    [format!("10.244.1.{number}"), format!("fd00:244:1::{number}")].map(|text| text.parse().unwrap())
}

/// True if `found` has all members of `wanted`.
fn holds(found: &Value, wanted: &Value) -> bool {
    match wanted.as_object() {
        Some(members) => members.iter().all(|(key, value)| holds(&found[key], value)),
        None => found == wanted,
    }
}
