//! What an operator sees, from states set by hand.

use std::time::{Duration, Instant};

use http_body_util::BodyExt as _;
use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::sync::watch;

use super::http::{Pages, respond};
use super::*;
use crate::latency::{BOUNDS, Latency};
use crate::runner::Problem;

struct World {
    cluster: watch::Sender<ClusterStatus>,
    plane: watch::Sender<Status>,
    pods: watch::Sender<PodsStatus>,
    _failed: watch::Sender<Vec<(String, String)>>,
    _bgp: watch::Sender<serde_json::Value>,
    published: Published,
}

fn world() -> World {
    let source = "folder /x".to_owned();
    let (cluster, cluster_receiver) =
        watch::channel(ClusterStatus { source, complete: true, own_node: true, ..ClusterStatus::default() });
    let (plane, plane_receiver) =
        watch::channel(Status { name: "services", synced: true, ..Status::default() });
    let (failed, failed_receiver) = watch::channel(Vec::new());
    let of_family = |number| json!({"received": number + 1, "accepted": number, "advertised": 2 * number});
    let peer = json!({
        "address": "192.0.2.2", "asn": 64512, "state": "Established", "internal": true, "received": 2, "sent": 1,
        "prefixes": {"IPv4": of_family(7), "IPv6": of_family(0)}, "established": 3, "lost": 2, "updates": 9,
        "last_update_timestamp": 1_700_000_000.5, "last_error": "hold time over",
    });
    let told = json!({"pod-route": 2, "advertise-vip": 5, "withdraw-vip": 4});
    let (bgp, bgp_receiver) =
        watch::channel(json!({"peers": [peer], "told": told, "refused_connections": 6}));
    let (pods, pods_receiver) = watch::channel(PodsStatus::default());
    let published = Published {
        speaker: None,
        node: "node1".into(),
        started: Instant::now(),
        cluster: cluster_receiver,
        planes: vec![plane_receiver],
        failed: failed_receiver,
        bgp: bgp_receiver,
        pods: pods_receiver,
        janitor: watch::channel(JanitorStatus::default()).1,
        drops: Drops::none(),
        desk: None,
    };
    World { cluster, plane, pods, _failed: failed, _bgp: bgp, published }
}

fn problem(item: &str) -> Problem {
    Problem { item: item.into(), message: "no IPVS in this kernel; run modprobe ip_vs".into(), retry: true }
}

async fn get(path: &str, published: &Published) -> (StatusCode, String) {
    let pages = Pages { health: true, metrics: Some("/metrics".into()) };
    let response = respond(&Method::GET, path, &pages, published).await;
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_plane_that_does_not_work_makes_the_node_unready_but_not_dead() {
    let world = world();
    assert_eq!(get("/readyz", &world.published).await, (StatusCode::OK, "OK".into()));
    world.plane.send_modify(|status| status.problems = vec![problem("services")]);
    let (status, body) = get("/readyz", &world.published).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("services: no IPVS in this kernel"), "{body}");
    assert_eq!(get("/healthz", &world.published).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_broken_object_is_shown_and_does_not_make_the_node_unready() {
    let world = world();
    world.plane.send_modify(|status| status.problems = vec![problem("Service default/web")]);
    assert_eq!(get("/readyz", &world.published).await.0, StatusCode::OK);
    let text = table::render(&serde_json::to_value(Snapshot::take(&world.published)).unwrap());
    assert!(text.contains("! services: Service default/web: no IPVS"), "{text}");
    assert!(text.contains("192.0.2.2") && text.contains("Established"), "{text}");
}

#[tokio::test]
async fn a_node_that_the_cluster_does_not_know_is_not_ready_whatever_planes_run() {
    let world = world();
    world.cluster.send_modify(|status| status.own_node = false);
    let (status, body) = get("/readyz", &world.published).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("folder /x has no Node node1") && body.contains("--hostname-override"), "{body}");
}

#[tokio::test]
async fn readiness_waits_for_the_first_complete_view() {
    let world = world();
    world.cluster.send_modify(|status| status.complete = false);
    let (status, body) = get("/readyz", &world.published).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(body.contains("folder /x"), "{body}");
}

#[tokio::test]
async fn metrics_carry_counts_writes_and_peers() {
    let world = world();
    world.plane.send_modify(|status| {
        status.counts = std::collections::BTreeMap::from([("virtual services", 3)]);
        status.writes = 7;
        status.record_duration(Duration::from_millis(2));
    });
    let (status, text) = get("/metrics", &world.published).await;
    assert_eq!(status, StatusCode::OK);
    for line in [
        "kube_router_plane_objects{plane=\"services\",kind=\"virtual services\"} 3",
        "kube_router_plane_kernel_writes_total{plane=\"services\"} 7",
        "kube_router_bgp_peer_info{address=\"192.0.2.2\",type=\"internal\",asn=\"64512\",state=\"Established\"} 1",
        "kube_router_bgp_peer_last_error_info{address=\"192.0.2.2\",error=\"hold time over\"} 1",
        "kube_router_bgp_peer_prefixes_received{address=\"192.0.2.2\",family=\"ipv4\"} 8",
        "kube_router_bgp_peer_prefixes_accepted{address=\"192.0.2.2\",family=\"ipv4\"} 7",
        "kube_router_bgp_peer_prefixes_advertised{address=\"192.0.2.2\",family=\"ipv6\"} 0",
        "kube_router_bgp_peer_established_total{address=\"192.0.2.2\"} 3",
        "kube_router_bgp_peer_flaps_total{address=\"192.0.2.2\"} 2",
        "kube_router_bgp_peer_updates_total{address=\"192.0.2.2\"} 9",
        "kube_router_bgp_peer_last_update_timestamp_seconds{address=\"192.0.2.2\"} 1700000000.5",
        "# TYPE kube_router_controller_bgp_advertisements_received gauge",
        "kube_router_controller_bgp_advertisements_received 9",
        "kube_router_controller_bgp_advertisements_sent{type=\"advertise-vip\"} 5",
        "kube_router_controller_ipvs_services 3",
        "kube_router_controller_ipvs_services_sync_time_bucket{le=\"0.0025\"} 1",
        "kube_router_controller_ipvs_services_sync_time_count 1",
        "kube_router_bgp_refused_connections_total 6",
        "kube_router_ready 1",
    ] {
        assert!(text.contains(line), "{line} not in\n{text}");
    }
}

#[tokio::test]
async fn the_plugins_socket_tells_latency_refusals_and_readiness() {
    let world = world();
    world.pods.send_modify(|pods| {
        pods.attachments = 4;
        pods.latency = Latency { count: 3, sum_seconds: 0.5, most_seconds: 0.4, ..Latency::default() };
        pods.latency.classes[0] = 2;
        pods.latency.classes[BOUNDS.len()] = 1;
        pods.refused.insert("unknown_pod", 2);
        pods.connections_refused.insert("malformed", 1);
    });
    let (_, text) = get("/metrics", &world.published).await;
    for line in [
        "kube_router_pod_attachments 4",
        "kube_router_pod_attach_seconds_sum 0.5",
        "kube_router_pod_attach_seconds_count 3",
        "kube_router_pod_attach_seconds_bucket{le=\"0.001\"} 2",
        "kube_router_pod_attach_seconds_bucket{le=\"15.0\"} 2",
        "kube_router_pod_attach_seconds_bucket{le=\"+Inf\"} 3",
        "kube_router_pod_attach_refused_total{reason=\"unknown_pod\"} 2",
        "kube_router_pod_socket_refused_total{reason=\"malformed\"} 1",
        "kube_router_pod_attach_ready 0",
    ] {
        assert!(text.contains(line), "{line} not in\n{text}");
    }
}

#[tokio::test]
async fn unknown_pages_and_methods_are_refused() {
    let world = world();
    assert_eq!(get("/etc/passwd", &world.published).await.0, StatusCode::NOT_FOUND);
    let pages = Pages { health: false, metrics: None };
    let refused = respond(&Method::POST, "/healthz", &pages, &world.published).await;
    assert_eq!(refused.status(), StatusCode::METHOD_NOT_ALLOWED);
    let hidden = respond(&Method::GET, "/healthz", &pages, &world.published).await;
    assert_eq!(hidden.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_socket_answers_status_and_says_what_it_does_not_know() {
    let world = world();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run/admin.sock");
    let listener = listen_on_socket(&path).unwrap();
    let server = tokio::spawn(serve_socket(listener, world.published.clone()));
    let mut answer = None;
    for _ in 0..1500 {
        let path = path.clone();
        match tokio::task::spawn_blocking(move || client::ask(&path)).await.unwrap() {
            Ok(status) => {
                answer = Some(status);
                break;
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    assert_eq!(answer.unwrap()["node"], "node1");
    server.abort();
}

#[test]
fn a_daemon_that_is_away_is_named_with_what_to_check() {
    let error = client::ask(std::path::Path::new("/nonexistent/admin.sock")).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/admin.sock") && error.contains("is it running"), "{error}");
}
