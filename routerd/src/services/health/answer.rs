//! What a load balancer is answered: pure, but for the time of day.

use hyper::header::HeaderValue;
use hyper::{Method, StatusCode};
use k8s_openapi::jiff::Timestamp;
use serde::Serialize;

use super::desired::{Check, Key};
use crate::cluster::objects::ObjectName;
use crate::http::{self, Answer, JSON, page};
use crate::runner::Status;

/// As kube-proxy's, which load balancers and people know.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfService<'a> {
    service: Name<'a>,
    local_endpoints: usize,
    service_proxy_healthy: bool,
}

#[derive(Serialize)]
struct Name<'a> {
    namespace: &'a str,
    name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OfNode {
    last_updated: String,
    current_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_eligible: Option<bool>,
}

/// The answer to one request. `proxy` is the plane that carries Services.
pub(super) fn respond(method: &Method, path: &str, key: &Key, check: &Check, proxy: &Status) -> Answer {
    if let Some(refusal) = http::unless_reading(method) {
        return refusal;
    }
    let healthy = proxy.synced && !proxy.is_broken();
    match (key, check) {
        (Key::Service(name), Check::Service { local_endpoints, .. }) => {
            of_service(name, *local_endpoints, healthy)
        }
        (Key::Node, Check::Node { eligible, .. }) => match path {
            "/healthz" => of_node(healthy && *eligible, Some(*eligible), proxy),
            "/livez" => of_node(healthy, None, proxy),
            _ => http::not_found(),
        },
        _ => http::not_found(),
    }
}

fn of_service(name: &ObjectName, local_endpoints: usize, healthy: bool) -> Answer {
    let body = OfService {
        service: Name { namespace: &name.namespace, name: &name.name },
        local_endpoints,
        service_proxy_healthy: healthy,
    };
    let mut answer = json(local_endpoints > 0 && healthy, &body);
    // Some balance by it: a node with more endpoints gets more.
    answer.headers_mut().insert("X-Load-Balancing-Endpoint-Weight", HeaderValue::from(local_endpoints));
    answer
}

fn of_node(good: bool, node_eligible: Option<bool>, proxy: &Status) -> Answer {
    let now = Timestamp::now();
    // What works is as new as it can be: the plane follows every change.
    let updated = if good { Some(now) } else { proxy.last_success.and_then(|at| at.try_into().ok()) };
    let updated = updated.map_or_else(String::new, |at: Timestamp| at.to_string());
    json(good, &OfNode { last_updated: updated, current_time: now.to_string(), node_eligible })
}

fn json(good: bool, body: &impl Serialize) -> Answer {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    // Texts, numbers and truth values always are JSON.
    let mut answer = page(status, JSON, serde_json::to_string_pretty(body).unwrap_or_default());
    answer.headers_mut().insert("X-Content-Type-Options", HeaderValue::from_static("nosniff"));
    answer
}
