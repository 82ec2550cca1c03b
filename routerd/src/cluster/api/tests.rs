//! The watches against a small API server of our own.

mod credentials;
mod outage;
mod silent;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch as published};

use super::*;
use crate::cluster::objects::Attachment;
use crate::cluster::source::Hold;
use crate::cluster::task::{Ends, Handle, Settings, Task};
use crate::cluster::{Event, Kind, ObjectKey};

const PODS: &str = "/api/v1/pods";

/// What the server answers: GETs by path, and a log of watch events by path.
#[derive(Debug, Clone, Default)]
struct Content {
    answers: BTreeMap<String, (u16, Value)>,
    events: Vec<(String, Value)>,
    /// Where it is not as quick as a server should be; of a watch by its path with `?watch`.
    quiet: BTreeMap<String, Quiet>,
    /// The only token that is taken, if there is one.
    token: Option<String>,
}

/// What the server leaves out of an answer.
#[derive(Debug, Clone, Copy)]
enum Quiet {
    Altogether,
    AfterTheFirstPart,
    /// It only takes this time between the parts.
    BetweenParts(Duration),
}

impl Content {
    fn answer(&mut self, path: &str, code: u16, value: Value) {
        self.answers.insert(path.to_owned(), (code, value));
    }
}

type Body = StreamBody<BoxStream<'static, Result<Frame<Bytes>, Infallible>>>;

fn whole(code: u16, value: &Value) -> Response<Body> {
    let frame = Frame::data(Bytes::from(value.to_string()));
    let mut response = Response::new(StreamBody::new(stream::iter([Ok(frame)]).boxed()));
    *response.status_mut() = hyper::StatusCode::from_u16(code).unwrap();
    response
}

/// The log of `path` from its beginning, then what comes.
fn follow(path: String, content: published::Receiver<Content>) -> Response<Body> {
    let frames = stream::unfold((0, content), move |(mut at, mut content)| {
        let path = path.clone();
        async move {
            loop {
                let next = content.borrow_and_update().events.get(at).cloned();
                match next {
                    Some((of, event)) => {
                        at += 1;
                        if of == path {
                            let line = Frame::data(Bytes::from(format!("{event}\n")));
                            return Some((Ok(line), (at, content)));
                        }
                    }
                    None => content.changed().await.ok()?,
                }
            }
        }
    });
    Response::new(StreamBody::new(frames.boxed()))
}

fn respond(request: &Request<Incoming>, content: &published::Receiver<Content>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let token = content.borrow().token.clone();
    if token.is_some_and(|token| {
        request.headers().get("authorization").is_none_or(|has| *has != format!("Bearer {token}"))
    }) {
        return whole(401, &failure(401, "Unauthorized"));
    }
    if request.uri().query().unwrap_or_default().contains("watch=true") {
        return follow(path, content.clone());
    }
    match content.borrow().answers.get(&path) {
        Some((code, value)) => whole(*code, value),
        None if path.split('/').count() > 5 => whole(404, &failure(404, "not found")),
        None => whole(200, &list(&[])),
    }
}

fn list(items: &[Value]) -> Value {
    json!({"kind": "List", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})
}

fn failure(code: u16, message: &str) -> Value {
    let reason = if code == 404 { "NotFound" } else { "Forbidden" };
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason, "code": code})
}

/// The answer as slow as `quiet` has it.
async fn slowly(quiet: Quiet, answer: Response<Body>) -> Response<Body> {
    let between = match quiet {
        Quiet::Altogether => std::future::pending().await,
        Quiet::AfterTheFirstPart => Duration::MAX,
        Quiet::BetweenParts(between) => between,
    };
    let (head, body) = answer.into_parts();
    let whole = BodyExt::collect(body).await.unwrap().to_bytes();
    let parts: Vec<Bytes> = whole.chunks(8).map(Bytes::copy_from_slice).collect();
    let frames = stream::iter(parts.into_iter().enumerate()).then(move |(number, part)| async move {
        if number > 0 {
            tokio::time::sleep(between).await;
        }
        Ok(Frame::data(part))
    });
    Response::from_parts(head, StreamBody::new(frames.boxed()))
}

fn quiet_at(request: &Request<Incoming>, content: &Content) -> Option<Quiet> {
    let watch = request.uri().query().unwrap_or_default().contains("watch=true");
    let path = format!("{}{}", request.uri().path(), if watch { "?watch" } else { "" });
    content.quiet.get(&path).copied()
}

async fn serve(listener: TcpListener, content: published::Receiver<Content>) {
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        let content = content.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| {
                let response = respond(&request, &content);
                let quiet = quiet_at(&request, &content.borrow());
                async move {
                    Ok::<_, Infallible>(match quiet {
                        Some(quiet) => slowly(quiet, response).await,
                        None => response,
                    })
                }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), service).await;
        });
    }
}

fn pod(name: &str, version: u32, ip: &str) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "default", "uid": name, "resourceVersion": version.to_string()},
        "status": {"podIP": ip},
    })
}

fn name(pod: &str) -> ObjectName {
    ObjectName::new("default", pod)
}

fn key(pod: &str) -> ObjectKey {
    ObjectKey::Pod(name(pod))
}

struct World {
    content: published::Sender<Content>,
    messages: mpsc::Receiver<SourceMessage>,
    address: SocketAddr,
}

/// A source that watches a server; the server listens only once `listen` is called.
fn world(address: SocketAddr) -> World {
    let (content, _) = published::channel(Content::default());
    let (sender, messages) = mpsc::channel(64);
    let server = ApiServer { master: Some(format!("http://{address}")), ..ApiServer::default() };
    let (_, ends) = Task::new(settings());
    drop(spawn(server, sender, ends.handle, Writers::default()));
    World { content, messages, address }
}

fn settings() -> Settings {
    Settings { node_name: "n1".into(), source: "API server".into(), patience: Duration::from_secs(20) }
}

/// An address of the loopback network that nobody listens on yet.
async fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

impl World {
    async fn listen(&self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        tokio::spawn(serve(listener, self.content.subscribe()));
    }

    fn answer(&self, path: &str, code: u16, value: Value) {
        self.content.send_modify(|content| content.answer(path, code, value));
    }

    fn event(&self, kind: &str, object: &Value) {
        let event = json!({"type": kind, "object": object});
        self.content.send_modify(|content| content.events.push((PODS.to_owned(), event)));
    }

    /// The next objects that are shown before the view, and what holds up the rest.
    async fn early(&mut self) -> (Vec<ObjectKey>, Hold) {
        loop {
            if let SourceMessage::Early(objects, hold) = self.messages.recv().await.unwrap() {
                return (objects.iter().map(Object::key).collect(), hold);
            }
        }
    }

    async fn until(&mut self, mut done: impl FnMut(&SourceMessage) -> bool) {
        let wait = async {
            loop {
                let message = self.messages.recv().await.unwrap();
                if done(&message) {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
    }
}

fn says(message: &SourceMessage, about: &str, text: &str) -> bool {
    matches!(message, SourceMessage::Problems { item, messages }
        if item == about && messages.iter().any(|message| message.contains(text)))
}

fn is_complete(message: &SourceMessage, kind: Kind, count: usize) -> bool {
    matches!(message, SourceMessage::Complete(of, objects) if *of == kind && objects.len() == count)
}

fn shows(message: &SourceMessage, pod: &str) -> bool {
    matches!(message, SourceMessage::Events(events)
        if matches!(&events[..], [Event::Upsert(object)] if object.key() == key(pod)))
}

#[tokio::test]
async fn lists_are_complete_and_what_changes_follows() {
    let mut world = world(free_address().await);
    world.answer(PODS, 200, list(&[pod("a", 1, "10.244.1.2"), pod("b", 1, "no address")]));
    world.listen().await;
    // The kinds are listed at the same time, in no order.
    let mut missing: Vec<Kind> = Kind::ALL.to_vec();
    let mut named = false;
    while !missing.is_empty() || !named {
        let message = world.messages.recv().await.unwrap();
        named |= says(&message, "Pod default/b", "status.podIP[0]: \"no address\" is not an IP address");
        missing.retain(|kind| !is_complete(&message, *kind, if *kind == Kind::Pod { 2 } else { 0 }));
    }
    world.event("ADDED", &pod("c", 2, "10.244.1.3"));
    world.until(|message| shows(message, "c")).await;
    world.event("DELETED", &pod("a", 3, ""));
    world.until(|message| matches!(message, SourceMessage::Events(events) if events == &[Event::PodGone(name("a"), "a".into())])).await;
}

const NODE: &str = "/api/v1/nodes/n1";

/// A world whose node wants what it needs first; the server lists a Service and a slice of DNS under every label.
fn early_world(address: SocketAddr) -> World {
    let (content, _) = published::channel(Content::default());
    let (sender, messages) = mpsc::channel(64);
    let server = ApiServer {
        master: Some(format!("http://{address}")),
        early_for: Some("n1".into()),
        ..ApiServer::default()
    };
    let (_, ends) = Task::new(settings());
    drop(spawn(server, sender, ends.handle, Writers::default()));
    let world = World { content, messages, address };
    let metadata = |name: &str| json!({"name": name, "resourceVersion": "1"});
    let service = json!({"metadata": {"name": "kubernetes", "namespace": "default"}, "spec": {"clusterIP": "10.96.0.1"}});
    let slice =
        json!({"metadata": {"name": "kube-dns-a", "namespace": "kube-system"}, "addressType": "IPv4"});
    world.answer(NODE, 200, json!({"metadata": metadata("n1")}));
    world.answer("/api/v1/namespaces/default/services/kubernetes", 200, service);
    let slices = "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices";
    world.answer(slices, 200, list(&[slice]));
    for empty in [
        "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
        "/api/v1/namespaces/kube-system/services",
    ] {
        world.answer(empty, 200, list(&[]));
    }
    world
}

#[tokio::test]
async fn what_a_node_needs_first_is_asked_for_before_the_lists() {
    let mut world = early_world(free_address().await);
    world.listen().await;
    let kubernetes = ObjectName::new("default", "kubernetes");
    let slice = ObjectName::new("kube-system", "kube-dns-a");
    let wanted =
        [ObjectKey::Node("n1".into()), ObjectKey::Service(kubernetes), ObjectKey::EndpointSlice(slice)];
    let (keys, hold) = world.early().await;
    assert_eq!(keys, wanted[..2], "the API server's Service does not wait for the DNS");
    drop(hold);
    let (keys, _hold) = world.early().await;
    assert_eq!(keys, wanted);
    world.until(|message| is_complete(message, Kind::Pod, 0)).await;
}

#[tokio::test]
async fn a_server_that_refuses_what_is_asked_for_first_still_gives_the_lists() {
    let mut world = early_world(free_address().await);
    world.answer(NODE, 403, failure(403, "nodes is forbidden"));
    world.listen().await;
    let mut missing: Vec<Kind> = Kind::ALL.to_vec();
    while !missing.is_empty() {
        let message = world.messages.recv().await.unwrap();
        assert!(!matches!(message, SourceMessage::Early(..)), "without the node it is of no use");
        missing.retain(|kind| !is_complete(&message, *kind, 0));
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_named_and_waited_for() {
    let mut world = world(free_address().await);
    let item = "API server, watch of Pod";
    world
        .until(|message| says(message, item, "Connection refused") && says(message, item, "tried again"))
        .await;
    world.listen().await;
    world.until(|message| is_complete(message, Kind::Pod, 0)).await;
}

#[tokio::test]
async fn a_server_that_is_overloaded_is_told_and_not_asked_in_silence() {
    let mut world = world(free_address().await);
    world.answer(PODS, 503, failure(503, "leader changed"));
    world.listen().await;
    world.until(|message| says(message, "API server, watch of Pod", "leader changed")).await;
    world.answer(PODS, 200, list(&[]));
    world.until(|message| is_complete(message, Kind::Pod, 0)).await;
}

#[tokio::test]
async fn a_kind_that_may_not_be_read_is_named_with_the_remedy_and_the_others_go_on() {
    let mut world = world(free_address().await);
    let path = "/apis/networking.k8s.io/v1/networkpolicies";
    world.answer(path, 403, failure(403, "networkpolicies is forbidden"));
    world.listen().await;
    let item = "API server, watch of NetworkPolicy";
    world.until(|message| says(message, item, "get, list and watch of NetworkPolicy")).await;
    world.answer(path, 200, list(&[]));
    world.until(|message| is_complete(message, Kind::NetworkPolicy, 0)).await;
}

#[tokio::test]
async fn a_number_that_no_port_can_be_holds_up_no_list() {
    let mut world = world(free_address().await);
    let slice = |name: &str, port: i64| {
        json!({
            "metadata": {"name": name, "namespace": "default", "resourceVersion": "1"},
            "addressType": "IPv4", "endpoints": [], "ports": [{"port": port}],
        })
    };
    let slices = [slice("good", 80), slice("high", 70_000), slice("low", -1)];
    world.answer("/apis/discovery.k8s.io/v1/endpointslices", 200, list(&slices));
    world.listen().await;
    let mut named = false;
    world
        .until(|message| {
            named |= says(message, "EndpointSlice default/high", "ports[0].port: 70000 is not a port");
            named && is_complete(message, Kind::EndpointSlice, 3)
        })
        .await;
}

#[tokio::test]
async fn a_watch_that_is_too_old_lists_again_and_nothing_is_said_any_more_of_what_has_gone_meanwhile() {
    let mut world = world(free_address().await);
    world.answer(PODS, 200, list(&[pod("a", 1, "10.244.1.2"), pod("wrong", 1, "no address")]));
    world.listen().await;
    world.until(|message| is_complete(message, Kind::Pod, 2)).await;
    world.answer(PODS, 200, list(&[]));
    let gone = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "too old", "reason": "Expired", "code": 410});
    world.event("ERROR", &gone);
    let is_silenced = |message: &SourceMessage| matches!(message, SourceMessage::Problems { item, messages } if item == "Pod default/wrong" && messages.is_empty());
    world.until(is_silenced).await;
    world.until(|message| is_complete(message, Kind::Pod, 0)).await;
}

/// A task with a complete view of a server that knows the pod `known`, and that answers as `content` says.
struct Attached {
    content: published::Sender<Content>,
    handle: Handle,
}

impl Attached {
    async fn with(settings: Settings) -> Self {
        let address = free_address().await;
        let (content, _) = published::channel(Content::default());
        let (task, Ends { handle, source, mut status }) = Task::new(settings);
        let server = ApiServer { master: Some(format!("http://{address}")), ..ApiServer::default() };
        content.send_modify(|content| content.answer(PODS, 200, list(&[pod("known", 1, "")])));
        tokio::spawn(serve(TcpListener::bind(address).await.unwrap(), content.subscribe()));
        let (lookup, _) = spawn(server, source, handle.clone(), Writers::default());
        tokio::spawn(task.with_lookup(lookup).run());
        status.wait_for(|status| status.complete).await.unwrap();
        Self { content, handle }
    }

    /// What the server answers to a question for one pod.
    fn answer_for(&self, name: &str, code: u16, value: Value) {
        let path = format!("/api/v1/namespaces/default/pods/{name}");
        self.content.send_modify(|content| content.answer(&path, code, value));
    }

    /// What an ADD for the pod is told.
    async fn attach(&self, name: &str) -> Result<(), String> {
        self.handle.attach(attachment(name)).await.map_err(|error| error.to_string())
    }
}

fn attachment(name: &str) -> Attachment {
    Attachment {
        container: name.into(),
        interface: "eth0".into(),
        pod: ObjectName::new("default", name),
        uid: Some(name.into()),
        netns: String::new(),
        host_device: String::new(),
        addresses: Vec::new(),
    }
}

#[tokio::test]
async fn an_add_asks_for_a_pod_that_the_watch_has_not_shown() {
    let task = Attached::with(settings()).await;
    task.answer_for("a", 200, pod("a", 1, ""));
    assert_eq!(task.attach("a").await, Ok(()));
    let error = task.attach("b").await.unwrap_err();
    assert!(error.contains("default/b is not known"), "{error}");
}

#[tokio::test]
async fn an_add_while_the_server_fails_is_served_from_what_is_known_and_else_when_the_server_is_back() {
    let task = Attached::with(settings()).await;
    task.answer_for("late", 500, failure(500, "etcd is away"));
    assert_eq!(task.attach("known").await, Ok(()));
    let late = tokio::spawn({
        let handle = task.handle.clone();
        async move { handle.attach(attachment("late")).await }
    });
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert!(!late.is_finished(), "it waits for the server");
    task.answer_for("late", 200, pod("late", 1, ""));
    assert_eq!(late.await.unwrap(), Ok(()));
}

#[tokio::test]
async fn an_add_for_a_pod_that_nobody_can_tell_of_is_refused_when_its_time_is_over() {
    let patience = Duration::from_millis(1500);
    let task = Attached::with(Settings { patience, ..settings() }).await;
    task.answer_for("lost", 500, failure(500, "etcd is away"));
    let error = task.attach("lost").await.unwrap_err();
    assert!(error.contains("default/lost is not known"), "{error}");
}
