//! The metrics of the plugin's socket.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::gauge_value;
use super::kinds::Counted;
use crate::pods::PodsStatus;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Why {
    reason: &'static str,
}

/// Registers what the socket tells.
pub(super) fn register(registry: &mut Registry, pods: &PodsStatus) {
    let number = |value: u64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(gauge_value(value));
        gauge
    };
    registry.register("pod_attachments", "Interfaces of pods that are attached", number(pods.attachments));
    registry.register("pod_attach_waiting", "Pods that wait for their policy", number(pods.waiting));
    registry.register("pod_attach_ready", "1 if an attach would be served", number(u64::from(pods.ready)));
    registry.register(
        "pod_attach_seconds",
        "From a plugin's request to the commit of the pod's policy",
        Counted(pods.latency.clone()),
    );
    let by_reason = |counts: &std::collections::BTreeMap<&'static str, u64>| {
        let family = Family::<Why, Counter>::default();
        for (reason, count) in counts {
            family.get_or_create(&Why { reason }).inc_by(*count);
        }
        family
    };
    registry.register("pod_attach_refused", "Attaches that were refused", by_reason(&pods.refused));
    registry.register(
        "pod_socket_refused",
        "Connections to the plugin's socket that were closed without being served",
        by_reason(&pods.connections_refused),
    );
}
