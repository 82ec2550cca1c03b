//! Lease and addresses at a small API server of our own, which keeps versions as the real one does.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request as HttpRequest, Response};
use hyper_util::rt::TokioIo;
use kube::Config;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::*;
use crate::cluster::objects::ServiceKind;
use crate::cluster::{Event, Index, Object};
use crate::{loadbalancer, runner};

const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kube-router-lballoc";
const WEB: &str = "/api/v1/namespaces/default/services/web";

/// Objects by path.
type Store = watch::Sender<BTreeMap<String, Value>>;

fn failure(code: u16, reason: &str) -> (u16, Value) {
    (
        code,
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": reason, "reason": reason, "code": code}),
    )
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}

fn answer(store: &Store, method: &Method, path: &str, body: &Value) -> (u16, Value) {
    let name = body["metadata"]["name"].as_str().unwrap_or_default();
    let path = path.trim_end_matches("/status");
    let path = if *method == Method::POST { format!("{path}/{name}") } else { path.to_owned() };
    let mut answer = failure(404, "NotFound");
    store.send_modify(|objects| {
        let known = objects.get(&path).cloned();
        let (mut new, old) = match (method.as_str(), known) {
            ("GET", Some(object)) => {
                answer = (200, object);
                return;
            }
            ("GET", None) if path == "/api/v1/services" => {
                let items: Vec<Value> = objects
                    .iter()
                    .filter(|(path, _)| path.contains("/services/"))
                    .map(|(_, object)| object.clone())
                    .collect();
                answer =
                    (200, json!({"kind": "ServiceList", "apiVersion": "v1", "metadata": {}, "items": items}));
                return;
            }
            ("POST", None) => (body.clone(), json!({})),
            ("PUT", Some(old)) => (body.clone(), old),
            ("PATCH", Some(old)) => {
                let mut new = old.clone();
                new["status"] = body["status"].clone();
                new["metadata"]["resourceVersion"] = body["metadata"]["resourceVersion"].clone();
                (new, old)
            }
            ("POST", Some(_)) => {
                answer = failure(409, "AlreadyExists");
                return;
            }
            _ => return,
        };
        if version(&new) != version(&old) {
            answer = failure(409, "Conflict");
            return;
        }
        new["metadata"]["resourceVersion"] = (version(&old) + 1).to_string().into();
        objects.insert(path, new.clone());
        answer = (200, new);
    });
    answer
}

async fn serve(listener: TcpListener, store: Store) {
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        let store = store.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: HttpRequest<Incoming>| {
                let store = store.clone();
                async move {
                    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let (code, value) =
                        answer(&store, &method, &path, &serde_json::from_slice(&body).unwrap_or_default());
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
    store: Store,
    client: Client,
    messages: mpsc::Sender<SourceMessage>,
    told: mpsc::Receiver<SourceMessage>,
}

async fn world() -> World {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let store = Store::new(BTreeMap::new());
    tokio::spawn(serve(listener, store.clone()));
    let client = Client::try_from(Config::new(format!("http://{address}").parse().unwrap())).unwrap();
    let (messages, told) = mpsc::channel(16);
    World { store, client, messages, told }
}

impl World {
    fn candidate(&self, identity: &str) -> (Handle, Campaign) {
        let candidate = Candidate { namespace: "kube-system".into(), identity: identity.into() };
        let (handle, office) = office(candidate);
        let campaign = office.start(watch::channel(Some(self.client.clone())).1, self.messages.clone());
        (handle, campaign)
    }

    fn put(&self, ingress: &Value) {
        let metadata = json!({"name": "web", "namespace": "default", "resourceVersion": "5"});
        let spec = json!({"type": "LoadBalancer", "clusterIP": "10.96.0.1", "ports": []});
        let service =
            json!({"metadata": metadata, "spec": spec, "status": {"loadBalancer": {"ingress": ingress}}});
        self.store.send_modify(|objects| _ = objects.insert(WEB.to_owned(), service));
    }

    fn ingress(&self) -> Value {
        self.store.borrow()[WEB]["status"]["loadBalancer"]["ingress"].clone()
    }

    fn holder(&self) -> Value {
        self.store.borrow()[LEASE]["spec"]["holderIdentity"].clone()
    }
}

async fn elected(handle: &Handle) -> Term {
    let mut terms = handle.terms();
    let term = tokio::time::timeout(Duration::from_mins(1), terms.wait_for(Option::is_some)).await;
    term.unwrap().unwrap().unwrap()
}

/// The allocator waits for its answers, on a thread of its own.
async fn asked<T: Send + 'static>(handle: &Handle, ask: impl FnOnce(Handle) -> T + Send + 'static) -> T {
    let handle = handle.clone();
    tokio::task::spawn_blocking(move || ask(handle)).await.unwrap()
}

fn edit(held: &[&str], remove: &[&str], add: &[&str]) -> Edit {
    let [held, remove, add] =
        [held, remove, add].map(|list| list.iter().map(|text| text.parse().unwrap()).collect());
    Edit { held, remove, add }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_two_is_elected_and_the_other_when_the_first_gives_the_lease_back() {
    let world = world().await;
    let (first, campaign) = world.candidate("a");
    elected(&first).await;
    let (second, _second_campaign) = world.candidate("b");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((world.holder(), second.term()), (json!("a"), None));
    campaign.end().await;
    assert_eq!(first.term(), None, "who gave it back is no leader");
    elected(&second).await;
    assert_eq!(world.holder(), "b");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_loses_the_lease_stops_and_stands_again() {
    let world = world().await;
    let (handle, _campaign) = world.candidate("a");
    let number = elected(&handle).await.number;
    let take = |holder: &str, seconds: u32| {
        world.store.send_modify(|objects| {
            let lease = objects.get_mut(LEASE).unwrap();
            lease["spec"]["holderIdentity"] = holder.into();
            lease["spec"]["leaseDurationSeconds"] = seconds.into();
            lease["metadata"]["resourceVersion"] = "1000".into();
        });
    };
    take("other", 1);
    let mut terms = handle.terms();
    let lost = tokio::time::timeout(Duration::from_mins(1), terms.wait_for(Option::is_none)).await;
    lost.unwrap().unwrap();
    let again = elected(&handle).await;
    assert!(again.number > number, "another term: everything is asked for anew");
    assert_eq!(world.holder(), "a");
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_are_written_and_what_others_wrote_there_stays() {
    let world = world().await;
    let (handle, _campaign) = world.candidate("a");
    let others =
        json!([{"hostname": "lb.example"}, {"ip": "192.0.2.9", "ipMode": "Proxy"}, {"ip": "198.51.100.1"}]);
    world.put(&others);
    let services = asked(&handle, |handle| handle.services()).await.unwrap();
    assert_eq!(services[0].load_balancer_ips.len(), 1);
    let wish = edit(&["198.51.100.1"], &["198.51.100.1"], &["198.51.100.2", "2001:db8::2"]);
    let name = || ObjectName::new("default", "web");
    let again = wish.clone();
    let written = asked(&handle, move |handle| handle.write(&name(), &wish)).await;
    assert_eq!(written, Ok(Written::Done));
    let expected = json!([
        {"hostname": "lb.example"}, {"ip": "192.0.2.9", "ipMode": "Proxy"}, {"ip": "198.51.100.2"}, {"ip": "2001:db8::2"},
    ]);
    assert_eq!(world.ingress(), expected);
    let written = asked(&handle, move |handle| handle.write(&name(), &again)).await;
    assert_eq!(written, Ok(Written::Outdated), "decided on addresses that it has no more");
    assert_eq!(world.ingress(), expected);
    let gone =
        asked(&handle, |handle| handle.write(&ObjectName::new("default", "gone"), &Edit::default())).await;
    assert_eq!(gone, Ok(Written::Outdated));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gets_its_address_once_the_plane_of_this_node_is_elected() {
    let world = world().await;
    world.put(&json!([]));
    let (handle, _campaign) = world.candidate("a");
    let settings = loadbalancer::Settings {
        ranges: vec!["198.51.100.0/24".parse().unwrap()],
        default_class: true,
        ..loadbalancer::Settings::default()
    };
    let here = tokio::runtime::Handle::current();
    let mut plane = loadbalancer::start(&settings, handle, &here, runner::Settings::default()).unwrap();
    let mut index = Index::new("n1");
    index.apply(Event::Upsert(Object::Service(Service {
        name: ObjectName::new("default", "web"),
        kind: ServiceKind::LoadBalancer,
        cluster_ips: vec!["10.96.0.1".parse().unwrap()],
        ..Service::default()
    })));
    // Before or after the election: either makes the plane look.
    plane.subscriber.start(&index);
    let mut store = world.store.subscribe();
    let given = store.wait_for(|objects| {
        objects[WEB]["status"]["loadBalancer"]["ingress"] == json!([{"ip": "198.51.100.0"}])
    });
    tokio::time::timeout(Duration::from_mins(1), given).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_cannot_be_had_is_said_with_the_reason() {
    let mut world = world().await;
    world.store.send_modify(|objects| _ = objects.insert(LEASE.to_owned(), json!({"spec": "nonsense"})));
    let (handle, _campaign) = world.candidate("a");
    let told = tokio::time::timeout(Duration::from_mins(1), world.told.recv()).await.unwrap().unwrap();
    let SourceMessage::Problems { item, messages } = &told else { panic!("{told:?}") };
    assert_eq!(item, "API server, Lease kube-system/kube-router-lballoc");
    assert!(messages[0].contains("this node gives none"), "{messages:?}");
    assert_eq!(handle.term(), None);
}
