//! Which addresses a pod gets, on both layers, and what its interface is set to.

use super::support::{Node, Pod, links, merge, reaches};
use serde_json::{Value, json};

fn read(pod: &Pod, key: &str) -> String {
    pod.ns.run("cat", &[&format!("/proc/sys/net/{key}")]).trim().to_owned()
}

fn mac(result: &Value) -> &str {
    result["interfaces"][2]["mac"].as_str().unwrap()
}

#[test]
fn the_mac_comes_from_the_runtime_before_args_before_the_environment() {
    let node = Node::new();
    let runtime = json!({"runtimeConfig": {"mac": "02:00:00:00:00:07"}});
    let args = json!({"args": {"cni": {"mac": "02-00-00-00-00-08"}}});
    let mut both = runtime.clone();
    merge(&mut both, &args);
    let variable = [("CNI_ARGS", "IgnoreUnknown=1;MAC=02:00:00:00:00:09")];
    for (changes, variables, expected) in [
        (&both, &variable[..], "02:00:00:00:00:07"),
        (&args, &variable[..], "02:00:00:00:00:08"),
        (&json!({"runtimeConfig": {"mac": ""}}), &variable[..], "02:00:00:00:00:09"),
        (&runtime, &[], "02:00:00:00:00:07"),
    ] {
        let pod = Pod::new();
        let result = node.call_with("ADD", &pod, &pod.ns.path(), &node.network(changes), variables).result();
        assert_eq!(mac(&result), expected);
        assert!(pod.ns.run("ip", &["link", "show", "eth0"]).contains(expected));
    }
}

#[test]
fn the_address_can_be_asked_for_in_three_ways() {
    let node = Node::new();
    let address = |result: &Value| result["ips"][0]["address"].as_str().unwrap().to_owned();
    for (changes, variable, expected) in [
        (json!({}), "IP=10.9.0.50", "10.9.0.50/24"),
        (json!({"args": {"cni": {"ips": ["10.9.0.51/24"]}}}), "", "10.9.0.51/24"),
        (json!({"runtimeConfig": {"ips": ["10.9.0.52"]}}), "", "10.9.0.52/24"),
        (json!({"RuntimeConfig": {"IPs": ["10.9.0.53", "fd09::53"]}}), "", "10.9.0.53/24"),
    ] {
        let pod = Pod::new();
        let conf = node.network(&changes);
        let result = node.call_with("ADD", &pod, &pod.ns.path(), &conf, &[("CNI_ARGS", variable)]).result();
        assert_eq!(address(&result), expected);
        assert!(reaches(&node.ns, &pod.ns, expected.trim_end_matches("/24")));
    }
    let taken = node.network(&json!({"runtimeConfig": {"ips": ["10.9.0.52"]}}));
    let error = node.add(&Pod::new(), &taken).error();
    assert!(error.contains("10.9.0.52"), "{error}");
}

#[test]
fn a_pod_with_ipv6_only_serves_at_once_and_keeps_its_address_when_the_link_goes_down() {
    let (node, pod) = (Node::new(), Pod::new());
    let conf = node.network(&json!({"ipam": {"ranges": [[{"subnet": "fd09::/64"}]]}}));
    let result = node.add(&pod, &conf).result();
    assert_eq!(result["ips"].as_array().unwrap().len(), 1);
    assert_eq!(result["routes"], json!([{"dst": "::/0", "gw": "fd09::1"}]));
    assert!(reaches(&pod.ns, &node.ns, "fd09::1") && reaches(&node.ns, &pod.ns, "fd09::2"));
    pod.ns.run("ip", &["link", "set", "eth0", "down"]);
    pod.ns.run("ip", &["link", "set", "eth0", "up"]);
    assert!(pod.ns.run("ip", &["-6", "address", "show", "dev", "eth0"]).contains("fd09::2/64"));
}

#[test]
fn a_pod_with_ipv4_only_is_left_with_the_ipv6_settings_of_its_runtime() {
    let (node, pod) = (Node::new(), Pod::new());
    pod.ns.run("sysctl", &["-q", "net.ipv6.conf.default.disable_ipv6=1"]);
    let conf = node.network(&json!({"ipam": {"ranges": [[{"subnet": "10.9.0.0/24"}]]}}));
    node.add(&pod, &conf).works();
    assert_eq!(read(&pod, "ipv6/conf/eth0/disable_ipv6"), "1");
    assert!(reaches(&pod.ns, &node.ns, "10.9.0.1"));
}

#[test]
fn duplicate_address_detection_is_off_unless_asked_for() {
    let node = Node::new();
    for (asked, dad, enhanced) in [(false, "0", None), (true, "1", Some("1"))] {
        let pod = Pod::new();
        node.add(&pod, &node.network(&json!({"enabledad": asked}))).works();
        assert_eq!(read(&pod, "ipv6/conf/eth0/accept_dad"), dad);
        if let Some(enhanced) = enhanced {
            assert_eq!(read(&pod, "ipv6/conf/eth0/enhanced_dad"), enhanced);
        }
        // Whatever was asked for: no address is in doubt when ADD returns.
        let text = pod.ns.run("ip", &["-6", "address", "show", "dev", "eth0"]);
        assert!(text.contains("fd09::") && !text.contains("tentative"), "{text}");
    }
}

#[test]
fn name_servers_of_the_configuration_replace_those_of_ipam() {
    let (node, pod, other) = (Node::new(), Pod::new(), Pod::new());
    let file = node.folder().join("resolv.conf");
    std::fs::write(&file, "nameserver 192.0.2.1\nsearch a.example\n").unwrap();
    let of_ipam = json!({"ipam": {"resolvConf": file}});
    let result = node.add(&pod, &node.network(&of_ipam)).result();
    assert_eq!(result["dns"], json!({"nameservers": ["192.0.2.1"], "search": ["a.example"]}));
    let mut own = of_ipam.clone();
    own["dns"] = json!({"Nameservers": ["192.0.2.2"], "options": ["ndots:5"]});
    let result = node.add(&other, &node.network(&own)).result();
    assert_eq!(result["dns"], json!({"nameservers": ["192.0.2.2"], "options": ["ndots:5"]}));
}

#[test]
fn the_mtu_is_on_both_ends_and_on_a_bridge_that_is_made() {
    let (node, pod, second) = (Node::new(), Pod::new(), Pod::new());
    let mtu =
        |ns: &kernel::testing::TestNs, link: &str| ns.run("cat", &[&format!("/sys/class/net/{link}/mtu")]);
    let near = |result: &Value| result["interfaces"][1]["name"].as_str().unwrap().to_owned();
    let result = node.add(&pod, &node.network(&json!({"mtu": 5000}))).result();
    for (ns, link) in [(&node.ns, "cni0".to_owned()), (&node.ns, near(&result)), (&pod.ns, "eth0".to_owned())]
    {
        assert_eq!(mtu(ns, &link).trim(), "5000", "{link}");
    }
    let result = node.add(&second, &node.network(&json!({"mtu": 0}))).result();
    assert_eq!(mtu(&node.ns, &near(&result)).trim(), "1500");
    assert_eq!(mtu(&second.ns, "eth0").trim(), "1500");
    // IPv6 needs 1280; without it less will do.
    let error = node.add(&Pod::new(), &node.network(&json!({"mtu": 1000}))).error();
    assert!(error.contains("mtu must be at least 1280"), "{error}");
    let small = json!({"mtu": 1000, "ipam": {"ranges": [[{"subnet": "10.9.0.0/24"}]]}});
    node.add(&Pod::new(), &node.network(&small)).works();
}

#[test]
fn layer_two_only_has_an_interface_that_is_up_and_no_address() {
    let node = Node::new();
    for version in ["0.3.0", "0.4.0", "1.0.0", "1.1.0"] {
        let pod = Pod::new();
        let conf = json!({"cniVersion": version, "name": "net", "type": "bridge"});
        let result = node.add(&pod, &conf).result();
        assert!(result.get("ips").is_none(), "{result}");
        assert!(pod.ns.run("ip", &["link", "show", "eth0"]).contains("state UP"));
        node.del(&pod, &conf).works();
        assert_eq!(links(&pod.ns, &[]), ["lo"]);
    }
    for version in ["0.1.0", "0.2.0"] {
        let pod = Pod::new();
        let conf = json!({"cniVersion": version, "name": "net", "type": "bridge"});
        let error = node.add(&pod, &conf).error();
        assert!(error.contains("no valid IP addresses"), "{error}");
        node.assert_clean();
        assert_eq!(links(&pod.ns, &[]), ["lo"]);
    }
}

#[test]
fn macs_of_the_result_are_the_kernels_also_on_a_bridge_that_nobody_gave_one() {
    let (node, pod) = (Node::new(), Pod::new());
    node.ns.run("ip", &["link", "add", "name", "cni0", "type", "bridge"]);
    let result = node.add(&pod, &node.network(&json!({"isDefaultGateway": false}))).result();
    for (ns, number) in [(&node.ns, 0), (&node.ns, 1), (&pod.ns, 2)] {
        let interface = &result["interfaces"][number];
        let seen = ns.run("ip", &["link", "show", interface["name"].as_str().unwrap()]);
        assert!(seen.contains(interface["mac"].as_str().unwrap()), "{seen} {result}");
    }
}
