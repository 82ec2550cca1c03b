//! Names of kube-router for what planes tell of themselves. `docs/migration.md` says which others there are not, and why.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::gauge_value;
use super::kinds::Counted;
use crate::admin::snapshot::PlaneSnapshot;

/// Plane, name and what it tells: how long runs took, in seconds.
const TIMES: [(&str, &str, &str); 5] = [
    ("routing", "controller_routes_sync_time", "Time to bring routes into the kernel"),
    ("routing", "host_routes_sync_time", "Time to bring routes into the kernel"),
    (
        "advertise",
        "controller_bgp_internal_peers_sync_time",
        "Time to tell the speaker its peers and prefixes",
    ),
    ("policy", "controller_policy_chains_sync_time", "Time to bring policies into the kernel"),
    ("services", "controller_ipvs_services_sync_time", "Time to bring Services into the kernel"),
];

/// Plane, kind of object, name and what it tells: how many there are.
const NUMBERS: [(&str, &str, &str, &str); 4] = [
    ("routing", "routes", "host_routes_synced", "Routes in the kernel"),
    ("policy", "policies", "controller_policy_chains", "Policies in the kernel, a chain each"),
    ("policy", "groups", "controller_policy_ipsets", "Groups of peers in the kernel, a set each"),
    ("services", "virtual services", "controller_ipvs_services", "IPVS services"),
];

/// Registers those of the planes that run.
pub(super) fn register(registry: &mut Registry, planes: &[PlaneSnapshot]) {
    let named = |name: &str| planes.iter().find(|plane| plane.name == name);
    for (plane, name, help) in TIMES {
        if let Some(plane) = named(plane) {
            registry.register(name, help, Counted(plane.durations.clone()));
        }
    }
    for (plane, kind, name, help) in NUMBERS {
        if let Some(number) = named(plane).and_then(|plane| plane.counts.get(kind)) {
            let gauge: Gauge = Gauge::default();
            gauge.set(gauge_value(*number));
            registry.register(name, help, gauge);
        }
    }
}
