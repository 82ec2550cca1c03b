//! `routerd --cleanup-config`.

use std::process::Output;

use nix::sys::signal::Signal;

use crate::plane;
use crate::world::{ROUTERD, World, wait};

/// What other programs have on the node. None of it may change.
const FOREIGN: &str = "
    table ip mine { chain c { type filter hook forward priority 5; ip saddr 10.244.1.7 drop; }; }
    table inet routerd-other { set s { type ipv4_addr; elements = { 10.96.0.1 }; }; }
    table bridge routerd { chain c { type filter hook input priority 5; }; }";

/// The plugin's tables as an ADD leaves them, as far as matters here.
const PLUGINS: &str = "
    table inet routerd-cni { map m { type inet_service : verdict; }; chain b { drop; }; chain a { type nat hook prerouting priority -100; jump b; }; }
    table bridge routerd-cni { chain c { type filter hook prerouting priority -300; }; }";

impl World {
    fn ip(&self, lines: &[&str]) {
        for line in lines {
            self.namespace.run("ip", &line.split(' ').collect::<Vec<_>>());
        }
    }

    fn nft(&self, text: &str) {
        self.namespace.run("sh", &["-c", &format!("nft -f - <<'end'\n{text}\nend")]);
    }

    /// Everything of the namespace that a clean-up could touch, as other programs show it. The kernel has done with
    /// IPv6 addresses by then: afterwards it adds their routes.
    fn snapshot(&self) -> String {
        let ip = |what: &str| self.namespace.run("ip", &what.split(' ').collect::<Vec<_>>());
        wait("addresses that are not tentative", || ip("-6 address show tentative").is_empty().then_some(()));
        let shown = ["link", "address", "route show table all", "-6 route show table all", "rule", "-6 rule"];
        shown.into_iter().map(ip).collect::<String>() + &self.rules()
    }

    fn clean_up(&self) -> Output {
        let run_dir = format!("--run-dir={}", self.path("run").display());
        // No API server, no manifests, no name of the node.
        self.namespace.command(ROUTERD).args(["--cleanup-config", &run_dir]).output().unwrap()
    }

    fn cleaned(&self) -> String {
        let output = self.clean_up();
        let (said, complaint) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
        assert!(output.status.success(), "{complaint}");
        String::from_utf8(said).unwrap()
    }
}

fn foreign(world: &World) {
    world.nft(FOREIGN);
    world.ip(&[
        "route add 198.51.100.0/24 via 192.0.2.9 proto static",
        "route add 10.244.8.0/24 via 192.0.2.9 proto bird",
        "route add 203.0.113.0/24 via 192.0.2.9 table 77",
        "rule add from 198.51.100.0/24 lookup 100",
        "rule add iif up0 lookup 77",
        "link add tun-mine type veth peer name tun-0123456789",
    ]);
}

#[test]
fn after_a_clean_up_the_node_is_as_before_the_install_and_a_second_one_finds_nothing() {
    let mut world = World::new("clean");
    foreign(&world);
    let before = world.snapshot();
    world.start();
    world.until("planes that have run", |status| {
        status["cluster"]["complete"] == true
            && ["routing", "policy", "cni"].iter().all(|name| plane(status, name)["runs"].as_u64() > Some(0))
    });
    world.end(Signal::SIGTERM);
    assert!(world.rules().contains("table inet routerd {"), "the daemon leaves its rules");
    world.nft(PLUGINS);
    world.ip(&[
        "link add kube-bridge type bridge",
        "address add 10.244.1.1/24 dev kube-bridge",
        "link set kube-bridge up",
        "route add 10.244.2.0/24 via 192.0.2.9 proto 179",
        "route add local 10.96.0.10/32 dev lo table local proto 179",
        "route add blackhole 10.244.3.0/24 proto 179 table 77",
        // As kube-router leaves them.
        "rule add from 10.244.1.0/24 lookup 77",
        "rule add fwmark 0x3e9/0x3e9 prio 32764 lookup 78",
        "-6 rule add fwmark 0x3e9/0x3e9 prio 32764 lookup 78",
        "rule add prio 32765 lookup 79",
        "route add local default dev lo table 78",
    ]);
    let said = world.cleaned();
    assert_eq!(world.snapshot(), before, "{said}");
    for part in [
        "nft table inet routerd\n",
        "nft table bridge routerd-cni",
        "device kube-bridge",
        "10.244.2.0/24",
        "lookup 78",
    ] {
        assert!(said.contains(part), "{part} is not said:\n{said}");
    }
    assert!(said.contains("left") && said.contains("iif up0"), "{said}");
    assert!(said.contains("leases") && said.contains("routerd-init --restore"), "{said}");
    let again = world.cleaned();
    assert!(again.contains("nothing of routerd") && !again.contains("removed "), "{again}");
    assert_eq!(world.snapshot(), before);
}

#[test]
fn of_kube_routers_rules_in_iptables_its_chains_go_and_those_of_others_stay() {
    let world = World::new("clean");
    let iptables = |program: &str, lines: &[&str]| {
        for line in lines {
            let mut words = vec!["-w"];
            words.extend(line.split(' ').filter(|word| !word.is_empty()));
            world.namespace.run(program, &words);
        }
    };
    for program in ["iptables-nft", "ip6tables-nft"] {
        iptables(
            program,
            &[
                "-A FORWARD -m comment --comment mine -j ACCEPT",
                "-N KUBE-SERVICES",
                "-A INPUT -j KUBE-SERVICES",
            ],
        );
    }
    let before = world.snapshot();
    for program in ["iptables-nft", "ip6tables-nft"] {
        iptables(
            program,
            &[
                "-N KUBE-ROUTER-FORWARD",
                "-N KUBE-POD-FW-ABC",
                "-N KUBE-NWPLCY-DEF",
                "-I FORWARD 1 -m comment --comment hash -j KUBE-ROUTER-FORWARD",
                "-A KUBE-ROUTER-FORWARD -m comment --comment pod -j KUBE-POD-FW-ABC",
                "-A KUBE-POD-FW-ABC -j KUBE-NWPLCY-DEF",
            ],
        );
        // A comment is one word here.
        let comment = "allow outbound traffic from pods";
        let accept = [
            "-I",
            "FORWARD",
            "1",
            "-m",
            "comment",
            "--comment",
            comment,
            "-i",
            "kube-bridge",
            "-j",
            "ACCEPT",
        ];
        world.namespace.run(program, &accept);
    }
    world.nft("table ip kube-router-filter-ipv4 { chain KUBE-ROUTER-INPUT { type filter hook input priority 0; }; }");
    let said = world.cleaned();
    assert_eq!(world.snapshot(), before, "{said}");
    assert!(said.contains("3 chains and 2 rules") && said.contains("ipsets"), "{said}");
    assert!(world.cleaned().contains("nothing of routerd"));
}

#[test]
fn a_running_daemon_is_not_robbed_of_its_rules() {
    let world = World::running("clean");
    world.until_rules("rules", |rules| rules.contains("table inet routerd {"));
    let output = world.clean_up();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("a routerd runs on this node") && said.contains("DaemonSet"), "{said}");
    assert!(world.rules().contains("table inet routerd {"));
}

#[test]
fn pods_and_their_bridge_stay_and_devices_that_only_have_our_names_too() {
    let world = World::new("clean");
    world.ip(&[
        "link add kube-bridge type bridge",
        "link add veth1 type veth peer name p1",
        "link set veth1 master kube-bridge",
        "link add kube-dummy-if type veth peer name p2",
    ]);
    let before = world.snapshot();
    let said = world.cleaned();
    assert_eq!(world.snapshot(), before);
    assert!(said.contains("left the device kube-bridge: 1 pods"), "{said}");
    assert!(said.contains("left the device kube-dummy-if") && said.contains("veth"), "{said}");
}

#[test]
fn rules_of_iptables_legacy_are_named_because_nobody_sees_them_by_nf_tables() {
    let world = World::new("clean");
    assert!(!world.cleaned().contains("legacy"));
    world.namespace.run("iptables-legacy", &["-w", "-N", "KUBE-ROUTER-FORWARD"]);
    let said = world.cleaned();
    assert!(said.contains("left the rules of iptables-legacy (filter)"), "{said}");
    assert!(said.contains("iptables-legacy-save | grep KUBE"), "{said}");
}

impl World {
    fn ipvs(&self, lines: &[&str]) {
        for line in lines {
            self.namespace.run("ipvsadm", &line.split(' ').collect::<Vec<_>>());
        }
    }

    fn balanced(&self) -> String {
        self.namespace.run("ipvsadm", &["-Sn"])
    }
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn of_ipvs_what_kube_router_left_goes_and_each_service_that_stays_is_named_with_the_remedy() {
    let world = World::new("clean");
    world.ipvs(&[
        "-A -t 192.0.2.1:99 -s rr",
        "-A -t 203.0.113.7:80 -s rr",
        "-A -t 192.0.2.1:30081 -s rr",
        "-a -t 192.0.2.1:30081 -r 198.51.100.7:99 -g",
        "-A -f 7 -s rr",
    ]);
    let (before, others) = (world.snapshot(), world.balanced());
    world.ip(&[
        "link add kube-dummy-if type dummy",
        "link set kube-dummy-if up",
        "address add 10.96.0.1/32 dev kube-dummy-if scope link",
        "rule add fwmark 0x3e9 prio 32764 lookup 78",
        "route add local default dev lo table 78",
    ]);
    world.ipvs(&[
        "-A -t 10.96.0.1:443 -s rr",
        "-a -t 10.96.0.1:443 -r 192.0.2.9:6443 -m",
        // Of a Service that is gone, for a backend that is dead.
        "-A -u 192.0.2.1:30080 -s rr",
        "-a -u 192.0.2.1:30080 -r 10.244.1.7:53 -m",
        "-A -f 1001 -s rr",
        "-a -f 1001 -r 10.244.1.8:0 -i",
    ]);
    let said = world.cleaned();
    assert_eq!(world.balanced(), others, "{said}");
    assert_eq!(world.snapshot(), before, "{said}");
    for gone in ["TCP 10.96.0.1:443", "UDP 192.0.2.1:30080", "IPv4 mark 0x3e9"] {
        assert!(said.contains(&format!("removed IPVS service {gone}")), "{gone}:\n{said}");
    }
    for (left, remedy) in [
        ("TCP 192.0.2.1:99: it is at the node's address, but no node port", "-t 192.0.2.1:99"),
        ("TCP 203.0.113.7:80: 203.0.113.7 is not on kube-dummy-if", "-t 203.0.113.7:80"),
        ("TCP 192.0.2.1:30081: it has a node port, but forwards otherwise", "-t 192.0.2.1:30081"),
        ("IPv4 mark 0x7: no rule leads this mark", "-f 7"),
    ] {
        let named = |line: &str| {
            line.contains(&format!("left the IPVS service {left}"))
                && line.contains(&format!("`ipvsadm -D {remedy}`"))
        };
        assert!(said.lines().any(named), "{left}:\n{said}");
    }
    assert!(!world.cleaned().contains("removed "));
}

/// One pod of a Service, so that the daemon makes virtual services.
const SERVICE: &str = "apiVersion: v1
kind: Service
metadata: {name: web}
spec: {clusterIP: 10.96.0.1, clusterIPs: [10.96.0.1], selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080, protocol: TCP}]
endpoints: [{addresses: [10.244.1.7], conditions: {ready: true}}]
";

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn of_ipvs_and_tunnels_only_what_is_ours_goes() {
    let mut world = World::new("clean");
    world.ipvs(&["-A -t 192.0.2.1:99 -s rr", "-a -t 192.0.2.1:99 -r 198.51.100.7:99 -m"]);
    world.ip(&["link add tun-mine type ipip local 192.0.2.1 remote 192.0.2.8"]);
    let (before, balanced) = (world.snapshot(), world.balanced());
    world.write("service.yaml", SERVICE);
    world.start();
    world.until("the Service", |status| {
        status["cluster"]["complete"] == true && plane(status, "services")["runs"].as_u64() > Some(0)
    });
    wait("the virtual service", || world.balanced().contains("10.96.0.1:80").then_some(()));
    world.end(Signal::SIGKILL);
    world.ip(&[
        "link add tun-7823435145c type ipip local 192.0.2.1 remote 192.0.2.9",
        "link set tun-7823435145c up",
    ]);
    let said = world.cleaned();
    assert!(said.contains("IPVS service") && said.contains("device kube-dummy-if"), "{said}");
    assert_eq!(world.balanced(), balanced);
    assert_eq!(world.snapshot(), before, "{said}");
}
