//! host-local beside the reference plugin (Debian's 1.1.1): leases of either side hold for the other.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod plugin;

use std::collections::BTreeSet;
use std::path::Path;
use std::thread;

use plugin::{Answer, Installed, finish};
use serde_json::{Value, json};

const OURS: &str = "host-local";
const REFERENCE: &str = "/usr/lib/cni/host-local";

fn ranges(subnet: &str) -> Value {
    json!([[{ "subnet": subnet }]])
}

/// Runs one of the two; the reference plugin must be there.
fn run(installed: &Installed, who: &str, operation: &str, id: &str, conf: &Value) -> Answer {
    assert!(who == OURS || Path::new(who).exists(), "install Debian's containernetworking-plugins");
    installed.run(who, operation, id, conf)
}

fn address(answer: &Answer) -> String {
    answer.result()["ips"][0]["address"].as_str().unwrap().to_owned()
}

#[test]
fn a_lease_of_one_side_is_not_given_again_and_is_released_by_the_other() {
    for (first, second) in [(OURS, REFERENCE), (REFERENCE, OURS)] {
        let installed = Installed::new();
        let conf = installed.host_local(&ranges("10.1.2.0/29"));
        for (id, who) in [("c1", first), ("c2", second), ("c3", first), ("c4", second)] {
            run(&installed, who, "ADD", id, &conf).result();
        }
        assert_eq!(installed.leases(), ["10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5"]);
        // Whoever swaps the program in place finds a duplicate ADD refused too.
        assert!(run(&installed, second, "ADD", "c1", &conf).msg().contains("duplicate allocation"));
        for id in ["c1", "c2", "c3", "c4"] {
            run(&installed, second, "DEL", id, &conf).result();
        }
        assert_eq!(installed.leases(), Vec::<String>::new());
    }
}

#[test]
fn a_pod_with_a_lease_of_an_old_release_gets_no_second_one() {
    for who in [OURS, REFERENCE] {
        let installed = Installed::new();
        let conf = installed.host_local(&ranges("10.1.2.0/29"));
        std::fs::create_dir_all(installed.lease_folder()).unwrap();
        std::fs::write(installed.lease_folder().join("10.1.2.2"), "c1").unwrap();
        assert!(run(&installed, who, "ADD", "c1", &conf).msg().contains("duplicate allocation"));
        run(&installed, who, "DEL", "c1", &conf).result();
        assert_eq!(installed.leases(), Vec::<String>::new());
    }
}

#[test]
fn a_folder_has_the_same_files_whoever_made_them() {
    let folders: Vec<Vec<String>> = [OURS, REFERENCE]
        .into_iter()
        .map(|who| {
            let installed = Installed::new();
            let conf = installed.host_local(&json!([[{"subnet": "10.1.2.0/29"}], [{"subnet": "fd00::/64"}]]));
            for (operation, id) in [("ADD", "c1"), ("ADD", "c2"), ("DEL", "c1")] {
                run(&installed, who, operation, id, &conf).result();
            }
            let names = std::fs::read_dir(installed.lease_folder()).unwrap();
            let mut names: Vec<String> =
                names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        })
        .collect();
    assert_eq!(folders[0], folders[1]);
}

#[test]
fn both_sides_check_leases_of_the_other() {
    let installed = Installed::new();
    let mut conf = installed.host_local(&ranges("10.1.2.0/29"));
    for (adder, checker) in [(OURS, REFERENCE), (REFERENCE, OURS)] {
        conf.as_object_mut().unwrap().remove("prevResult");
        let result = run(&installed, adder, "ADD", "c1", &conf).result();
        conf["prevResult"] = result;
        assert_eq!(run(&installed, checker, "CHECK", "c1", &conf).status, 0);
        run(&installed, checker, "DEL", "c1", &conf).result();
        assert_ne!(run(&installed, checker, "CHECK", "c1", &conf).status, 0);
    }
}

#[test]
fn both_sides_hand_out_the_same_addresses_in_the_same_order() {
    let orders: Vec<Vec<String>> = [OURS, REFERENCE]
        .into_iter()
        .map(|who| {
            let installed = Installed::new();
            let pools =
                json!([[{"subnet": "10.1.2.0/29", "rangeStart": "10.1.2.3"}, {"subnet": "10.9.0.0/30"}]]);
            let conf = installed.host_local(&pools);
            let mut order = Vec::new();
            for (operation, id) in [
                ("ADD", "a"),
                ("ADD", "b"),
                ("DEL", "a"),
                ("ADD", "c"),
                ("ADD", "d"),
                ("ADD", "e"),
                ("ADD", "f"),
            ] {
                let answer = run(&installed, who, operation, id, &conf);
                order.push(match (operation, answer.status) {
                    ("ADD", 0) => address(&answer),
                    _ => format!("{operation} {}", answer.status),
                });
            }
            assert!(
                run(&installed, who, "ADD", "g", &conf)
                    .msg()
                    .contains("no IP addresses available in range set")
            );
            order
        })
        .collect();
    assert_eq!(orders[0], orders[1]);
}

#[test]
fn both_sides_refuse_the_same_configurations() {
    for ipam in [
        json!({"ranges": [[{"subnet": "10.1.0.0/31"}]]}),
        json!({"ranges": [[{"subnet": "10.1.0.1/24"}]]}),
        json!({"ranges": [[{"subnet": "10.1.0.0/24", "rangeStart": "10.2.0.1"}]]}),
        json!({"ranges": [[{"subnet": "10.1.0.0/24"}, {"subnet": "fd00::/64"}]]}),
        json!({"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.1.0.0/25"}]]}),
        json!({"ranges": []}),
        json!({"subnet": "10.1.0.0/24", "resolvConf": "/nonexistent"}),
    ] {
        let installed = Installed::new();
        let mut conf = installed.host_local(&json!([]));
        for (key, value) in ipam.as_object().unwrap() {
            conf["ipam"][key] = value.clone();
        }
        for who in [OURS, REFERENCE] {
            assert_ne!(run(&installed, who, "ADD", "c1", &conf).status, 0, "{who} {ipam}");
        }
        assert_eq!(installed.leases(), Vec::<String>::new(), "{ipam}");
    }
}

#[test]
fn both_sides_take_requested_addresses_in_the_same_ways() {
    for who in [OURS, REFERENCE] {
        let installed = Installed::new();
        let mut conf = installed.host_local(&json!([[{"subnet": "10.1.2.0/24"}], [{"subnet": "fd00::/64"}]]));
        let mut command = installed.command(who, "ADD", "c1");
        command.env("CNI_ARGS", "IP=10.1.2.70");
        conf["args"] = json!({"cni": {"ips": ["fd00::70"]}});
        let answer = finish(command.spawn().unwrap(), conf.to_string().as_bytes());
        assert_eq!(answer.result()["ips"][1]["address"], "fd00::70/64", "{who}");
        assert_eq!(installed.leases(), ["10.1.2.70", "fd00::70"]);
        conf["args"] = Value::Null;
        for (ip, text) in [
            ("10.1.2.70", "requested IP address 10.1.2.70 is not available"),
            ("10.1.2.1", "requested ip 10.1.2.1 is subnet's gateway"),
            ("192.0.2.9", "failed to allocate all requested IPs: 192.0.2.9"),
        ] {
            conf["runtimeConfig"] = json!({"ips": [ip]});
            let answer = run(&installed, who, "ADD", "c2", &conf);
            assert!(answer.msg().contains(text), "{who}: {answer:?}");
        }
        assert_eq!(installed.leases(), ["10.1.2.70", "fd00::70"], "{who}");
    }
}

#[test]
fn many_of_both_sides_at_once_never_share_an_address_and_each_releases_the_others() {
    const EACH: usize = 50;
    let installed = Installed::new();
    let conf = installed.host_local(&json!([[{"subnet": "10.1.0.0/16"}], [{"subnet": "fd00::/64"}]]));
    let at_once = |operation: &str, ours_are: usize| -> Vec<Answer> {
        let call = |number: usize| {
            let who = if number % 2 == ours_are { OURS } else { REFERENCE };
            run(&installed, who, operation, &format!("c{number}"), &conf)
        };
        thread::scope(|scope| {
            let threads: Vec<_> = (0..2 * EACH).map(|number| scope.spawn(move || call(number))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    };
    let results: Vec<Value> = at_once("ADD", 0).iter().map(Answer::result).collect();
    let ips = results.iter().flat_map(|result| result["ips"].as_array().unwrap());
    let distinct: BTreeSet<&str> = ips.map(|ip| ip["address"].as_str().unwrap()).collect();
    assert_eq!((distinct.len(), installed.leases().len()), (4 * EACH, 4 * EACH));
    for answer in at_once("DEL", 1) {
        answer.result();
    }
    assert_eq!(installed.leftovers(), Vec::<String>::new());
}
