//! The metrics of refused packets: one series for each pod of this node and direction.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::drops::{DropsStatus, Totals};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Series {
    namespace: String,
    pod: String,
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Direction {
    direction: &'static str,
}

/// Registers what was refused, and what of it was read.
pub(super) fn register(registry: &mut Registry, status: &DropsStatus, totals: &Totals) {
    let (packets, bytes) = (Family::<Series, Counter>::default(), Family::<Series, Counter>::default());
    for ((pod, direction), count) in &totals.pods {
        let labels = Series { namespace: pod.namespace.to_string(), pod: pod.name.to_string(), direction };
        packets.get_or_create(&labels).inc_by(count.packets);
        bytes.get_or_create(&labels).inc_by(count.bytes);
    }
    registry.register("policy_dropped_packets", "Packets that the policies of a pod refused", packets);
    registry.register("policy_dropped_bytes", "Bytes of packets that the policies of a pod refused", bytes);
    let orphans = Family::<Direction, Counter>::default();
    for (direction, count) in &totals.without_verdict {
        orphans.get_or_create(&Direction { direction }).inc_by(count.packets);
    }
    registry.register(
        "policy_dropped_without_verdict_packets",
        "Packets dropped because an address of the pod networks had no verdict",
        orphans,
    );
    registry.register(
        "policy_drops_read",
        "Refused packets that the kernel showed and were read",
        ConstCounter::new(status.read),
    );
    registry.register(
        "policy_drops_lost",
        "Refused packets that the kernel showed and were not read in time",
        ConstCounter::new(status.lost),
    );
}
