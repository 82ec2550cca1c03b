//! The metrics, made from the same snapshot that the status shows.
//!
//! Names that kube-router has keep its prefix and meaning; the others are ours, as nothing there tells errors, writes
//! or the age of the last success.

mod bgp;
mod classic;
mod drops;
mod janitor;
mod kinds;
mod kube_router;
mod pods;

use std::fmt::Error;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode_registry;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use self::classic::classic;
use super::Snapshot;
use super::snapshot::PlaneSnapshot;
use crate::drops::Totals;

/// The media type of the text.
pub(in crate::admin) const CONTENT: &str = "text/plain; version=0.0.4; charset=utf-8";

type Float = Gauge<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Plane {
    plane: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PlaneObject {
    plane: &'static str,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// Numbers of objects fit a gauge's signed integer by far.
fn gauge_value(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn planes(registry: &mut Registry, planes: &[PlaneSnapshot]) {
    let (objects, problems) = (Family::<PlaneObject, Gauge>::default(), Family::<Plane, Gauge>::default());
    let (writes, runs) = (Family::<Plane, Counter>::default(), Family::<Plane, Counter>::default());
    let repairs = Family::<Plane, Counter>::default();
    let (seconds, success) = (Family::<Plane, Float>::default(), Family::<Plane, Float>::default());
    let healthy = Family::<Plane, Gauge>::default();
    for one in planes {
        let plane = Plane { plane: one.name };
        for (kind, count) in &one.counts {
            objects.get_or_create(&PlaneObject { plane: one.name, kind }).set(gauge_value(*count));
        }
        problems.get_or_create(&plane).set(gauge_value(one.problems.len() as u64));
        writes.get_or_create(&plane).inc_by(one.writes);
        runs.get_or_create(&plane).inc_by(one.runs);
        repairs.get_or_create(&plane).inc_by(one.repairs);
        seconds.get_or_create(&plane).set(one.last_duration_ms / 1000.0);
        healthy.get_or_create(&plane).set(i64::from(matches!(one.state, "ok" | "problems")));
        if let Some(at) = one.last_success {
            success.get_or_create(&plane).set(at);
        }
    }
    registry.register("plane_objects", "Objects a plane holds, by kind", objects);
    registry.register("plane_problems", "Objects that could not be programmed", problems);
    registry.register("plane_kernel_writes", "Kernel writes since the start", writes);
    registry.register("plane_runs", "Times a plane was applied since the start", runs);
    registry.register("plane_repairs", "Times that what others had changed was put right", repairs);
    registry.register("plane_last_run_seconds", "How long the last run took", seconds);
    registry.register("plane_last_success_timestamp_seconds", "When a run last had no problem", success);
    registry.register("plane_healthy", "1 if the plane works as a whole", healthy);
}

/// The metrics as text. `refused` is there where policies are enforced.
pub(in crate::admin) fn encode(snapshot: &Snapshot, refused: Option<&Totals>) -> Result<String, Error> {
    let mut registry = Registry::with_prefix("kube_router");
    let build = Family::<Build, Gauge>::default();
    build.get_or_create(&Build { version: snapshot.version }).set(1);
    registry.register("build_info", "The version of routerd", build);
    let ready: Gauge = Gauge::default();
    ready.set(i64::from(snapshot.ready));
    registry.register("ready", "1 if every plane works", ready);
    registry.register(
        "cluster_events",
        "Events of the cluster taken in",
        ConstCounter::new(snapshot.cluster.events),
    );
    let objects = Family::<Kind, Gauge>::default();
    for (kind, count) in &snapshot.cluster.objects {
        objects.get_or_create(&Kind { kind }).set(gauge_value(*count));
    }
    registry.register("cluster_objects", "Objects of the cluster held in memory, by kind", objects);
    let problems: Gauge = Gauge::default();
    problems.set(gauge_value(snapshot.cluster.problems.len() as u64));
    registry.register("cluster_problems", "Objects or files that could not be read", problems);
    planes(&mut registry, &snapshot.planes);
    kube_router::register(&mut registry, &snapshot.planes);
    bgp::register(&mut registry, &snapshot.bgp);
    pods::register(&mut registry, &snapshot.pods);
    janitor::register(&mut registry, &snapshot.janitor);
    if let Some(totals) = refused {
        drops::register(&mut registry, &snapshot.drops, totals);
    }
    let mut text = String::new();
    encode_registry(&mut text, &registry)?;
    Ok(classic(&text))
}
