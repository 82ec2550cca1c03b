//! The metrics of what frees what pods leave behind, and of addresses.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{Kind, gauge_value};
use crate::janitor::JanitorStatus;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Addresses {
    network: String,
    family: &'static str,
    state: &'static str,
}

/// Registers what the janitor tells.
pub(super) fn register(registry: &mut Registry, janitor: &JanitorStatus) {
    let pools = Family::<Addresses, Gauge>::default();
    for pool in &janitor.pools {
        for (state, number) in [("free", pool.free), ("used", pool.used)] {
            let labels = Addresses { network: pool.network.clone(), family: pool.family, state };
            pools.get_or_create(&labels).set(gauge_value(number));
        }
    }
    registry.register("ipam_addresses", "Addresses for pods of this node, by network and family", pools);
    let freed = Family::<Kind, Counter>::default();
    for (kind, number) in &janitor.freed {
        freed.get_or_create(&Kind { kind }).inc_by(*number);
    }
    registry.register(
        "janitor_freed",
        "What pods without sign of life had left and was freed, by kind",
        freed,
    );
    registry.register(
        "janitor_mended",
        "Shared chains and sets of the plugin's tables that somebody had changed and that were mended",
        ConstCounter::new(janitor.mended),
    );
    registry.register("janitor_runs", "Looks for what pods left behind", ConstCounter::new(janitor.runs));
    let gauge = |number: u64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(gauge_value(number));
        gauge
    };
    registry.register(
        "janitor_suspects",
        "Things of pods without a sign of life that are waited for",
        gauge(janitor.suspects),
    );
    registry.register(
        "janitor_problems",
        "What kept the last look from its work",
        gauge(janitor.problems.len() as u64),
    );
}
