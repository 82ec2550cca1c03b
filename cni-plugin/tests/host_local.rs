//! The role `host-local` as a process: which addresses, and what happens to files that are not as they should be.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod plugin;

use std::fs;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use plugin::{Answer, Installed, finish};
use serde_json::{Value, json};

/// A data folder with the network `n`.
struct Network {
    installed: Installed,
    conf: Value,
}

impl Network {
    fn new(ranges: &Value) -> Self {
        let installed = Installed::new();
        let mut conf = installed.host_local(ranges);
        conf["cniVersion"] = json!("1.1.0");
        Self { installed, conf }
    }

    fn call(&self, operation: &str, id: &str) -> Answer {
        self.installed.run("host-local", operation, id, &self.conf)
    }

    /// For another interface of the pod, or with more in the environment.
    fn call_with(&self, operation: &str, id: &str, variables: &[(&str, &str)]) -> Answer {
        let mut command = self.installed.command("host-local", operation, id);
        command.envs(variables.iter().copied());
        finish(command.spawn().unwrap(), self.conf.to_string().as_bytes())
    }

    /// The addresses that an ADD gives, without their lengths.
    fn add(&self, id: &str) -> Vec<String> {
        addresses(&self.call("ADD", id).result())
    }

    fn put(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::create_dir_all(self.installed.lease_folder()).unwrap();
        fs::write(self.installed.lease_folder().join(name), content).unwrap();
    }
}

fn addresses(result: &Value) -> Vec<String> {
    let address = |ip: &Value| ip["address"].as_str().unwrap().split('/').next().unwrap().to_owned();
    result["ips"].as_array().unwrap().iter().map(address).collect()
}

#[test]
fn addresses_go_round_through_all_subnets_of_a_pool_and_the_last_one_used_comes_last() {
    let pool = json!([[{"subnet": "10.1.0.0/29", "rangeStart": "10.1.0.5"}, {"subnet": "10.2.0.0/30"}]]);
    // Mark, taken addresses, and the next one.
    for (last, taken, next) in [
        ("", &[][..], "10.1.0.5"),
        ("10.1.0.5", &[], "10.1.0.6"),
        ("10.1.0.6", &[], "10.2.0.2"),
        ("10.2.0.2", &[], "10.1.0.5"),
        ("10.1.0.5", &["10.1.0.6", "10.2.0.2"], "10.1.0.5"),
        ("192.0.2.1", &["10.1.0.5"], "10.1.0.6"),
        ("fd00::1", &[], "10.1.0.5"),
        ("no address", &[], "10.1.0.5"),
    ] {
        let network = Network::new(&pool);
        network.put("last_reserved_ip.0", last);
        for name in taken {
            network.put(name, "other\r\neth0");
        }
        assert_eq!(network.add("c1"), [next], "last {last:?}, taken {taken:?}");
        let mark = fs::read_to_string(network.installed.lease_folder().join("last_reserved_ip.0"));
        assert_eq!(mark.unwrap(), next);
    }
}

#[test]
fn gateways_are_never_given_wherever_they_lie_and_the_last_of_ipv6_is() {
    let all = |ranges: Value, count: usize| {
        let network = Network::new(&ranges);
        let given: Vec<String> = (0..count).flat_map(|number| network.add(&format!("c{number}"))).collect();
        let more = network.call("ADD", "more");
        assert_eq!(more.code(), 11);
        assert!(more.msg().contains("no IP addresses available in range set: "), "{more:?}");
        given.join(" ")
    };
    assert_eq!(all(json!([[{"subnet": "10.1.0.0/30", "gateway": "10.1.0.2"}]]), 1), "10.1.0.1");
    assert_eq!(all(json!([[{"subnet": "10.1.0.0/30", "gateway": "192.0.2.1"}]]), 2), "10.1.0.1 10.1.0.2");
    assert_eq!(all(json!([[{"subnet": "fd00::/126"}]]), 2), "fd00::2 fd00::3");
    let one = json!([[{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.9"}]]);
    assert_eq!(all(one, 1), "10.1.0.9");
    // Nothing but the gateway: never an address, and no endless search.
    assert_eq!(all(json!([[{"subnet": "10.1.0.0/24", "rangeEnd": "10.1.0.1"}]]), 0), "");
}

#[test]
fn each_interface_has_its_own_addresses_and_each_network_its_own_folder() {
    let network = Network::new(&json!([[{"subnet": "10.1.0.0/24"}]]));
    assert_eq!(network.add("c1"), ["10.1.0.2"]);
    let second = network.call_with("ADD", "c1", &[("CNI_IFNAME", "net1")]);
    assert_eq!(addresses(&second.result()), ["10.1.0.3"]);
    assert_eq!(network.call("ADD", "c1").code(), 101);
    let mut other = network.conf.clone();
    other["name"] = json!("other");
    network.installed.run("host-local", "ADD", "c1", &other).result();
    network.call("DEL", "c1").result();
    assert_eq!(network.installed.leases(), ["10.1.0.3"]);
    network.call_with("DEL", "c1", &[("CNI_IFNAME", "net1")]).result();
    assert_eq!(network.installed.leases(), Vec::<String>::new());
    assert!(network.installed.path().join("leases/other/10.1.0.2").exists());
}

#[test]
fn del_works_whatever_the_configuration_says_now() {
    for change in [
        json!({"ranges": [[{"subnet": "10.9.0.0/24"}]]}),
        json!({"ranges": null}),
        json!({"ranges": [[{"subnet": "nonsense"}]]}),
        json!({"resolvConf": "/nonexistent"}),
        json!({"routes": 7}),
    ] {
        let mut network = Network::new(&json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]));
        assert_eq!(network.add("c1"), ["10.1.0.2", "fd00::2"]);
        for (key, value) in change.as_object().unwrap() {
            network.conf["ipam"][key] = value.clone();
        }
        assert_eq!(network.call("DEL", "c1").result(), Value::Null, "{change}");
        assert_eq!(network.installed.leases(), Vec::<String>::new(), "{change}");
        assert_eq!(network.call("DEL", "c1").result(), Value::Null, "{change}");
    }
}

#[test]
fn a_failure_in_a_later_pool_gives_back_what_the_earlier_ones_gave() {
    let network = Network::new(
        &json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/30"}], [{"subnet": "fd00::/64"}]]),
    );
    network.add("c1");
    let answer = network.call("ADD", "c2");
    assert_eq!((answer.code(), answer.msg().contains("range 1")), (11, true), "{answer:?}");
    assert_eq!(network.installed.leases(), ["10.1.0.2", "10.2.0.2", "fd00::2"]);
}

#[test]
fn a_lease_that_a_power_cut_tore_at_any_length_blocks_its_address_for_no_longer_than_to_the_next_gc() {
    let content = b"c0ffee15\r\neth0";
    for length in 0..=content.len() {
        for fill in [false, true] {
            let mut network = Network::new(&json!([[{"subnet": "10.1.0.0/30"}]]));
            let mut torn = content[..length].to_vec();
            torn.resize(if fill { content.len() } else { length }, 0);
            network.put("10.1.0.2", &torn);
            network.conf["cni.dev/valid-attachments"] = json!([{"containerID": "other", "ifname": "eth0"}]);
            assert_eq!(network.call("GC", "").result(), Value::Null);
            assert_eq!(network.add("c1"), ["10.1.0.2"], "{torn:?}");
        }
    }
}

#[test]
fn an_empty_lease_in_the_way_is_repaired_by_the_add_itself() {
    for torn in [&b""[..], b"\0\0\0\0", b"\r\n"] {
        let network = Network::new(&json!([[{"subnet": "10.1.0.0/30"}]]));
        network.put("10.1.0.2", torn);
        assert_eq!(network.add("c1"), ["10.1.0.2"], "{torn:?}");
    }
}

#[test]
fn gc_keeps_what_is_valid_in_either_form_and_everything_that_is_no_lease() {
    let kept = ["10.1.0.2", "10.1.0.5", "10.1.0.7", "10.1.0.8", "notes"];
    let [old, older] = ["0ab1", "0ab2"].map(|digits| digits.repeat(16));
    for (valid, expected) in [
        (json!([{"containerID": "c1", "ifname": "eth0"}, {"containerID": old, "ifname": "eth0"}]), &kept[..]),
        (json!([]), &kept[2..]),
        (Value::Null, &kept[2..]),
    ] {
        let mut network = Network::new(&json!([[{"subnet": "10.1.0.0/24"}]]));
        for (name, content) in [
            ("10.1.0.2", "c1\r\neth0"),
            ("10.1.0.3", "c1\r\neth1"),
            ("10.1.0.4", "c2\r\neth0"),
            ("10.1.0.5", &format!("{old}\n")),
            ("10.1.0.6", &older),
            ("10.1.0.7", "kept for the printer"),
            ("10.1.0.8", "printer"),
            ("notes", "c2\r\neth0"),
        ] {
            network.put(name, content);
        }
        network.conf["cni.dev/valid-attachments"] = valid;
        assert_eq!(network.call("GC", "").result(), Value::Null);
        let mut left = network.installed.leftovers();
        left.sort();
        assert_eq!(left, expected);
    }
}

#[test]
fn an_exhausted_pool_is_no_failure_of_status_unless_it_is_asked_for() {
    let mut network = Network::new(&json!([[{"subnet": "10.1.0.0/24"}], [{"subnet": "10.2.0.0/30"}]]));
    network.add("c1");
    assert_eq!(network.call("STATUS", "").result(), Value::Null);
    network.conf["ipam"]["statusChecksAddresses"] = json!(true);
    let answer = network.call("STATUS", "");
    assert_eq!(answer.code(), 50);
    assert!(answer.msg().contains("no IP addresses available in range set: 10.2.0.1-10.2.0.2"), "{answer:?}");
    network.call("DEL", "c1").result();
    assert_eq!(network.call("STATUS", "").result(), Value::Null);
}

/// A file system of memory at the data folder.
struct Mounted<'a>(&'a Network);

impl<'a> Mounted<'a> {
    fn new(network: &'a Network) -> Self {
        let folder = network.installed.path().join("leases");
        fs::create_dir(&folder).unwrap();
        mount(Some("routerd-test"), &folder, Some("tmpfs"), MsFlags::empty(), Some("size=1m")).unwrap();
        Self(network)
    }

    fn make_read_only(&self) {
        let (flags, folder) =
            (MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, self.0.installed.path().join("leases"));
        mount(None::<&str>, &folder, None::<&str>, flags, None::<&str>).unwrap();
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = umount2(&self.0.installed.path().join("leases"), MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_read_only_file_system_is_told_by_add_del_and_status_and_changes_nothing() {
    let network = Network::new(&json!([[{"subnet": "10.1.0.0/24"}]]));
    let disk = Mounted::new(&network);
    network.add("c1");
    disk.make_read_only();
    for (operation, id, code) in [("ADD", "c2", 5), ("DEL", "c1", 5), ("STATUS", "", 50)] {
        let answer = network.call(operation, id);
        assert_eq!(answer.code(), code, "{operation}: {answer:?}");
        assert!(answer.msg().contains("Read-only file system"), "{operation}: {answer:?}");
    }
    assert_eq!(network.installed.leases(), ["10.1.0.2"]);
}
