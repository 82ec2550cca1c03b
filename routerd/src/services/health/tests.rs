//! Health checks as a load balancer asks them: HTTP over TCP, in a namespace of the test's own.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use kernel::testing::TestNs;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use super::*;
use crate::cluster::objects::{Endpoint, EndpointSlice, Node, ObjectName, Service, ServiceKind};
use crate::cluster::{Event, Index, Object, ObjectKey};
use crate::runner::{Apply, Plane as _, Problem, Report, Scope, Status};
use crate::services::tests::fixture;

const NODE: &str = "0.0.0.0:10256";

/// A node with its index, its plane, and the state of the proxy.
struct World {
    namespace: TestNs,
    index: Index,
    applier: Applier,
    proxy: watch::Sender<Status>,
    // Last: the servers end before what they run in.
    _runtime: Runtime,
}

fn world() -> World {
    let runtime = Runtime::new().unwrap();
    let proxy = watch::Sender::new(Status { name: "services", synced: true, ..Status::default() });
    let applier = Applier::new(runtime.handle().clone(), proxy.subscribe());
    let index = fixture::index(Vec::new());
    World { namespace: TestNs::new("health"), index, applier, proxy, _runtime: runtime }
}

/// A load balancer's Service that only nodes with endpoints serve.
fn local(port: u16) -> Service {
    Service {
        kind: ServiceKind::LoadBalancer,
        external_local: true,
        health_check_node_port: Some(port),
        ..fixture::service("web", "10.96.0.1")
    }
}

impl World {
    fn put(&mut self, object: Object) {
        self.index.apply(Event::Upsert(object));
    }

    fn endpoints(&mut self, suffix: &str, endpoints: Vec<Endpoint>) {
        let slice: EndpointSlice = fixture::slice("web", suffix, endpoints);
        self.put(Object::EndpointSlice(slice));
    }

    fn node(&mut self, leaving: bool) {
        self.put(Object::Node(Node { leaving, ..fixture::node() }));
    }

    fn apply(&mut self) -> Report {
        let plane = HealthChecks { node: Some(NODE.parse().unwrap()) };
        let keys = plane.keys(&self.index).into_iter();
        let desired: BTreeMap<Key, Check> =
            keys.filter_map(|key| Some((key.clone(), plane.desired(&self.index, &key)?))).collect();
        let applier = &mut self.applier;
        self.namespace.run_in(|| applier.apply(&desired, &Scope::Everything))
    }

    /// The head and the body of the answer; `None` if nobody listens.
    fn ask(&self, address: &str, path: &str) -> Option<(String, String)> {
        let address: SocketAddr = address.parse().unwrap();
        self.namespace.run_in(|| {
            let mut stream = TcpStream::connect(address).ok()?;
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            Some((head.to_lowercase(), body.to_owned()))
        })
    }

    /// Status code and JSON.
    fn json(&self, port: u16, path: &str) -> (u16, Value) {
        let (head, body) = self.ask(&format!("127.0.0.1:{port}"), path).unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, serde_json::from_str(&body).unwrap())
    }

    fn code(&self, path: &str) -> u16 {
        self.json(10256, path).0
    }
}

#[test]
fn a_local_service_answers_with_its_endpoints_of_this_node_and_follows_them() {
    let mut world = world();
    world.put(Object::Service(local(32000)));
    world.endpoints("a", vec![fixture::ready("10.1.2.2")]);
    assert_eq!(world.apply().problems, Vec::new());
    let none = json!({"service": {"namespace": "default", "name": "web"}, "localEndpoints": 0, "serviceProxyHealthy": true});
    assert_eq!(world.json(32000, "/healthz"), (503, none));

    let here = |address: &str| fixture::here(fixture::ready(address));
    world.endpoints("a", vec![here("10.1.1.2"), here("10.1.1.3"), fixture::ready("10.1.2.2")]);
    world.endpoints("b", vec![here("10.1.1.3")]);
    world.endpoints("c", vec![here("fd00:1:1::2"), here("fd00:1:1::3")]);
    world.apply();
    let (code, body) = world.json(32000, "/");
    assert_eq!(
        (code, &body["localEndpoints"]),
        (200, &json!(2)),
        "a pod of two slices or two families is one"
    );
    let (head, _) = world.ask("[::1]:32000", "/healthz").unwrap();
    assert!(head.contains("x-load-balancing-endpoint-weight: 2"), "{head}");
    assert!(head.contains("content-type: application/json"), "{head}");

    world.endpoints("b", Vec::new());
    world.endpoints("c", Vec::new());
    world.endpoints("a", vec![fixture::here(fixture::ending("10.1.1.2")), fixture::ready("10.1.2.2")]);
    world.apply();
    assert_eq!(world.json(32000, "/healthz").0, 503, "one that terminates is no reason to send here");
}

#[test]
fn a_port_is_open_only_while_a_service_asks_for_it() {
    let mut world = world();
    world.put(Object::Service(local(32001)));
    world.apply();
    assert!(world.ask("127.0.0.1:32001", "/").is_some());
    let rejected = [
        Service { external_local: false, ..local(32001) },
        Service { kind: ServiceKind::NodePort, ..local(32001) },
        Service {
            labels: [("service.kubernetes.io/service-proxy-name".to_owned(), "other".to_owned())].into(),
            ..local(32001)
        },
    ];
    for service in rejected {
        world.put(Object::Service(service));
        world.apply();
        assert_eq!(world.ask("127.0.0.1:32001", "/"), None);
        world.put(Object::Service(local(32001)));
        world.apply();
        assert!(world.ask("127.0.0.1:32001", "/").is_some());
    }
    world.put(Object::Service(local(32002)));
    world.put(Object::Service(Service { name: ObjectName::new("default", "zeta"), ..local(32001) }));
    assert_eq!(world.apply().problems, Vec::new(), "a port that one Service leaves can be another's at once");
    assert_eq!(world.json(32001, "/").1["service"]["name"], "zeta");
    for name in ["web", "zeta"] {
        world.index.apply(Event::Delete(ObjectKey::Service(ObjectName::new("default", name))));
    }
    world.apply();
    assert!([32001, 32002].iter().all(|port| world.ask(&format!("127.0.0.1:{port}"), "/").is_none()));
}

#[test]
fn a_port_of_somebody_else_is_a_problem_of_that_service_until_it_is_free() {
    let mut world = world();
    let taken = world.namespace.run_in(|| TcpListener::bind("[::]:32003").unwrap());
    world.put(Object::Service(local(32003)));
    world.put(Object::Service(Service { name: ObjectName::new("default", "zeta"), ..local(32004) }));
    let problems = world.apply().problems;
    let [problem] = &problems[..] else { panic!("{problems:?}") };
    assert_eq!((problem.item.as_str(), problem.retry), ("Service default/web", true));
    assert!(problem.message.contains("32003") && problem.message.contains("in use"), "{}", problem.message);
    assert_eq!(world.json(32004, "/").0, 503, "the other Service has its port");
    drop(taken);
    assert_eq!(world.apply().problems, Vec::new());
    assert_eq!(world.json(32003, "/").0, 503);
}

#[test]
fn the_node_is_healthy_until_it_is_about_to_go_and_alive_also_then() {
    let mut world = world();
    world.apply();
    let (code, body) = world.json(10256, "/healthz");
    assert_eq!((code, &body["nodeEligible"]), (200, &json!(true)));
    world.node(true);
    world.apply();
    let (code, body) = world.json(10256, "/healthz");
    assert_eq!((code, &body["nodeEligible"]), (503, &json!(false)));
    assert_eq!(world.code("/livez"), 200);
    world.node(false);
    world.apply();
    assert_eq!(world.code("/healthz"), 200);
    assert!(world.ask("127.0.0.1:10256", "/metrics").unwrap().0.contains("404"));
}

#[test]
fn a_proxy_that_does_not_work_is_healthy_nowhere() {
    let mut world = world();
    world.put(Object::Service(local(32005)));
    world.endpoints("a", vec![fixture::here(fixture::ready("10.1.1.2"))]);
    world.apply();
    assert_eq!(world.json(32005, "/").0, 200);
    let broken = Problem { item: "services".into(), message: "no IPVS".into(), retry: true };
    world.proxy.send_modify(|status| status.problems = vec![broken]);
    let (code, body) = world.json(32005, "/");
    assert_eq!((code, &body["serviceProxyHealthy"]), (503, &json!(false)));
    assert_eq!((world.code("/healthz"), world.code("/livez")), (503, 503));
    world.proxy.send_modify(|status| status.problems = Vec::new());
    assert_eq!((world.json(32005, "/").0, world.code("/healthz")), (200, 200));
}

#[test]
fn what_is_served_already_is_left_alone() {
    let mut world = world();
    world.put(Object::Service(local(32006)));
    assert_eq!(world.apply().writes, 2, "the node and one Service");
    assert_eq!(world.apply().writes, 0);
    world.endpoints("a", vec![fixture::here(fixture::ready("10.1.1.2"))]);
    assert_eq!(world.apply().writes, 0, "another answer needs no other port");
}
