//! The role `routerd-cni` as a process between a node, a pod and a daemon: after an ADD the policy is committed, or
//! nothing is there.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::disallowed_methods, reason = "the plugin is tested as the process that a runtime starts")]

mod plugin;

use std::io::Write as _;
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Child, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cni_plugin::socket::{Attach, DaemonError, Reply, Request, encode, read_frame};
use kernel::testing::TestNs;
use plugin::{Answer, Installed, finish};
use serde_json::{Value, json};

struct Lab {
    installed: Installed,
    node: TestNs,
    pod: TestNs,
}

impl Lab {
    fn new() -> Self {
        Self { installed: Installed::new(), node: TestNs::new("node"), pod: TestNs::new("pod") }
    }

    fn conf(&self, timeout: u32) -> Value {
        json!({
            "cniVersion": "1.1.0", "name": "n", "type": "routerd-cni", "isDefaultGateway": true,
            "routerd": {"socket": self.socket(), "timeoutMs": timeout},
            "ipam": {
                "type": "host-local", "dataDir": self.installed.path().join("leases"),
                "ranges": [[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd09::/64"}]],
            },
        })
    }

    fn socket(&self) -> std::path::PathBuf {
        self.installed.path().join("cni.sock")
    }

    fn spawn(&self, operation: &str, id: &str) -> Child {
        let mut command = self.node.command(self.installed.path().join("routerd-cni").to_str().unwrap());
        command
            .env("CNI_COMMAND", operation)
            .env("CNI_CONTAINERID", id)
            .env("CNI_NETNS", self.pod.path())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_ARGS", "K8S_POD_NAME=web-0;K8S_POD_NAMESPACE=shop;K8S_POD_UID=u1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    fn run(&self, operation: &str, conf: &Value) -> Answer {
        finish(self.spawn(operation, "c1"), conf.to_string().as_bytes())
    }

    /// A daemon for one connection.
    fn daemon(&self, serve: impl FnOnce(UnixStream) + Send + 'static) -> JoinHandle<()> {
        let listener = UnixListener::bind(self.socket()).unwrap();
        thread::spawn(move || serve(listener.accept().unwrap().0))
    }

    fn assert_clean(&self) {
        assert_eq!(self.installed.leftovers(), Vec::<String>::new());
        assert!(!self.node.run("ip", &["-o", "link"]).contains("veth"), "a device stays on the node");
        assert_eq!(self.pod.run("ip", &["-o", "link"]).lines().count(), 1, "only lo is in the pod");
    }
}

/// A TCP connection from one namespace reaches `address` in another.
fn connects(from: &TestNs, to: &TestNs, address: &str) -> bool {
    let address: IpAddr = address.parse().unwrap();
    let listener = to.run_in(|| TcpListener::bind((address, 0)).unwrap());
    let target = listener.local_addr().unwrap();
    from.run_in(|| TcpStream::connect_timeout(&target, Duration::from_secs(20)).is_ok())
}

fn attach_of(stream: &mut UnixStream) -> Attach {
    let request = read_frame(stream).unwrap();
    assert!(matches!(request, Request::Attach(_)), "{request:?}");
    if let Request::Attach(attach) = request { attach } else { Attach::default() }
}

fn send(stream: &mut UnixStream, reply: &Reply) {
    stream.write_all(&encode(reply).unwrap()).unwrap();
}

#[test]
fn an_add_ends_after_the_daemon_has_committed_and_the_pod_is_as_it_was_told() {
    let lab = Lab::new();
    let (node, pod) = (lab.node.name().to_owned(), lab.pod.path());
    let server = lab.daemon(move |mut stream| {
        let attach = attach_of(&mut stream);
        assert_eq!(attach.netns.to_str(), Some(pod.as_str()));
        assert_eq!(
            (attach.pod_namespace.as_str(), attach.pod_name.as_str(), attach.pod_uid.as_str()),
            ("shop", "web-0", "u1")
        );
        let addresses: Vec<IpAddr> = ["10.9.0.2", "fd09::2"].map(|ip| ip.parse().unwrap()).to_vec();
        assert_eq!(attach.addresses, addresses);
        // The device is there already when the daemon hears of it.
        let device = ["-n", &node, "link", "show", &attach.host_interface];
        let seen = std::process::Command::new("ip").args(device).output().unwrap();
        assert!(seen.status.success(), "{attach:?}");
        thread::sleep(Duration::from_millis(150));
        send(&mut stream, &Reply::Committed);
    });
    let started = Instant::now();
    let result = lab.run("ADD", &lab.conf(20_000)).result();
    assert!(started.elapsed() >= Duration::from_millis(150), "it did not wait for the commit");
    server.join().unwrap();
    assert_eq!(result["interfaces"][0]["name"], "kube-bridge");
    assert!(connects(&lab.pod, &lab.node, "10.9.0.1") && connects(&lab.pod, &lab.node, "fd09::1"));
    std::fs::remove_file(lab.socket()).unwrap();
    // The daemon is away: DEL does not need it.
    assert_eq!(lab.run("DEL", &lab.conf(20_000)).result(), Value::Null);
    lab.assert_clean();
}

#[test]
fn a_daemon_that_is_away_or_hangs_ends_in_try_again_in_bounded_time_and_nothing_is_left() {
    for hangs in [false, true] {
        let lab = Lab::new();
        let _listener = hangs.then(|| UnixListener::bind(lab.socket()).unwrap());
        let started = Instant::now();
        let answer = lab.run("ADD", &lab.conf(300));
        assert!(started.elapsed() < Duration::from_mins(1));
        assert_eq!(answer.code(), 11);
        assert!(answer.msg().contains("cni.sock"), "{answer:?}");
        lab.assert_clean();
    }
}

#[test]
fn a_daemon_that_refuses_closes_or_talks_nonsense_leaves_no_pod_either() {
    let refuse = |mut stream: UnixStream| {
        attach_of(&mut stream);
        let msg = "pod shop/web-0 is not known".into();
        send(&mut stream, &Reply::Error(DaemonError { code: 11, msg }));
    };
    let close = |mut stream: UnixStream| drop(attach_of(&mut stream));
    // The request is read first: what closes with something unread may lose its own words.
    let say = |bytes: &'static [u8]| {
        move |mut stream: UnixStream| {
            attach_of(&mut stream);
            stream.write_all(bytes).unwrap();
        }
    };
    type Serve = Box<dyn FnOnce(UnixStream) + Send>;
    let cases: [(Serve, u64, &str); 4] = [
        (Box::new(refuse), 11, "not known"),
        // The only one that is asked again, until its time is over.
        (Box::new(close), 11, "cannot be reached"),
        (Box::new(say(b"\0\0\0\x08nonsense")), 103, "no message"),
        (Box::new(say(&[0xff; 64])), 103, "longer than the limit"),
    ];
    for (serve, code, text) in cases {
        let lab = Lab::new();
        let server = lab.daemon(serve);
        let answer = lab.run("ADD", &lab.conf(3000));
        assert_eq!(answer.code(), code, "{text}");
        assert!(answer.msg().contains(text), "{answer:?}");
        lab.assert_clean();
        server.join().unwrap();
    }
}

/// A daemon of another version for the first `others` connections, then one of ours.
fn replaced_after(lab: &Lab, version: u32, others: usize) {
    let listener = UnixListener::bind(lab.socket()).unwrap();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let Ok(request) = read_frame::<Request>(&mut stream) else { continue };
            if number < others {
                let body = format!("{{\"version\":{version},\"body\":null}}");
                let length = u32::try_from(body.len()).unwrap().to_be_bytes();
                drop(stream.write_all(&[&length[..], body.as_bytes()].concat()));
            } else if matches!(request, Request::Attach(_)) {
                send(&mut stream, &Reply::Committed);
            }
        }
    });
}

#[test]
fn a_daemon_of_an_older_or_newer_version_is_waited_for_until_it_is_replaced_and_else_is_try_again() {
    for version in [0, 2] {
        let lab = Lab::new();
        replaced_after(&lab, version, 2);
        lab.run("ADD", &lab.conf(60_000)).result();
        let lab = Lab::new();
        replaced_after(&lab, version, usize::MAX);
        let answer = lab.run("ADD", &lab.conf(3000));
        assert_eq!(answer.code(), 11);
        assert!(answer.msg().contains(&format!("version {version}")), "{answer:?}");
        lab.assert_clean();
    }
}

#[test]
fn status_asks_a_daemon_that_hangs_only_when_told_to_and_not_for_long() {
    let lab = Lab::new();
    let _listener = UnixListener::bind(lab.socket()).unwrap();
    assert_eq!(lab.run("STATUS", &lab.conf(60_000)).result(), Value::Null);
    let mut conf = lab.conf(60_000);
    conf["routerd"]["inStatus"] = json!(true);
    let answer = lab.run("STATUS", &conf);
    assert_eq!(answer.code(), 50);
    assert!(answer.msg().contains("did not answer within 1s"), "{answer:?}");
}

#[test]
fn status_tells_why_a_daemon_would_serve_no_pod() {
    let lab = Lab::new();
    let server = lab.daemon(|mut stream| {
        assert_eq!(read_frame::<Request>(&mut stream).unwrap(), Request::Status);
        send(
            &mut stream,
            &Reply::Status { ready: false, reason: "policy: the first sync is under way".into() },
        );
    });
    let mut conf = lab.conf(60_000);
    conf["routerd"]["inStatus"] = json!(true);
    let answer = lab.run("STATUS", &conf);
    assert_eq!(answer.code(), 50);
    assert!(answer.msg().contains("first sync"), "{answer:?}");
    server.join().unwrap();
}

#[test]
fn an_add_that_is_killed_while_it_waits_for_the_daemon_is_cleaned_by_del() {
    let lab = Lab::new();
    let listener = UnixListener::bind(lab.socket()).unwrap();
    let mut child = lab.spawn("ADD", "c1");
    drop(child.stdin.take().unwrap().write_all(lab.conf(60_000).to_string().as_bytes()));
    let (mut stream, _) = listener.accept().unwrap();
    attach_of(&mut stream);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(lab.node.run("ip", &["-o", "link"]).contains("veth"));
    assert_eq!(lab.run("DEL", &lab.conf(60_000)).result(), Value::Null);
    assert!(
        matches!(read_frame(&mut listener.accept().unwrap().0).unwrap(), Request::Detach(detach) if detach.container_id == "c1")
    );
    lab.assert_clean();
}

#[test]
fn pods_that_come_at_once_all_get_their_own_address() {
    let lab = Lab::new();
    let mut conf = lab.conf(1000);
    conf["routerd"]["required"] = json!(false);
    let text = conf.to_string();
    let pods: Vec<TestNs> = (0..12).map(|_| TestNs::new("many")).collect();
    let children: Vec<Child> = pods
        .iter()
        .enumerate()
        .map(|(number, pod)| {
            let mut command = lab.node.command(lab.installed.path().join("routerd-cni").to_str().unwrap());
            command
                .env("CNI_COMMAND", "ADD")
                .env("CNI_CONTAINERID", format!("c{number}"))
                .env("CNI_NETNS", pod.path())
                .env("CNI_IFNAME", "eth0")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
            child
        })
        .collect();
    for child in children {
        let answer: Answer = child.wait_with_output().unwrap().into();
        answer.result();
    }
    assert_eq!(lab.installed.leases().len(), 24);
    assert!((0..12).all(|number| connects(&pods[number], &lab.node, "10.9.0.1")));
}
