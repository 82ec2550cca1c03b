//! The protocol as a runtime sees it: environment, stdin, stdout, exit status.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod plugin;

use std::io::Read as _;
use std::time::Duration;

use kernel::testing::TestNs;
use plugin::{Answer, Installed, finish};
use serde_json::{Value, json};

const ALL: [&str; 7] = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"];
const NAMES: [&str; 7] =
    ["routerd-cni", "bridge", "host-local", "loopback", "portmap", "bandwidth", "tuning"];

fn ranges() -> Value {
    json!([[{"subnet": "10.1.2.0/24"}]])
}

#[test]
fn a_person_who_starts_it_reads_what_it_is() {
    let installed = Installed::new();
    for name in NAMES {
        let mut command = installed.command(name, "", "");
        command.env_remove("CNI_COMMAND");
        let answer = finish(command.spawn().unwrap(), b"");
        assert_eq!((answer.status, answer.stdout.as_str()), (0, ""));
        assert!(answer.stderr.contains(name) && answer.stderr.contains("0.1.0, "), "{answer:?}");
    }
}

#[test]
fn version_answers_without_reading_stdin_even_if_that_never_ends() {
    let installed = Installed::new();
    for name in NAMES {
        let mut child = installed.command(name, "VERSION", "").spawn().unwrap();
        let mut stdout = String::new();
        // Stdin stays open while stdout is read to its end.
        child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        assert!(child.wait().unwrap().success());
        let answer: Value = serde_json::from_str(&stdout).unwrap();
        // Limits came with results that name interfaces.
        let versions = if name == "bandwidth" { &ALL[2..] } else { &ALL[..] };
        assert_eq!(answer, json!({"cniVersion": "1.1.0", "supportedVersions": versions}));
    }
}

#[test]
fn wrong_environment_is_code_4_and_names_the_variable() {
    let installed = Installed::new();
    let conf = installed.host_local(&ranges()).to_string();
    let with = |changes: &[(&str, &str)]| -> Answer {
        let mut command = installed.command("host-local", "ADD", "c1");
        command.envs(changes.iter().copied());
        finish(command.spawn().unwrap(), conf.as_bytes())
    };
    for (changes, text) in [
        (vec![("CNI_COMMAND", "FOO")], "FOO"),
        (vec![("CNI_CONTAINERID", "")], "CNI_CONTAINERID"),
        (vec![("CNI_IFNAME", ""), ("CNI_NETNS", "")], "CNI_NETNS,CNI_IFNAME"),
        (vec![("CNI_CONTAINERID", "../x")], "containerID"),
        (vec![("CNI_IFNAME", "a234567890123456")], "interface name"),
        (vec![("CNI_ARGS", "K8S_POD_NAME=x")], "K8S_POD_NAME"),
        (vec![("CNI_ARGS", "IP=x")], "IP=x"),
    ] {
        let answer = with(&changes);
        assert_eq!(answer.code(), 4, "{changes:?}");
        assert!(answer.msg().contains(text), "{answer:?}");
    }
    assert_eq!(installed.leases(), Vec::<String>::new());
    assert!(!installed.path().join("leases").exists(), "nothing was even begun");
    with(&[("CNI_ARGS", "K8S_POD_NAME=x;IgnoreUnknown=1"), ("CNI_PATH", "")]).result();
}

#[test]
fn garbage_on_stdin_is_an_error_object_and_leaves_nothing() {
    let installed = Installed::new();
    let deep = "[".repeat(100_000);
    let long = format!("{{\"x\":\"{}\"}}", "y".repeat(9 << 20));
    for name in NAMES {
        for stdin in ["", "{", "null", "[]", "{\"name\":\"n\"} x", "\u{0}\u{1}", "\"", &deep, &long] {
            for operation in ["ADD", "DEL", "CHECK", "STATUS", "GC"] {
                let answer =
                    finish(installed.command(name, operation, "c1").spawn().unwrap(), stdin.as_bytes());
                assert_eq!(answer.code(), 6, "{name} {operation} {stdin:.20}");
            }
        }
    }
    let binary = finish(installed.command("bridge", "ADD", "c1").spawn().unwrap(), &[0xff, 0xfe, 0x7b]);
    assert_eq!(binary.code(), 6);
    assert_eq!(installed.leases(), Vec::<String>::new());
}

#[test]
fn commands_that_a_version_has_not_are_code_1() {
    let installed = Installed::new();
    for (operation, version) in [("CHECK", "0.3.1"), ("STATUS", "1.0.0"), ("GC", "1.0.0"), ("ADD", "9.9.9")] {
        let mut conf = installed.host_local(&ranges());
        conf["cniVersion"] = json!(version);
        assert_eq!(installed.run("host-local", operation, "c1", &conf).code(), 1, "{operation} {version}");
    }
}

#[test]
fn the_result_is_in_the_version_of_the_configuration() {
    let installed = Installed::new();
    for version in ALL {
        let mut conf = installed.host_local(&ranges());
        conf["cniVersion"] = json!(version);
        let result = installed.run("host-local", "ADD", "c1", &conf).result();
        assert_eq!(result["cniVersion"], version);
        let address = if version < "0.3.0" { &result["ip4"]["ip"] } else { &result["ips"][0]["address"] };
        assert!(address.as_str().unwrap().starts_with("10.1.2."), "{result}");
        assert_eq!(installed.run("host-local", "DEL", "c1", &conf).result(), Value::Null);
    }
    let mut conf = installed.host_local(&ranges());
    conf.as_object_mut().unwrap().remove("cniVersion");
    assert_eq!(installed.run("host-local", "ADD", "c1", &conf).result()["cniVersion"], "0.1.0");
}

#[test]
fn a_large_configuration_with_unknown_keys_is_taken() {
    let installed = Installed::new();
    let mut conf = installed.host_local(&ranges());
    conf["unknown"] = json!("x".repeat(1 << 20));
    installed.run("host-local", "ADD", "c1", &conf).result();
}

#[test]
fn an_unknown_name_falls_back_to_the_type() {
    let installed = Installed::new();
    let mut conf = installed.host_local(&ranges());
    installed.run("renamed", "ADD", "c1", &conf).result();
    conf["type"] = json!("ptp");
    assert_eq!(installed.run("renamed", "ADD", "c2", &conf).code(), 2);
    // A delegated IPAM plugin gets the type of the plugin that calls it.
    installed.run("host-local", "ADD", "c2", &conf).result();
}

#[test]
fn the_nodes_own_namespace_is_refused_before_anything_is_done() {
    let installed = Installed::new();
    let conf = installed.host_local(&ranges());
    let with_own = |more: &[(&str, &str)]| {
        let mut command = installed.command("host-local", "ADD", "c1");
        command.env("CNI_NETNS", "/proc/self/ns/net").envs(more.iter().copied());
        finish(command.spawn().unwrap(), conf.to_string().as_bytes())
    };
    assert_eq!(with_own(&[]).code(), 8);
    assert_eq!(installed.leases(), Vec::<String>::new());
    with_own(&[("CNI_NETNS_OVERRIDE", "1")]).result();
}

#[test]
fn a_folder_that_cannot_be_made_is_told_by_add_and_status_and_no_hindrance_for_del() {
    let installed = Installed::new();
    let mut conf = installed.host_local(&ranges());
    conf["ipam"]["dataDir"] = json!("/proc/nowhere");
    assert_eq!(installed.run("host-local", "ADD", "c1", &conf).code(), 5);
    conf["cniVersion"] = json!("1.1.0");
    assert_eq!(installed.run("host-local", "STATUS", "c1", &conf).code(), 50);
    assert_eq!(installed.run("host-local", "DEL", "c1", &conf).result(), Value::Null);
}

/// containerd's own configuration for `lo`.
fn loopback(version: &str) -> Value {
    json!({"cniVersion": version, "name": "cni-loopback", "type": "loopback"})
}

fn call_loopback(installed: &Installed, operation: &str, netns: &str, conf: &Value) -> Answer {
    let mut command = installed.command("loopback", operation, "c1");
    command.env("CNI_NETNS", netns).env("CNI_IFNAME", "lo").env("CNI_ARGS", "K8S_POD_NAME=web-0");
    finish(command.spawn().unwrap(), conf.to_string().as_bytes())
}

fn lo_is_up(pod: &TestNs) -> bool {
    pod.run("ip", &["link", "show", "lo"]).contains("<LOOPBACK,UP")
}

#[test]
fn loopback_sets_lo_up_and_tells_its_addresses_in_every_version() {
    let (installed, pod) = (Installed::new(), TestNs::new("lo"));
    for version in ALL {
        pod.run("ip", &["link", "set", "lo", "down"]);
        let result = call_loopback(&installed, "ADD", &pod.path(), &loopback(version)).result();
        assert!(lo_is_up(&pod));
        if version < "0.3.0" {
            assert_eq!(result["ip4"]["ip"], "127.0.0.1/8", "{result}");
            continue;
        }
        let interface = json!({"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": pod.path()});
        assert_eq!(result["interfaces"], json!([interface]));
        let addresses: Vec<&str> =
            result["ips"].as_array().unwrap().iter().map(|ip| ip["address"].as_str().unwrap()).collect();
        assert_eq!(addresses, ["127.0.0.1/8", "::1/128"]);
    }
}

#[test]
fn loopback_checks_passes_results_through_and_goes_down_again() {
    let (installed, pod) = (Installed::new(), TestNs::new("lo"));
    let mut conf = loopback("1.0.0");
    let result = call_loopback(&installed, "ADD", &pod.path(), &conf).result();
    assert_eq!(call_loopback(&installed, "CHECK", &pod.path(), &conf).result(), Value::Null);
    conf["prevResult"] = result.clone();
    assert_eq!(call_loopback(&installed, "ADD", &pod.path(), &conf).result(), result);
    for _ in 0..2 {
        assert_eq!(call_loopback(&installed, "DEL", &pod.path(), &conf).result(), Value::Null);
    }
    assert!(!lo_is_up(&pod));
    assert!(call_loopback(&installed, "CHECK", &pod.path(), &conf).msg().contains("is down"));
    for gone in ["", "/run/netns/never-was", "/dev/null"] {
        assert_eq!(call_loopback(&installed, "DEL", gone, &conf).result(), Value::Null);
    }
    assert_eq!(call_loopback(&installed, "ADD", "/run/netns/never-was", &conf).code(), 8);
}

#[test]
fn loopback_refuses_a_foreign_address_and_leaves_lo_as_it_was() {
    let (installed, pod) = (Installed::new(), TestNs::new("lo"));
    pod.run("ip", &["link", "set", "lo", "down"]);
    pod.run("ip", &["address", "add", "192.0.2.7/32", "dev", "lo"]);
    let answer = call_loopback(&installed, "ADD", &pod.path(), &loopback("1.0.0"));
    assert!(answer.msg().contains("192.0.2.7"), "{answer:?}");
    assert!(!lo_is_up(&pod));
}

#[test]
fn a_stopped_holder_of_the_lock_ends_an_add_in_bounded_time_and_status_does_not_wait() {
    let installed = Installed::new();
    let mut conf = installed.host_local(&ranges());
    conf["cniVersion"] = json!("1.1.0");
    installed.run("host-local", "ADD", "c1", &conf).result();
    let lock = std::fs::File::open(installed.lease_folder().join("lock")).unwrap();
    lock.lock().unwrap();
    let started = std::time::Instant::now();
    // Had it waited for the lock, it would be an error.
    assert_eq!(installed.run("host-local", "STATUS", "c1", &conf).result(), Value::Null);
    let answer = installed.run("host-local", "ADD", "c2", &conf);
    assert_eq!(answer.code(), 11);
    assert!(answer.msg().contains(&std::process::id().to_string()), "{answer:?}");
    assert!(started.elapsed() < Duration::from_mins(2));
    assert_eq!(installed.leases(), ["10.1.2.2"]);
}
