//! A value that cannot be used, in any key of any role: an error that names the key, and nothing is made.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod plugin;

use kernel::testing::TestNs;
use plugin::{Answer, Installed, finish};
use serde_json::{Value, json};

/// Puts the keys of `changes` over those of `base`, objects key by key.
fn merge(base: &mut Value, changes: &Value) {
    match (base, changes) {
        (Value::Object(base), Value::Object(changes)) => {
            for (key, change) in changes {
                merge(base.entry(key.clone()).or_insert(Value::Null), change);
            }
        }
        (base, change) => *base = change.clone(),
    }
}

/// A node and a pod, and the plugin under every name.
struct World {
    installed: Installed,
    node: TestNs,
    pod: TestNs,
}

impl World {
    fn new() -> Self {
        Self { installed: Installed::new(), node: TestNs::new("keys"), pod: TestNs::new("keyspod") }
    }

    fn call(&self, role: &str, operation: &str, changes: &Value, variables: &[(&str, &str)]) -> Answer {
        let mut conf = self.installed.host_local(&json!([[{"subnet": "10.1.2.0/24"}]]));
        conf["cniVersion"] = json!("1.1.0");
        conf["type"] = json!(role);
        merge(&mut conf, changes);
        let command = self.installed.command(role, operation, "c1");
        let mut inside = self.node.command(command.get_program().to_str().unwrap());
        inside.env_clear().env("PATH", std::env::var_os("PATH").unwrap());
        inside.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        inside.env("CNI_NETNS", self.pod.path()).envs(variables.iter().copied());
        inside.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        inside.stderr(std::process::Stdio::piped());
        finish(inside.spawn().unwrap(), conf.to_string().as_bytes())
    }

    /// All that an ADD could have made.
    fn seen(&self) -> String {
        let links = |ns: &TestNs| ns.run("ip", &["-br", "address"]);
        let rules = self.node.run("nft", &["list", "ruleset"]);
        let files = std::fs::exists(self.installed.path().join("leases")).unwrap();
        format!("{}{}{rules}{files}", links(&self.node), links(&self.pod))
    }

    /// Every row fails with its code, names its key and makes nothing.
    fn refuses(&self, role: &str, rows: &[(Value, &str)]) {
        let before = self.seen();
        for (changes, key) in rows {
            let answer = self.call(role, "ADD", changes, &[]);
            assert_ne!(answer.status, 0, "{role} {changes}: {answer:?}");
            assert!([1, 2, 7].contains(&answer.code()), "{role} {changes}: {answer:?}");
            assert!(answer.msg().contains(key), "{role} {changes}: {key} in {answer:?}");
            assert_eq!(self.seen(), before, "{role} {changes}");
        }
    }
}

/// What no key of the kind can be.
fn wrong_kinds(keys: &[&'static str], values: &[Value]) -> Vec<(Value, &'static str)> {
    let rows = keys.iter().flat_map(|key| {
        values.iter().map(move |value| {
            let changes = key.rsplit('.').fold(value.clone(), |value, part| json!({part: value}));
            (changes, *key)
        })
    });
    rows.collect()
}

fn of_bridge() -> Vec<(Value, &'static str)> {
    let mut rows = wrong_kinds(
        &[
            "isGateway",
            "isDefaultGateway",
            "forceAddress",
            "ipMasq",
            "hairpinMode",
            "promiscMode",
            "preserveDefaultVlan",
            "macspoofchk",
            "enabledad",
            "disableContainerInterface",
            "portIsolation",
        ],
        &[json!("true"), json!(1), json!([]), json!({})],
    );
    rows.extend(wrong_kinds(
        &["mtu", "vlan"],
        &[json!("1"), json!(-1), json!(1.5), json!(65536), json!(1e30), json!(true), json!([1])],
    ));
    rows.extend(wrong_kinds(
        &["bridge", "ipMasqBackend", "dns.domain"],
        &[json!(7), json!(["x"]), json!(true)],
    ));
    rows.extend(wrong_kinds(
        &["dns.nameservers", "dns.search", "dns.options"],
        &[json!("x"), json!([7]), json!(7)],
    ));
    rows.extend(wrong_kinds(
        &["dns", "args", "args.cni", "runtimeConfig"],
        &[json!(7), json!("x"), json!([])],
    ));
    rows.extend(wrong_kinds(
        &["runtimeConfig.mac", "args.cni.mac"],
        &[
            json!("x"),
            json!(7),
            json!("02:00:00:00:00"),
            json!("02:00:00:00:00:0g"),
            json!("02:00:00:00:00:01:02"),
            json!("01:00:5e:00:00:01"),
            json!("00:00:00:00:00:00"),
            json!("ff:ff:ff:ff:ff:ff"),
        ],
    ));
    for name in ["a234567890123456", "a/b", "a:b", ".", "..", "a b", "a\tb", "a\u{0}b", "a\u{1}b", "br%d"] {
        rows.push((json!({"bridge": name}), "bridge"));
    }
    for trunk in [
        json!(7),
        json!([7]),
        json!([{}]),
        json!([{"id": 0}]),
        json!([{"id": 4095}]),
        json!([{"id": "5"}]),
        json!([{"minID": 1}]),
        json!([{"maxID": 1}]),
        json!([{"minID": 5, "maxID": 4}]),
        json!([{"minID": 0, "maxID": 4}]),
        json!([{"minID": 1, "maxID": 4095}]),
        json!([{"id": 1, "maxID": 2}]),
    ] {
        rows.push((json!({"vlanTrunk": trunk}), "vlanTrunk"));
    }
    rows.extend([
        (json!({"mtu": 67}), "mtu"),
        (json!({"vlan": 4095}), "vlan"),
        (json!({"ipMasqBackend": "pf"}), "ipMasqBackend"),
        (json!({"bridge": "kube-bridge", "vlan": 1000, "isGateway": true}), "vlan"),
        (json!({"hairpinMode": true, "promiscMode": true}), "hairpin mode and promiscuous mode"),
        (json!({"disableContainerInterface": true}), "DisableContainerInterface"),
        (json!({"name": ""}), "name"),
        (json!({"name": "a b"}), "name"),
        (json!({"name": "../x"}), "name"),
        (json!({"name": 7}), "name"),
        (json!({"cniVersion": "2.0.0"}), "versions"),
        (
            json!({"runtimeConfig": {"mac": "02:00:00:00:00:01"}, "args": {"cni": {"mac": "x"}}}),
            "args.cni.mac",
        ),
        (json!({"cniVersion": 1}), "cniVersion"),
        (json!({"type": 7}), "type"),
    ]);
    rows
}

fn of_ipam() -> Vec<(Value, &'static str)> {
    let mut rows = wrong_kinds(&["ipam"], &[json!(7), json!("host-local"), json!([])]);
    rows.extend(wrong_kinds(
        &["ipam.subnet", "ipam.rangeStart", "ipam.rangeEnd", "ipam.gateway"],
        &[json!("x"), json!(7), json!("10.9.9.300"), json!("10.9.9.9/33"), json!(["10.9.9.0/24"])],
    ));
    rows.extend(wrong_kinds(&["ipam.dataDir", "ipam.resolvConf"], &[json!(7), json!([]), json!("a\u{0}b")]));
    for route in [
        json!({}),
        json!({"dst": "x"}),
        json!({"dst": 7}),
        json!({"dst": "10.0.0.0/33"}),
        json!({"dst": "10.0.0.0"}),
        json!({"dst": "10.0.0.0/8", "gw": "x"}),
        json!({"dst": "10.0.0.0/8", "gw": "10.1.2.1/24"}),
        json!({"dst": "10.0.0.0/8", "mtu": -1}),
        json!({"dst": "10.0.0.0/8", "mtu": "1400"}),
        json!({"dst": "10.0.0.0/8", "advmss": 1.5}),
        json!({"dst": "10.0.0.0/8", "priority": -1}),
        json!({"dst": "10.0.0.0/8", "table": 4_294_967_296_u64}),
        json!({"dst": "10.0.0.0/8", "scope": 256}),
    ] {
        rows.push((json!({"ipam": {"routes": [route]}}), "ipam.routes"));
    }
    rows.extend(wrong_kinds(&["ipam.routes", "ipam.ranges"], &[json!(7), json!("x"), json!([7]), json!({})]));
    let ranges = |range: Value| json!({"ipam": {"ranges": [[range]]}});
    rows.extend([
        (ranges(json!({})), "subnet"),
        (ranges(json!({"subnet": "10.9.9.1/24"})), "host bits"),
        (ranges(json!({"subnet": "10.9.9.0/31"})), "too small"),
        (ranges(json!({"subnet": "fd00::/127"})), "too small"),
        (ranges(json!({"subnet": "10.9.9.0/24", "rangeStart": "10.9.8.1"})), "RangeStart"),
        (ranges(json!({"subnet": "10.9.9.0/24", "rangeEnd": "fd00::1"})), "RangeEnd"),
        (ranges(json!({"subnet": "10.9.9.0/24", "rangeStart": "10.9.9.9", "rangeEnd": "10.9.9.8"})), "ange"),
        (ranges(json!({"subnet": "10.9.9.0/24", "gateway": "fd00::1"})), "ateway"),
        (json!({"ipam": {"ranges": [[{"subnet": "10.9.9.0/24"}], [{"subnet": "10.9.0.0/16"}]]}}), "overlaps"),
        (json!({"ipam": {"ranges": [[{"subnet": "10.9.9.0/24"}, {"subnet": "fd00::/64"}]]}}), "range"),
        (json!({"ipam": {"ranges": [[]]}}), "range"),
        (json!({"runtimeConfig": {"ipRanges": [[{"subnet": "x"}]]}}), "runtimeConfig.ipRanges"),
        (json!({"runtimeConfig": {"ipRanges": 7}}), "runtimeConfig.ipRanges"),
        (json!({"runtimeConfig": {"ips": ["x"]}}), "runtimeConfig.ips"),
        (json!({"runtimeConfig": {"ips": "10.1.2.3"}}), "runtimeConfig.ips"),
        (json!({"args": {"cni": {"ips": [7]}}}), "args.cni.ips"),
        (json!({"args": {"cni": {"ips": ["10.1.2.3/99"]}}}), "args.cni.ips"),
    ]);
    rows
}

fn of_portmap() -> Vec<(Value, &'static str)> {
    let mut rows = wrong_kinds(&["snat", "masqAll"], &[json!("true"), json!(1), json!([])]);
    rows.extend(wrong_kinds(&["markMasqBit"], &[json!(32), json!(-1), json!("13")]));
    rows.extend(wrong_kinds(&["backend"], &[json!("pf"), json!(7)]));
    rows.extend(wrong_kinds(&["externalSetMarkChain"], &[json!(7), json!("KUBE-MARK-MASQ")]));
    rows.extend(wrong_kinds(&["conditionsV4", "conditionsV6"], &[json!(7), json!(["-d", "192.0.2.1"])]));
    rows.extend(wrong_kinds(&["runtimeConfig.portMappings"], &[json!(7), json!("x"), json!([7]), json!({})]));
    for (key, value) in [
        ("hostPort", json!(0)),
        ("hostPort", json!(-1)),
        ("hostPort", json!(65536)),
        ("hostPort", json!("80")),
        ("containerPort", json!(0)),
        ("containerPort", json!(70000)),
        ("protocol", json!("icmp")),
        ("protocol", json!("")),
        ("protocol", json!(6)),
        ("hostIP", json!("x")),
        ("hostIP", json!(7)),
    ] {
        let mut mapping = json!({"hostPort": 8080, "containerPort": 80, "protocol": "tcp"});
        mapping[key] = value;
        rows.push((json!({"runtimeConfig": {"portMappings": [mapping]}}), "runtimeConfig.portMappings[0]"));
    }
    rows
}

fn of_bandwidth() -> Vec<(Value, &'static str)> {
    let mut rows = wrong_kinds(&["runtimeConfig.bandwidth"], &[json!(7), json!("1M"), json!([])]);
    for (changes, key) in [
        (json!({"ingressRate": 8000}), "ingressBurst"),
        (json!({"egressBurst": 8000}), "egressRate"),
        (json!({"ingressRate": -1, "ingressBurst": 80}), "ingressRate"),
        (json!({"ingressRate": "1M", "ingressBurst": 80}), "ingressRate"),
        (json!({"egressRate": 8000, "egressBurst": 34_359_738_360_u64}), "egressBurst"),
        (json!({"egressRate": 1, "egressBurst": 80}), "egressRate"),
        (json!({"egressRate": 1.5, "egressBurst": 80}), "egressRate"),
    ] {
        rows.push((json!({"runtimeConfig": {"bandwidth": changes.clone()}}), key));
        rows.push((changes, key));
    }
    // What the plugin's own entry says counts; what the runtime says must be readable.
    let own = json!({"ingressRate": 8000, "ingressBurst": 8000, "runtimeConfig": {"bandwidth": {"egressRate": "x"}}});
    rows.push((own, "runtimeConfig.bandwidth.egressRate"));
    rows
}

fn of_tuning() -> Vec<(Value, &'static str)> {
    let mut rows = wrong_kinds(&["promisc", "allmulti"], &[json!("yes"), json!(1), json!([])]);
    rows.extend(wrong_kinds(&["dataDir"], &[json!(7), json!("a\u{0}b")]));
    rows.extend(wrong_kinds(&["mtu", "txQLen"], &[json!("1"), json!(-1), json!(1.5), json!(1e30)]));
    rows.extend(wrong_kinds(&["args.cni.mtu", "args.cni.promisc"], &[json!("1"), json!(1.5)]));
    rows.extend(wrong_kinds(&["mac", "args.cni.mac", "runtimeConfig.mac"], &[json!("x"), json!(7)]));
    rows.extend(wrong_kinds(
        &["sysctl"],
        &[json!(7), json!([]), json!({"net.ipv4.conf.IFNAME.log_martians": []})],
    ));
    for key in ["kernel.hostname", "net/../kernel/hostname", "net.ipv4.no_such_key"] {
        rows.push((json!({"sysctl": {key: "1"}}), "sysctl"));
    }
    rows
}

/// What a plugin before in the chain would have made, of devices that are not there.
fn chained(rows: Vec<(Value, &'static str)>) -> Vec<(Value, &'static str)> {
    let prev = json!({"cniVersion": "1.1.0", "interfaces": [{"name": "veth1"}, {"name": "eth0", "sandbox": "/x"}],
        "ips": [{"address": "10.1.2.3/24", "interface": 1}]});
    let with = |(mut changes, key): (Value, &'static str)| {
        changes["prevResult"] = prev.clone();
        (changes, key)
    };
    rows.into_iter().map(with).collect()
}

#[test]
fn keys_of_chained_plugins() {
    let world = World::new();
    world.refuses("portmap", &chained(of_portmap()));
    world.refuses("bandwidth", &chained(of_bandwidth()));
    world.refuses("tuning", &chained(of_tuning()));
    // In its one run `routerd-cni` looks at all of them before it makes the first thing.
    let mut parts = of_portmap();
    parts.extend(of_bandwidth());
    world.refuses("routerd-cni", &parts);
}

#[test]
fn keys_of_bridge() {
    let world = World::new();
    world.refuses("bridge", &of_bridge());
}

#[test]
fn keys_of_routerd_cni() {
    let world = World::new();
    let mut rows = of_bridge();
    rows.extend(wrong_kinds(&["routerd"], &[json!(7), json!("x"), json!([])]));
    rows.extend(wrong_kinds(&["routerd.socket"], &[json!(7), json!([])]));
    rows.extend(wrong_kinds(
        &["routerd.timeoutMs", "routerd.awayMs"],
        &[json!(0), json!("1"), json!(600_001)],
    ));
    rows.extend(wrong_kinds(&["routerd.required", "routerd.inStatus"], &[json!("no"), json!(1)]));
    world.refuses("routerd-cni", &rows);
}

#[test]
fn keys_of_ipam_for_bridge_and_for_host_local() {
    let world = World::new();
    for role in ["bridge", "routerd-cni", "host-local"] {
        world.refuses(role, &of_ipam());
    }
    // What a foreign type is called must not lead out of CNI_PATH, nor back to this program.
    for name in ["../bridge", "/bin/true", "bridge", "portmap"] {
        world.refuses("bridge", &[(json!({"ipam": {"type": name}}), "ipam.type")]);
    }
    world.refuses("bridge", &[(json!({"ipam": {"type": 7}}), "ipam.type")]);
}

#[test]
fn variables() {
    let world = World::new();
    let before = world.seen();
    for (name, value, words) in [
        ("CNI_COMMAND", "add", "CNI_COMMAND"),
        ("CNI_CONTAINERID", "../x", "containerID"),
        ("CNI_CONTAINERID", "-x", "containerID"),
        ("CNI_CONTAINERID", "ä", "containerID"),
        ("CNI_CONTAINERID", "", "CNI_CONTAINERID"),
        ("CNI_IFNAME", "a234567890123456", "interface name"),
        ("CNI_IFNAME", "a/b", "interface name"),
        ("CNI_IFNAME", "..", "interface name"),
        ("CNI_IFNAME", "eth%d", "interface name"),
        ("CNI_IFNAME", "e\u{1}", "interface name"),
        ("CNI_NETNS", "", "CNI_NETNS"),
        ("CNI_ARGS", "MAC=x", "MAC"),
        ("CNI_ARGS", "MAC=01:00:5e:00:00:01", "MAC"),
        ("CNI_ARGS", "IP=10.1.2", "IP"),
        ("CNI_ARGS", "IP", "IP"),
        ("CNI_ARGS", "IgnoreUnknown=perhaps", "IgnoreUnknown"),
        ("CNI_ARGS", "FOO=1", "FOO"),
    ] {
        for role in ["bridge", "routerd-cni", "host-local"] {
            let answer = world.call(role, "ADD", &json!({}), &[(name, value)]);
            assert_eq!(answer.code(), 4, "{role} {name}={value}: {answer:?}");
            assert!(answer.msg().contains(words), "{role} {name}={value}: {answer:?}");
        }
    }
    for netns in ["/run/netns/never-was", "/dev/null", "/proc/self/ns/mnt", "relative"] {
        for role in ["bridge", "routerd-cni"] {
            let answer = world.call(role, "ADD", &json!({}), &[("CNI_NETNS", netns)]);
            assert_eq!(answer.code(), 8, "{role} {netns}: {answer:?}");
        }
    }
    let left = world.installed.leases();
    assert_eq!(left, Vec::<String>::new());
    // The folder of leases may be there by now, but nothing else.
    assert_eq!(world.seen().replace("true", "false"), before);
}

#[test]
fn a_result_before_this_one_that_cannot_be_read() {
    let world = World::new();
    for prev in [
        json!(7),
        json!({"ips": [{"address": "x"}]}),
        json!({"ips": [{"address": "10.1.2.3/24", "interface": 5}]}),
        json!({"routes": [{"dst": 7}]}),
        json!({"cniVersion": "9.9.9"}),
        json!({"interfaces": ["eth0"]}),
    ] {
        let answer = world.call("bridge", "CHECK", &json!({"prevResult": prev}), &[]);
        assert!(answer.msg().contains("prevResult"), "{prev}: {answer:?}");
        // What is to be taken away goes nevertheless.
        world.call("bridge", "DEL", &json!({"prevResult": prev}), &[]).result();
    }
}

#[test]
fn lists_of_gc_that_cannot_be_read_free_nothing() {
    let world = World::new();
    for list in [
        json!(7),
        json!("c1"),
        json!([7]),
        json!([{}]),
        json!([{"containerID": 7}]),
        json!({"containerID": "c"}),
    ] {
        for role in ["bridge", "routerd-cni", "host-local"] {
            let answer = world.call(role, "GC", &json!({"cni.dev/valid-attachments": list}), &[]);
            assert!(answer.msg().contains("cni.dev/valid-attachments"), "{role} {list}: {answer:?}");
        }
    }
}
