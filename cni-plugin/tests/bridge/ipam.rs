//! Addresses by a foreign plugin: a program in `CNI_PATH` that tests write as a shell script.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use super::support::{Node, Pod, reaches};
use serde_json::{Value, json};

/// What every script begins with: notes of what it was called with.
const NOTES: &str = r"#!/bin/sh
here=${0%/*}
cat > $here/stdin.$CNI_COMMAND
env | grep ^CNI_ | sort > $here/env.$CNI_COMMAND
echo $CNI_COMMAND >> $here/calls
";

struct Foreign {
    node: Node,
    pod: Pod,
    folder: PathBuf,
}

impl Foreign {
    /// An IPAM plugin `other` that does `body`.
    fn new(body: &str) -> Self {
        let node = Node::new();
        let folder = node.folder().to_owned();
        let program = folder.join("other");
        std::fs::write(&program, format!("{NOTES}{body}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Self { node, pod: Pod::new(), folder }
    }

    fn conf(&self, changes: &Value) -> Value {
        let mut conf = self.node.network(&json!({"cniVersion": "1.1.0"}));
        conf["ipam"] = json!({"type": "other", "anything": [1, {"of": "its own"}]});
        super::support::merge(&mut conf, changes);
        conf
    }

    fn note(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.join(name)).unwrap_or_default()
    }
}

const TWO: &str = r#"[ $CNI_COMMAND = ADD ] && echo '{"cniVersion":"1.0.0",
  "ips":[{"address":"10.77.0.5/24","gateway":"10.77.0.1","interface":0},{"address":"10.78.0.5/24","interface":3}],
  "routes":[{"dst":"10.99.0.0/16"}],"dns":{"nameservers":["10.77.0.53"]}}'
exit 0"#;

#[test]
fn a_foreign_plugins_addresses_are_the_pods_and_it_got_our_own_stdin_and_environment() {
    let foreign = Foreign::new(TWO);
    let conf = foreign.conf(&json!({}));
    let result = foreign.node.add(&foreign.pod, &conf).result();
    assert_eq!(foreign.note("stdin.ADD"), conf.to_string());
    let environment = foreign.note("env.ADD");
    for line in [
        "CNI_COMMAND=ADD".to_owned(),
        format!("CNI_CONTAINERID={}", foreign.pod.id),
        format!("CNI_NETNS={}", foreign.pod.ns.path()),
        "CNI_IFNAME=eth0".to_owned(),
    ] {
        assert!(environment.lines().any(|found| found == line), "{line} in {environment}");
    }
    let addresses: Vec<&str> =
        result["ips"].as_array().unwrap().iter().map(|ip| ip["address"].as_str().unwrap()).collect();
    assert_eq!(addresses, ["10.77.0.5/24", "10.78.0.5/24"]);
    assert_eq!(result["ips"][0]["interface"], 2, "the interface is ours to say");
    assert_eq!(result["dns"], json!({"nameservers": ["10.77.0.53"]}));
    assert!(foreign.pod.ns.run("ip", &["route"]).contains("10.99.0.0/16 via 10.77.0.1"));
    assert!(reaches(&foreign.pod.ns, &foreign.node.ns, "10.78.0.1"), "a gateway where the plugin named none");

    let mut with_result = conf.clone();
    with_result["prevResult"] = result;
    for operation in ["CHECK", "STATUS", "GC", "DEL"] {
        let mut conf = with_result.clone();
        if operation == "GC" {
            conf["cni.dev/valid-attachments"] = json!([{"containerID": foreign.pod.id, "ifname": "eth0"}]);
        }
        foreign.node.call(operation, &foreign.pod, &foreign.pod.ns.path(), &conf).works();
        assert_eq!(foreign.note(&format!("stdin.{operation}")), conf.to_string());
    }
    assert_eq!(foreign.note("calls"), "ADD\nCHECK\nSTATUS\nGC\nDEL\n");
    foreign.node.assert_clean();
}

#[test]
fn an_old_plugin_answers_in_its_old_form() {
    let foreign = Foreign::new(
        r#"echo '{"ip4":{"ip":"10.77.0.5/24","gateway":"10.77.0.1","routes":[{"dst":"0.0.0.0/0"}]},"ip6":{"ip":"fd77::5/64"}}'"#,
    );
    let result = foreign.node.add(&foreign.pod, &foreign.conf(&json!({"cniVersion": "0.2.0"}))).result();
    assert_eq!(result["ip4"]["ip"], "10.77.0.5/24");
    assert!(foreign.pod.ns.run("ip", &["route"]).contains("default via 10.77.0.1"));
    assert!(reaches(&foreign.pod.ns, &foreign.node.ns, "fd77::1"));
}

#[test]
fn whatever_a_foreign_plugin_does_wrong_is_told_and_taken_back() {
    for (body, code, words) in [
        (r#"echo '{"code":42,"msg":"pool is empty","details":"buy more"}'; exit 1"#, 42, "pool is empty"),
        ("kill -9 $$", 103, "signal 9"),
        ("echo no result at all", 103, "no result at all"),
        ("", 103, "no result"),
        ("echo cannot >&2; exit 3", 103, "exit status 3"),
        ("echo '{}'", 103, "missing IP config"),
        (r#"[ $CNI_COMMAND = DEL ] || echo '{"ips":[{"address":"10.77.0.5/240"}]}'"#, 103, "ips[0].address"),
        ("[ $CNI_COMMAND = DEL ] || head -c 9000000 /dev/zero", 103, "answered more than"),
    ] {
        let foreign = Foreign::new(body);
        let answer = foreign.node.add(&foreign.pod, &foreign.conf(&json!({})));
        assert_eq!(answer.json["code"], code, "{body}: {answer:?}");
        let error = answer.error();
        assert!(error.contains(words) && error.contains("other"), "{body}: {error}");
        assert_eq!(foreign.note("calls"), "ADD\nDEL\n", "{body}");
        foreign.node.assert_clean();
    }
}

#[test]
fn an_add_that_fails_later_gives_the_addresses_back() {
    let foreign = Foreign::new(
        r#"[ $CNI_COMMAND = ADD ] && echo '{"ips":[{"address":"10.77.0.5/24"}],"routes":[{"dst":"10.1.0.0/16","gw":"192.0.2.1"}]}'
exit 0"#,
    );
    let error = foreign.node.add(&foreign.pod, &foreign.conf(&json!({}))).error();
    assert!(error.contains("192.0.2.1"), "{error}");
    assert_eq!(foreign.note("calls"), "ADD\nDEL\n");
    assert_eq!(foreign.note("stdin.DEL"), foreign.note("stdin.ADD"));
    assert!(foreign.note("env.DEL").contains("CNI_COMMAND=DEL"));
    foreign.node.assert_clean();
}

#[test]
fn a_second_add_leaves_the_first_pod_its_addresses() {
    let foreign = Foreign::new(TWO);
    let conf = foreign.conf(&json!({}));
    foreign.node.add(&foreign.pod, &conf).works();
    let error = foreign.node.add(&foreign.pod, &conf).error();
    assert!(error.contains("\"eth0\" in the pod already exists"), "{error}");
    assert_eq!(foreign.note("calls"), "ADD\n", "the plugin was not asked to release anything");
    assert!(reaches(&foreign.pod.ns, &foreign.node.ns, "10.77.0.1"));
    let answer = foreign.node.call("ADD", &Pod::new(), "/run/netns/never-was", &conf);
    assert_eq!((&answer.json["code"], foreign.note("calls").as_str()), (&json!(8), "ADD\n"));
}

#[test]
fn a_plugin_that_is_missing_is_an_error_before_anything_is_made_and_no_hindrance_for_the_devices_to_go() {
    let foreign = Foreign::new(TWO);
    let conf = foreign.conf(&json!({}));
    foreign.node.add(&foreign.pod, &conf).works();
    std::fs::remove_file(foreign.folder.join("other")).unwrap();
    for wrong in ["other", "never-was", "../other", "bridge"] {
        let conf = foreign.conf(&json!({"ipam": {"type": wrong}}));
        let error = foreign.node.add(&Pod::new(), &conf).error();
        assert!(error.contains("ipam.type") && error.contains(wrong), "{error}");
    }
    let error = foreign.node.del(&foreign.pod, &conf).error();
    assert!(error.contains("failed to find plugin \"other\""), "{error}");
    foreign.node.assert_clean();
}

#[test]
fn a_failing_release_is_told_after_the_devices_are_gone() {
    let foreign = Foreign::new(
        r#"[ $CNI_COMMAND = ADD ] && echo '{"ips":[{"address":"10.77.0.5/24"}]}' && exit 0
echo '{"code":11,"msg":"the pool does not answer"}'; exit 1"#,
    );
    let conf = foreign.conf(&json!({}));
    foreign.node.add(&foreign.pod, &conf).works();
    let answer = foreign.node.del(&foreign.pod, &conf);
    assert_eq!(answer.json["code"], 11, "{answer:?}");
    foreign.node.assert_clean();
}

#[test]
fn status_and_gc_pass_errors_on_and_bear_plugins_that_do_not_know_them() {
    let call = |body: &str, operation: &str| {
        let foreign = Foreign::new(body);
        let conf = foreign.conf(&json!({"cni.dev/valid-attachments": []}));
        foreign.node.call(operation, &foreign.pod, "", &conf)
    };
    let failing = r#"echo '{"code":51,"msg":"the pool is gone"}'; exit 1"#;
    let old = r#"echo "{\"code\":4,\"msg\":\"unknown CNI_COMMAND: $CNI_COMMAND\"}"; exit 1"#;
    for operation in ["STATUS", "GC"] {
        let answer = call(failing, operation);
        assert_eq!((&answer.json["code"], &answer.json["msg"]), (&json!(51), &json!("the pool is gone")));
        call(old, operation).works();
    }
    // STATUS has two seconds, whatever the plugin does.
    let answer = call("exec sleep 600", "STATUS");
    assert_eq!(answer.json["code"], 50, "{answer:?}");
}

#[test]
fn a_program_that_is_being_installed_is_waited_for() {
    let foreign = Foreign::new(TWO);
    // What is open for writing cannot be executed. A binary, as scripts are read by the shell.
    std::fs::rename(foreign.folder.join("other"), foreign.folder.join("script")).unwrap();
    std::fs::copy("/bin/true", foreign.folder.join("other")).unwrap();
    let writer = std::fs::OpenOptions::new().append(true).open(foreign.folder.join("other")).unwrap();
    std::thread::scope(|scope| {
        let deleting = scope.spawn(|| foreign.node.del(&foreign.pod, &foreign.conf(&json!({}))));
        std::thread::sleep(std::time::Duration::from_millis(300));
        drop(writer);
        deleting.join().unwrap().works();
    });
}
