//! A node with two pods, another node, and a client outside, each a network namespace.
//!
//! ```text
//!   pod a 10.1.1.2 ─┐                       ┌─ far 192.0.2.12 (another node; its pod 10.1.2.2 is an address of lo)
//!   pod b 10.1.1.3 ─┴─ kube-bridge  node  ──┤
//!                      10.1.1.1 192.0.2.11  └─ outside 192.0.2.100 (knows no pod network)
//! ```
//! IPv6 likewise: pods fd00:1:1::2, ::3, far's pod fd00:1:2::2, segment 2001:db8::11, ::12, ::100.

use kernel::testing::TestNs;

pub(crate) struct Net {
    pub(crate) node: TestNs,
    pub(crate) pod_a: TestNs,
    pub(crate) pod_b: TestNs,
    pub(crate) far: TestNs,
    pub(crate) outside: TestNs,
}

/// Runs many `ip` commands as one program: in a lab guest a program costs tens of milliseconds.
fn ip(namespace: &TestNs, lines: &[String]) {
    let script = format!("ip -batch - <<'end'\n{}\nend", lines.join("\n"));
    namespace.run("sh", &["-c", &script]);
}

fn address(device: &str, number: &str) -> String {
    format!("addr add {number} dev {device} {}", if number.contains(':') { "nodad" } else { "" })
}

impl Net {
    pub(crate) fn new() -> Self {
        let [node, pod_a, pod_b, far, outside] = ["node", "pod-a", "pod-b", "far", "out"].map(TestNs::new);
        let net = Self { node, pod_a, pod_b, far, outside };
        net.links();
        net.addresses();
        for namespace in [&net.node, &net.far] {
            namespace.run("sysctl", &["-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1"]);
        }
        net
    }

    fn links(&self) {
        let mut lines = vec!["link add br0 type bridge".to_owned(), "link set br0 up".into()];
        for (namespace, port) in [(&self.node, "p1"), (&self.far, "p2")] {
            lines.push(format!("link add {port} type veth peer name uplink netns {}", namespace.name()));
            lines.push(format!("link set {port} master br0 up"));
        }
        ip(&self.outside, &lines);
        let mut lines = vec!["link add kube-bridge type bridge".to_owned(), "link set kube-bridge up".into()];
        for (pod, port) in [(&self.pod_a, "va"), (&self.pod_b, "vb")] {
            lines.push(format!("link add {port} type veth peer name eth0 netns {}", pod.name()));
            lines.push(format!("link set {port} master kube-bridge up"));
            lines.push(format!("link set {port} type bridge_slave hairpin on"));
        }
        ip(&self.node, &lines);
    }

    fn addresses(&self) {
        let own = |device, v4: &str, v6: &str| {
            vec![address(device, v4), address(device, v6), format!("link set {device} up")]
        };
        ip(&self.outside, &own("br0", "192.0.2.100/24", "2001:db8::100/64"));
        for (pod, last) in [(&self.pod_a, "2"), (&self.pod_b, "3")] {
            let mut lines = own("eth0", &format!("10.1.1.{last}/24"), &format!("fd00:1:1::{last}/64"));
            lines.extend([
                "route add default via 10.1.1.1".into(),
                "route add default via fd00:1:1::1".into(),
            ]);
            ip(pod, &lines);
        }
        let mut lines = own("kube-bridge", "10.1.1.1/24", "fd00:1:1::1/64");
        lines.extend(own("uplink", "192.0.2.11/24", "2001:db8::11/64"));
        lines.push("route add 10.1.2.0/24 via 192.0.2.12".into());
        lines.push("route add fd00:1:2::/64 via 2001:db8::12".into());
        ip(&self.node, &lines);
        let mut lines = own("lo", "10.1.2.2/32", "fd00:1:2::2/128");
        lines.extend(own("uplink", "192.0.2.12/24", "2001:db8::12/64"));
        lines.push("route add 10.1.1.0/24 via 192.0.2.11".into());
        lines.push("route add fd00:1:1::/64 via 2001:db8::11".into());
        ip(&self.far, &lines);
    }
}
