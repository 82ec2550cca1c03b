//! Events at a small API server of our own.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use kube::Config;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::*;
use crate::runner::Problem;

const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";
const POLICY: &str = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies/web";

const SERVICE: &str = "/api/v1/namespaces/default/services/shop";

/// What is in the paths of a namespace that takes no Events.
const CLOSING: &str = "/namespaces/closing/";

/// What the server holds: Events by path, and whether it takes them.
#[derive(Debug, Default, Clone)]
struct Held {
    events: BTreeMap<String, Value>,
    forbidden: bool,
    refusals: u32,
}

type Server = watch::Sender<Held>;

fn failure(code: u16, reason: &str) -> (u16, Value) {
    let message = format!("events.events.k8s.io is {reason}");
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code}),
    )
}

fn answer(server: &Server, method: &Method, path: &str, body: &Value) -> (u16, Value) {
    let mut answer = failure(404, "NotFound");
    server.send_modify(|held| {
        if path.starts_with("/apis/events.k8s.io") && path.contains(CLOSING) {
            answer = failure(403, "Forbidden");
            return;
        }
        if !path.starts_with(EVENTS) {
            if [POLICY, SERVICE].contains(&path) || path.contains(CLOSING) {
                let name = path.rsplit('/').next();
                answer = (200, json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {"name": name, "uid": "u1"}}));
            }
            return;
        }
        if held.forbidden {
            held.refusals += 1;
            answer = failure(403, "Forbidden");
            return;
        }
        let name = body["metadata"]["name"].as_str().unwrap_or_default();
        let path = if *method == Method::POST { format!("{path}/{name}") } else { path.to_owned() };
        let known = held.events.get(&path).cloned();
        answer = match (method.as_str(), known) {
            ("POST", Some(_)) => failure(409, "AlreadyExists"),
            ("POST", None) => {
                held.events.insert(path, body.clone());
                (201, body.clone())
            }
            ("PATCH", Some(mut event)) => {
                event["series"] = body["series"].clone();
                held.events.insert(path, event.clone());
                (200, event)
            }
            ("GET", Some(event)) => (200, event),
            _ => failure(404, "NotFound"),
        };
    });
    answer
}

async fn serve(listener: TcpListener, server: Server) {
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        let server = server.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let server = server.clone();
                async move {
                    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let body = serde_json::from_slice(&body).unwrap_or_default();
                    let (code, value) = answer(&server, &method, &path, &body);
                    let mut response = Response::new(Full::new(Bytes::from(value.to_string())));
                    *response.status_mut() = hyper::StatusCode::from_u16(code).unwrap();
                    Ok::<_, Infallible>(response)
                }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
        });
    }
}

struct World {
    server: Server,
    plane: watch::Sender<Status>,
    messages: mpsc::Receiver<SourceMessage>,
    client: Client,
}

async fn world(forbidden: bool) -> World {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let server = Server::new(Held { forbidden, ..Held::default() });
    tokio::spawn(serve(listener, server.clone()));
    let client = Client::try_from(Config::new(format!("http://{address}").parse().unwrap())).unwrap();
    let (plane, receiver) = watch::channel(Status { name: "policy", ..Status::default() });
    let (sender, messages) = mpsc::channel(16);
    let reporter = Reporter { node: "node1".into(), planes: vec![receiver] };
    tokio::spawn(reporter.run(watch::channel(Some(client.clone())).1, sender));
    World { server, plane, messages, client }
}

impl World {
    fn problems(&self, problems: &[(&str, &str)]) {
        let problem = |(item, message): &(&str, &str)| Problem {
            item: (*item).to_owned(),
            message: (*message).to_owned(),
            retry: false,
        };
        self.plane.send_modify(|status| status.problems = problems.iter().map(problem).collect());
    }

    /// The Events once there are so many.
    async fn events(&self, count: usize) -> Vec<Value> {
        let mut held = self.server.subscribe();
        let enough = held.wait_for(|held| held.events.len() >= count);
        let held = tokio::time::timeout(Duration::from_secs(20), enough).await.unwrap().unwrap().clone();
        held.events.into_values().collect()
    }
}

#[tokio::test]
async fn a_problem_of_a_policy_is_an_event_on_it_that_names_node_reason_and_cause() {
    let world = world(false).await;
    world.problems(&[
        ("policy", "no nf_tables"),
        ("NetworkPolicy default/web", "spec.ingress[0]: endPort is below port"),
    ]);
    let events = world.events(1).await;
    let event = &events[0];
    assert_eq!(events.len(), 1, "the plane itself is no object");
    assert_eq!((&event["type"], &event["reason"]), (&json!("Warning"), &json!("PolicyNotEnforced")));
    assert_eq!(
        (&event["reportingController"], &event["reportingInstance"]),
        (&json!("routerd"), &json!("node1"))
    );
    assert!(event["note"].as_str().unwrap().contains("endPort is below port"), "{event:#}");
    let regarding = &event["regarding"];
    assert_eq!(
        (&regarding["kind"], &regarding["name"], &regarding["uid"]),
        (&json!("NetworkPolicy"), &json!("web"), &json!("u1"))
    );
    assert_eq!(regarding["namespace"], "default");
}

#[tokio::test]
async fn a_problem_of_a_service_is_an_event_on_it_and_one_of_all_services_is_none() {
    let world = world(false).await;
    let note = "annotation kube-router.io/service.scheduler: \"fastest\" is none of rr, wrr";
    world.problems(&[("Service default/shop", note), ("services on this node", "no br_netfilter")]);
    let events = world.events(1).await;
    assert_eq!(events.len(), 1, "{events:?}");
    let event = &events[0];
    assert_eq!((&event["reason"], &event["note"]), (&json!("ServiceNotProgrammed"), &json!(note)));
    let regarding = &event["regarding"];
    assert_eq!((&regarding["apiVersion"], &regarding["kind"]), (&json!("v1"), &json!("Service")));
    assert_eq!((&regarding["name"], &regarding["uid"]), (&json!("shop"), &json!("u1")));
}

#[tokio::test]
async fn the_same_is_one_event_with_a_count_and_something_else_is_another() {
    let world = world(false).await;
    world.problems(&[("NetworkPolicy default/web", "first")]);
    world.events(1).await;
    let trouble = Trouble::of(&world.plane.borrow().problems[0], "node1").unwrap();
    // As a daemon that has been started again does.
    for _ in 0..2 {
        write::write(&world.client, "node1", &trouble).await.unwrap();
    }
    assert_eq!(world.events(1).await[0]["series"]["count"], 3);
    world.problems(&[("NetworkPolicy default/web", "second")]);
    assert_eq!(world.events(2).await.len(), 2);
    write::write(&world.client, "node2", &trouble).await.unwrap();
    assert_eq!(world.events(3).await.len(), 3, "another node has its own");
}

#[tokio::test]
async fn an_object_that_is_gone_has_no_event() {
    let world = world(false).await;
    world.problems(&[("NetworkPolicy default/gone", "why"), ("NetworkPolicy default/web", "why")]);
    let events = world.events(1).await;
    assert!(events.len() == 1 && events[0]["regarding"]["name"] == "web", "{events:?}");
}

#[tokio::test]
async fn a_missing_right_is_said_once_with_the_remedy() {
    let mut world = world(true).await;
    world.problems(&[("NetworkPolicy default/web", "first")]);
    let message = world.messages.recv().await.unwrap();
    let SourceMessage::Problems { item, messages } = &message else { panic!("{message:?}") };
    assert!(
        item == "API server, Events" && messages[0].contains("create, get and patch of events"),
        "{message:?}"
    );
    for text in ["second", "third"] {
        world.problems(&[("NetworkPolicy default/web", text)]);
        tokio::time::sleep(2 * GATHER).await;
    }
    assert!(world.messages.try_recv().is_err());
    assert_eq!(world.server.borrow().refusals, 1, "and it is not tried each time");
}

#[tokio::test]
async fn a_namespace_that_takes_no_events_is_named_and_stops_none_of_the_others() {
    let mut world = world(false).await;
    let open = ("NetworkPolicy default/web", "why");
    world.problems(&[("NetworkPolicy closing/a", "why"), ("NetworkPolicy closing/b", "why"), open]);
    let events = world.events(1).await;
    assert_eq!(events[0]["regarding"]["namespace"], "default", "{events:?}");
    let mut said = async || match world.messages.recv().await {
        Some(SourceMessage::Problems { item, messages }) if item == ITEM => messages,
        other => panic!("{other:?}"),
    };
    let messages = said().await;
    assert!(messages.len() == 1 && messages[0].contains("namespace closing"), "{messages:?}");
    world.plane.send_modify(|status| status.problems.retain(|problem| problem.item == open.0));
    assert_eq!(said().await, Vec::<String>::new());
}
