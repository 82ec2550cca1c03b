//! The network configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};

use super::node::Node;

pub(crate) const CONFLIST: &str = "10-kuberouter.conflist";
/// As kube-router's manifest `kubeadm-kuberouter-all-features-hostport` has it, with what an operator may add.
pub(crate) const KUBE_ROUTERS: &str = r#"{"cniVersion":"0.3.0","name":"mynet","operator":{"note":"ours"},"plugins":[
  {"name":"kubernetes","type":"bridge","bridge":"kube-bridge","isDefaultGateway":true,"hairpinMode":true,"mtu":1400,
   "ipam":{"type":"host-local","ranges":[[{"subnet":"10.244.1.0/24","rangeStart":"10.244.1.50"}]]}},
  {"type":"portmap","capabilities":{"snat":true,"portMappings":true}},
  {"type":"tuning","sysctl":{"net.core.somaxconn":"500"}}]}"#;

fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_configuration_of_kube_router_keeps_everything_but_the_type_of_what_wires_pods() {
    let node = Node::new();
    node.configure(CONFLIST, KUBE_ROUTERS);
    fs::set_permissions(node.path("net.d").join(CONFLIST), fs::Permissions::from_mode(0o600)).unwrap();
    let said = node.succeeds(&[]);
    assert!(said.contains("took over") && said.contains("10-kuberouter.conflist.before-routerd"), "{said}");
    let mut expected = value(KUBE_ROUTERS);
    expected["plugins"][0]["type"] = "routerd-cni".into();
    let text = node.text("net.d/10-kuberouter.conflist");
    assert_eq!(value(&text), expected);
    assert!(text.find("\"operator\"") < text.find("\"plugins\""), "the order of keys stays: {text}");
    let mode = fs::metadata(node.path("net.d").join(CONFLIST)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the mode stays");
    assert_eq!(node.text("net.d/10-kuberouter.conflist.before-routerd"), KUBE_ROUTERS);

    let inode = node.inode("net.d/10-kuberouter.conflist");
    assert!(node.succeeds(&[]).contains("kept"));
    assert_eq!(node.inode("net.d/10-kuberouter.conflist"), inode, "a second run writes nothing");
    node.succeeds(&["--restore"]);
    assert_eq!(node.text("net.d/10-kuberouter.conflist"), KUBE_ROUTERS);
    assert_eq!(node.names("net.d"), [CONFLIST]);
}

/// As an older kube-router has it.
const SINGLE: &str = r#"{"cniVersion":"0.3.0","name":"mynet","type":"bridge","bridge":"kube-bridge","isDefaultGateway":true,
        "ipam":{"type":"host-local","subnet":"10.244.1.0/24"}}"#;

#[test]
fn the_single_file_of_an_older_kube_router_becomes_a_list_under_the_same_network_name() {
    let (node, old) = (Node::new(), SINGLE);
    node.configure("10-kuberouter.conf", old);
    node.succeeds(&[]);
    // The single file sorts before the list, so it must go; with its ranges the list is complete.
    assert_eq!(
        node.names("net.d"),
        ["10-kuberouter.conf.before-routerd", CONFLIST, "10-kuberouter.conflist.template"]
    );
    assert_eq!(
        value(&node.text("net.d/10-kuberouter.conflist")),
        json!({"cniVersion": "0.3.0", "name": "mynet", "plugins": [
            {"type": "routerd-cni", "bridge": "kube-bridge", "isDefaultGateway": true,
             "ipam": {"type": "host-local", "subnet": "10.244.1.0/24"}}]})
    );
    node.succeeds(&["--restore"]);
    assert_eq!(node.names("net.d"), ["10-kuberouter.conf"]);
    assert_eq!(node.text("net.d/10-kuberouter.conf"), old);
}

#[test]
fn a_run_that_was_ended_before_the_single_file_was_away_is_finished_by_the_next() {
    let after = ["10-kuberouter.conf.before-routerd", CONFLIST, "10-kuberouter.conflist.template"];
    for backup in [true, false] {
        let node = Node::new();
        node.configure("10-kuberouter.conf", SINGLE);
        node.succeeds(&[]);
        let list = node.text("net.d/10-kuberouter.conflist");
        node.configure("10-kuberouter.conf", SINGLE);
        if !backup {
            fs::remove_file(node.path("net.d/10-kuberouter.conf.before-routerd")).unwrap();
        }
        assert!(node.succeeds(&[]).contains("10-kuberouter.conf.before-routerd"));
        assert_eq!(node.names("net.d"), after, "runtimes would prefer the single file");
        assert_eq!(node.text("net.d/10-kuberouter.conflist"), list);
        node.succeeds(&["--restore"]);
        assert_eq!(node.names("net.d"), ["10-kuberouter.conf"]);
        assert_eq!(node.text("net.d/10-kuberouter.conf"), SINGLE);
    }
}

#[test]
fn of_two_configurations_of_kube_router_for_one_network_the_list_is_used_and_both_come_back() {
    let node = Node::new();
    node.configure(CONFLIST, KUBE_ROUTERS);
    node.configure("10-kuberouter.conf", SINGLE);
    node.succeeds(&[]);
    assert!(!node.path("net.d/10-kuberouter.conf").exists());
    node.succeeds(&["--restore"]);
    assert_eq!(node.names("net.d"), ["10-kuberouter.conf", CONFLIST]);
    assert_eq!(node.text("net.d/10-kuberouter.conflist"), KUBE_ROUTERS);
}

#[test]
fn a_single_file_of_another_network_or_plugin_stays_beside_ours_and_is_told_of() {
    for mine in [SINGLE.replace("mynet", "other"), SINGLE.replace("bridge\",", "ptp\","), "{".to_owned()] {
        let node = Node::new();
        node.configure(CONFLIST, KUBE_ROUTERS);
        node.configure("10-kuberouter.conf", &mine);
        for _ in 0..2 {
            let output = node.init(&[]);
            let said = String::from_utf8(output.stderr).unwrap();
            assert!(output.status.success() && said.contains("runtimes use"), "{said}");
            assert_eq!(node.text("net.d/10-kuberouter.conf"), mine);
        }
    }
}

#[test]
fn a_configuration_that_is_not_kube_routers_stays_byte_for_byte() {
    for mine in [
        "{ \"name\": \"mine\",   \"plugins\": [ {\"type\":\"ptp\",\"ipam\":{\"type\":\"host-local\"}} ] }",
        "{ \"name\": \"mine\",   \"plugins\": [ {\"type\":\"routerd-cni\",\"mtu\":1300} ] }",
        "{ \"name\": \"mine\",   \"plugins\": [ {\"type\":\"bridge\",\"ipam\":{\"type\":\"dhcp\"}} ] }",
    ] {
        let node = Node::new();
        node.configure(CONFLIST, mine);
        let said = node.succeeds(&[]);
        assert!(said.contains("kept"), "{said}");
        assert_eq!(node.text("net.d/10-kuberouter.conflist"), mine);
        assert_eq!(node.names("net.d"), [CONFLIST, "10-kuberouter.conflist.template"]);
    }
}

#[test]
fn a_configuration_that_cannot_be_read_is_refused_with_file_and_place_and_left() {
    for (text, reason) in [
        ("{\n \"name\": \"mynet\",\n \"plugins\": [,]\n}", "line 3 column 14"),
        ("", "line 1 column 0"),
        (r#"{"name": "mynet", "plugins": [{"type": "bridge", "ipam": "host-local"}]}"#, "plugins[0].ipam"),
        (r#"{"name": "my net", "plugins": [{"type": "bridge"}]}"#, "my net"),
    ] {
        let node = Node::new();
        node.configure(CONFLIST, text);
        let said = node.fails(&[]);
        assert!(said.contains(reason) && said.contains("net.d/10-kuberouter.conflist"), "{said}");
        assert_eq!(node.text("net.d/10-kuberouter.conflist"), text);
        assert!(node.path("bin/routerd-cni").exists(), "the plugins are installed all the same");
    }
}

#[test]
fn a_template_that_is_no_configuration_is_refused_with_the_reason_and_plugins_are_installed_all_the_same() {
    for (text, reason) in [
        ("{", "EOF"),
        ("[]", "no JSON object"),
        (r#"{"plugins": [{"type": "x"}]}"#, "name"),
        (r#"{"name": "n", "plugins": []}"#, "empty"),
        (r#"{"name": "n", "plugins": [{"kind": "x"}]}"#, "plugins[0].type"),
    ] {
        let node = Node::new();
        fs::write(node.path("mine.json"), text).unwrap();
        let said = node.fails(&["--cni-conf", node.path("mine.json").to_str().unwrap()]);
        assert!(said.contains(reason) && said.contains("mine.json"), "{said}");
        assert!(!node.path("net.d").exists());
        assert!(node.path("bin/routerd-cni").exists());
    }
}

#[test]
fn a_users_template_is_installed_as_it_is_and_in_the_form_that_the_files_name_asks_for() {
    let node = Node::new();
    let mine = r#"{"cniVersion":"0.4.0", "name":"mynet",
        "plugins":[{"type":"routerd-cni","mtu":1400,"ipam":{"type":"host-local"}}]}"#;
    fs::write(node.path("mine.json"), mine).unwrap();
    let template = node.path("mine.json");
    let template = template.to_str().unwrap();
    node.succeeds(&["--cni-conf", template]);
    assert_eq!(node.text("net.d/10-kuberouter.conflist.template"), mine);
    // kube-router's default name is of a single configuration.
    let single = node.path("net.d/10-kuberouter.conf");
    node.succeeds(&["--cni-conf", template, "--cni-conf-file", single.to_str().unwrap()]);
    let text = node.text("net.d/10-kuberouter.conf.template");
    assert_eq!(
        value(&text),
        json!({"cniVersion": "0.4.0", "name": "mynet", "type": "routerd-cni", "mtu": 1400,
               "ipam": {"type": "host-local"}})
    );
}

#[test]
fn the_operator_is_told_of_a_plugin_that_is_missing_and_of_a_configuration_that_runtimes_prefer() {
    let node = Node::new();
    node.configure("05-other.conflist", "{}");
    node.configure(CONFLIST, r#"{"name":"mynet","plugins":[{"type":"routerd-cni"},{"type":"firewall"}]}"#);
    let output = node.init(&[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("needs the plugin firewall"), "{said}");
    assert!(!said.contains("plugin routerd-cni"), "{said}");
    assert!(said.contains("runtimes use") && said.contains("05-other.conflist"), "{said}");
}

#[test]
fn the_manifests_configuration_is_the_built_in_one() {
    let manifest = include_str!("../../../daemonset/routerd-all-features.yaml");
    let (_, after) = manifest.split_once("10-kuberouter.conflist: |\n").unwrap();
    let indented: Vec<&str> = after.lines().take_while(|line| line.starts_with("    ")).collect();
    let built_in = include_str!("../../../cni/10-kuberouter.conflist");
    assert_eq!(value(&indented.join("\n")), value(built_in));
}
