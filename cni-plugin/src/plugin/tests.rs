//! The flow with a wiring that only takes notes, and a daemon in a thread: what is done, in which order, and what is
//! taken back.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::rc::Rc;
use std::thread;

use serde_json::{Value, json};

use super::{World, run};
use crate::address::Mac;
use crate::config::BridgeConf;
use crate::error::{CniError, Code};
use crate::ipam::Owner;
use crate::request::{Addresses, Request, Wired, Wiring};
use crate::result::{AddResult, Interface};
use crate::socket::{self, DaemonError, Reply, encode, read_frame};
use crate::tag::Tag;
use crate::undo::Undo;

/// Takes notes of what the flow asks for.
#[derive(Default, Clone)]
struct Notes {
    log: Rc<RefCell<Vec<String>>>,
    refuse: bool,
}

impl Notes {
    fn note(&self, text: impl Into<String>) {
        self.log.borrow_mut().push(text.into());
    }
}

impl Wiring for Notes {
    fn add(
        &self,
        request: &Request,
        bridge: &BridgeConf,
        addresses: &Addresses,
        undo: &mut Undo,
    ) -> Result<Wired, CniError> {
        self.note(format!("wire {}", bridge.bridge));
        if self.refuse {
            return Err(CniError::new(Code::EXISTS, "eth0 is there already"));
        }
        let notes = self.clone();
        undo.push("the wires", move || {
            notes.note("unwire");
            Ok(())
        });
        let interface = Interface { name: request.env.ifname.clone(), ..Interface::default() };
        let mut ips = addresses.ips.clone();
        for ip in &mut ips {
            ip.interface = Some(0);
        }
        let result = AddResult { interfaces: vec![interface], ips, ..AddResult::default() };
        Ok(Wired { result, host_interface: "veth1".into(), mac: Mac([2, 0, 0, 0, 0, 1]), announcement: None })
    }

    fn open(&self, _: &BridgeConf, result: &AddResult) -> Result<(), CniError> {
        self.note(format!("open for {} ips", result.ips.len()));
        Ok(())
    }

    fn del(&self, _: &Request, bridge: Option<&BridgeConf>, known: &[IpAddr]) -> Result<(), CniError> {
        self.note(format!("del {:?} {known:?}", bridge.map(|bridge| bridge.bridge.as_str())));
        if self.refuse { Err(CniError::new(Code::KERNEL, "the device stays")) } else { Ok(()) }
    }

    fn check(&self, _: &Request, _: &BridgeConf, prev: &AddResult) -> Result<(), CniError> {
        self.note(format!("check {} ips", prev.ips.len()));
        Ok(())
    }

    fn collect(&self, network: &str, valid: &BTreeSet<Owner>) -> Result<Vec<Tag>, CniError> {
        self.note(format!("collect {network} but {} attachments", valid.len()));
        Ok(Vec::new())
    }

    fn status(&self, _: &Request, _: &BridgeConf) -> Result<(), CniError> {
        Ok(())
    }
}

/// Runs `command` as `called` with a configuration; the answer is the exit status and what is on stdout.
fn call(called: &str, command: &str, conf: &Value, wiring: &Notes) -> (u8, Value) {
    let variable = |name: &str| {
        let value = match name {
            "CNI_COMMAND" => command,
            "CNI_CONTAINERID" => "c1",
            "CNI_NETNS" => "/dev/null",
            "CNI_IFNAME" => "eth0",
            "CNI_ARGS" => "K8S_POD_NAME=web-0;K8S_POD_NAMESPACE=shop;IgnoreUnknown=1",
            _ => return None,
        };
        Some(value.to_owned())
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let status = run(
        &mut World {
            called,
            variable: &variable,
            stdin: &mut conf.to_string().as_bytes(),
            stdout: &mut stdout,
            stderr: &mut stderr,
        },
        wiring,
    );
    let text = String::from_utf8(stdout).unwrap();
    (status, if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() })
}

fn conf(folder: &Path) -> Value {
    json!({
        "cniVersion": "1.0.0", "name": "n", "type": "routerd-cni",
        "routerd": {"socket": folder.join("cni.sock"), "timeoutMs": 200},
        "ipam": {"type": "host-local", "dataDir": folder, "ranges": [[{"subnet": "10.1.2.0/30"}]]},
    })
}

fn leases(folder: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(folder.join("n")) else { return Vec::new() };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.parse::<IpAddr>().is_ok()).collect()
}

/// A daemon that answers each of `replies` once; what it was told is the thread's result.
fn daemon(folder: &Path, replies: Vec<Reply>) -> thread::JoinHandle<Vec<socket::Request>> {
    let listener = UnixListener::bind(folder.join("cni.sock")).unwrap();
    thread::spawn(move || {
        let answer = |reply: Reply| {
            let (mut stream, _) = listener.accept().unwrap();
            let request = read_frame(&mut stream).unwrap();
            // The teller of a detach does not wait for the answer.
            drop(std::io::Write::write_all(&mut stream, &encode(&reply).unwrap()));
            request
        };
        replies.into_iter().map(answer).collect()
    })
}

#[test]
fn add_reserves_wires_and_answers_after_the_daemon_has_committed() {
    let folder = tempfile::tempdir().unwrap();
    let server = daemon(folder.path(), vec![Reply::Committed]);
    let wiring = Notes::default();
    let (status, result) = call("routerd-cni", "ADD", &conf(folder.path()), &wiring);
    assert_eq!((status, &result["ips"][0]["address"]), (0, &json!("10.1.2.2/30")), "{result}");
    assert_eq!(*wiring.log.borrow(), ["wire kube-bridge", "open for 1 ips"]);
    assert_eq!(leases(folder.path()), ["10.1.2.2"]);
    let socket::Request::Attach(attach) = server.join().unwrap().remove(0) else { panic!("no attach") };
    assert_eq!((attach.pod_namespace.as_str(), attach.pod_name.as_str()), ("shop", "web-0"));
    assert_eq!((attach.host_interface.as_str(), attach.mac.as_str()), ("veth1", "02:00:00:00:00:01"));
    assert_eq!(attach.addresses, ["10.1.2.2".parse::<IpAddr>().unwrap()]);
}

#[test]
fn an_absent_daemon_fails_the_add_with_try_again_and_nothing_stays() {
    let folder = tempfile::tempdir().unwrap();
    let wiring = Notes::default();
    let (status, error) = call("routerd-cni", "ADD", &conf(folder.path()), &wiring);
    assert_eq!((status, &error["code"]), (1, &json!(11)), "{error}");
    assert!(error["msg"].as_str().unwrap().contains("cni.sock"), "{error}");
    assert!(error["details"].as_str().unwrap().contains("routerd pod"), "{error}");
    assert_eq!(*wiring.log.borrow(), ["wire kube-bridge", "unwire"]);
    assert_eq!(leases(folder.path()), Vec::<String>::new());
}

#[test]
fn a_refusal_of_the_daemon_is_passed_on_and_the_daemon_hears_that_the_pod_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = DaemonError { code: 11, msg: "policy of shop/web-0: the kernel is out of memory".into() };
    let server = daemon(folder.path(), vec![Reply::Error(refusal), Reply::Detached]);
    let wiring = Notes::default();
    let (_, error) = call("routerd-cni", "ADD", &conf(folder.path()), &wiring);
    assert_eq!(error["msg"], "routerd: policy of shop/web-0: the kernel is out of memory");
    assert_eq!(*wiring.log.borrow(), ["wire kube-bridge", "unwire"]);
    assert!(
        matches!(&server.join().unwrap()[1], socket::Request::Detach(detach) if detach.container_id == "c1")
    );
}

#[test]
fn a_daemon_that_is_not_required_may_be_away() {
    let folder = tempfile::tempdir().unwrap();
    let mut conf = conf(folder.path());
    conf["routerd"]["required"] = json!(false);
    assert_eq!(call("routerd-cni", "ADD", &conf, &Notes::default()).0, 0);
}

#[test]
fn the_role_bridge_knows_no_daemon_unless_it_is_told_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut conf = conf(folder.path());
    conf.as_object_mut().unwrap().remove("routerd");
    let wiring = Notes::default();
    assert_eq!(call("bridge", "ADD", &conf, &wiring).0, 0);
    assert_eq!(*wiring.log.borrow(), ["wire cni0", "open for 1 ips"]);
}

#[test]
fn a_wiring_that_fails_leaves_no_lease() {
    let folder = tempfile::tempdir().unwrap();
    let wiring = Notes { refuse: true, ..Notes::default() };
    let (_, error) = call("routerd-cni", "ADD", &conf(folder.path()), &wiring);
    assert_eq!((&error["code"], &error["msg"]), (&json!(101), &json!("eth0 is there already")));
    assert_eq!(leases(folder.path()), Vec::<String>::new());
}

#[test]
fn del_needs_no_daemon_and_releases_the_lease_when_the_device_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let mut conf = conf(folder.path());
    conf["routerd"]["required"] = json!(false);
    call("routerd-cni", "ADD", &conf, &Notes::default());
    conf["routerd"]["required"] = json!(true);
    let stuck = Notes { refuse: true, ..Notes::default() };
    assert_eq!(call("routerd-cni", "DEL", &conf, &stuck).0, 1);
    assert_eq!(leases(folder.path()), ["10.1.2.2"], "the address of a device that stays is not free");
    let wiring = Notes::default();
    assert_eq!(call("routerd-cni", "DEL", &conf, &wiring), (0, Value::Null));
    assert_eq!(*wiring.log.borrow(), ["del Some(\"kube-bridge\") [10.1.2.2]"]);
    assert_eq!(leases(folder.path()), Vec::<String>::new());
    assert_eq!(call("routerd-cni", "DEL", &conf, &wiring), (0, Value::Null));
}

#[test]
fn del_works_with_a_configuration_whose_other_half_is_broken() {
    let folder = tempfile::tempdir().unwrap();
    let mut good = conf(folder.path());
    good["routerd"]["required"] = json!(false);
    call("routerd-cni", "ADD", &good, &Notes::default());
    good["ipam"]["ranges"] = json!([]);
    good["bridge"] = json!("a-name-that-is-much-too-long");
    good["routerd"] = json!(7);
    let wiring = Notes::default();
    assert_eq!(call("routerd-cni", "DEL", &good, &wiring), (0, Value::Null));
    assert_eq!(*wiring.log.borrow(), ["del None [10.1.2.2]"]);
    assert_eq!(leases(folder.path()), Vec::<String>::new());
}

#[test]
fn before_the_node_has_ranges_the_runtime_is_asked_to_come_again_and_status_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut conf = conf(folder.path());
    conf["ipam"]["ranges"] = json!([]);
    let wiring = Notes::default();
    let (_, error) = call("routerd-cni", "ADD", &conf, &wiring);
    assert_eq!(error["code"], 11, "{error}");
    assert!(error["msg"].as_str().unwrap().contains("no pod CIDR"), "{error}");
    conf["cniVersion"] = json!("1.1.0");
    assert_eq!(call("routerd-cni", "STATUS", &conf, &wiring).1["code"], 50);
    assert!(wiring.log.borrow().is_empty());
}

#[test]
fn an_exhausted_range_is_try_again_with_the_text_people_look_for() {
    let folder = tempfile::tempdir().unwrap();
    let mut conf = conf(folder.path());
    conf["routerd"]["required"] = json!(false);
    std::fs::create_dir(folder.path().join("n")).unwrap();
    std::fs::write(folder.path().join("n/10.1.2.2"), "other\r\neth0").unwrap();
    let (_, error) = call("routerd-cni", "ADD", &conf, &Notes::default());
    assert_eq!(
        (&error["code"], &error["msg"]),
        (
            &json!(11),
            &json!(
                "failed to allocate for range 0: no IP addresses available in range set: 10.1.2.1-10.1.2.2"
            )
        )
    );
}

#[test]
fn check_needs_the_result_of_the_add_and_the_lease() {
    let folder = tempfile::tempdir().unwrap();
    let mut conf = conf(folder.path());
    conf["routerd"]["required"] = json!(false);
    let (_, result) = call("routerd-cni", "ADD", &conf, &Notes::default());
    assert_eq!(
        call("routerd-cni", "CHECK", &conf, &Notes::default()).1["msg"],
        "Required prevResult missing"
    );
    conf["prevResult"] = result;
    let wiring = Notes::default();
    assert_eq!(call("routerd-cni", "CHECK", &conf, &wiring), (0, Value::Null));
    assert_eq!(*wiring.log.borrow(), ["check 1 ips"]);
    std::fs::remove_file(folder.path().join("n/10.1.2.2")).unwrap();
    let (_, error) = call("routerd-cni", "CHECK", &conf, &wiring);
    assert_eq!(error["msg"], "host-local: Failed to find address added by container c1");
}

#[test]
fn gc_frees_what_is_not_listed_and_nothing_when_the_list_is_absent() {
    let folder = tempfile::tempdir().unwrap();
    let mut conf = conf(folder.path());
    conf["cniVersion"] = json!("1.1.0");
    std::fs::create_dir(folder.path().join("n")).unwrap();
    for (name, content) in [("10.1.2.2", "c1\r\neth0"), ("10.1.2.3", "c2\r\neth0"), ("10.1.2.4", "c1")] {
        std::fs::write(folder.path().join("n").join(name), content).unwrap();
    }
    assert_eq!(call("routerd-cni", "GC", &conf, &Notes::default()), (0, Value::Null));
    assert_eq!(leases(folder.path()).len(), 3);
    conf["cni.dev/valid-attachments"] = json!([{"containerID": "c1", "ifname": "eth0"}]);
    assert_eq!(call("routerd-cni", "GC", &conf, &Notes::default()), (0, Value::Null));
    let mut left = leases(folder.path());
    left.sort();
    assert_eq!(left, ["10.1.2.2", "10.1.2.4"]);
    conf["cni.dev/valid-attachments"] = Value::Null;
    assert_eq!(call("host-local", "GC", &conf, &Notes::default()), (0, Value::Null));
    assert_eq!(leases(folder.path()), Vec::<String>::new());
}

#[test]
fn port_mappings_alone_are_refused_because_there_is_no_pod_to_lead_to() {
    let folder = tempfile::tempdir().unwrap();
    let (status, error) = call("portmap", "ADD", &conf(folder.path()), &Notes::default());
    assert_eq!((status, &error["code"]), (1, &json!(7)));
    assert_eq!(error["msg"], "must be called as chained plugin");
}

#[test]
fn a_foreign_ipam_that_is_not_there_is_named_but_the_devices_still_go() {
    let folder = tempfile::tempdir().unwrap();
    let mut conf = conf(folder.path());
    conf["ipam"]["type"] = json!("dhcp");
    let wiring = Notes::default();
    let (_, error) = call("bridge", "ADD", &conf, &wiring);
    assert_eq!(error["code"], 4);
    assert!(error["msg"].as_str().unwrap().contains("CNI_PATH"), "{error}");
    assert_eq!(call("bridge", "DEL", &conf, &wiring).0, 1);
    assert_eq!(*wiring.log.borrow(), ["del Some(\"cni0\") []"]);
}

#[test]
fn layer_two_has_no_addresses_and_old_results_refuse_it_before_anything_is_made() {
    let wiring = Notes::default();
    let conf = |version: &str| json!({"cniVersion": version, "name": "n", "type": "bridge"});
    assert_eq!(call("bridge", "ADD", &conf("0.3.1"), &wiring).0, 0);
    assert_eq!(wiring.log.borrow_mut().drain(..).count(), 2);
    let (_, error) = call("bridge", "ADD", &conf("0.2.0"), &wiring);
    assert_eq!(error["msg"], "cannot convert: no valid IP addresses");
    assert!(wiring.log.borrow().is_empty());
}
