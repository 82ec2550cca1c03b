//! How long a peer waits for the address of a Service whose endpoint comes or goes.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::converge::listener;
use super::daemon::{self, NODE};
use super::session::Heard;
use super::wire::{RECEIVER, Wire};
use crate::bench::agent::Agent;
use crate::bench::api::{Api, Kind};

/// The Services of the cluster; one after the other has its turn.
const SERVICES: u32 = 100;
/// How long the daemon may take for one.
const LIMIT: Duration = Duration::from_secs(20);
/// Between two changes, so that each finds the daemon with nothing to do.
const PAUSE: Duration = Duration::from_millis(20);

/// One time for each change.
#[derive(Debug, Default)]
pub(super) struct Latencies {
    pub(super) announced: Vec<Duration>,
    pub(super) withdrawn: Vec<Duration>,
}

/// Measures so many of both.
pub(super) fn measure(program: &Path, rounds: usize, folder: &Path) -> Result<Latencies> {
    let wire = Wire::new()?;
    let objects = (0..SERVICES).flat_map(|number| [service(number), slice(number, false)]).collect();
    let (prepared, api) = daemon::prepare(program, &[RECEIVER], objects, &wire, folder)?;
    let mut agent = Agent::start(prepared, "routerd", 2, &wire.router(), folder)?;
    let (_session, heard) = listener(RECEIVER, &wire)?;
    agent.settle()?;
    let mut latencies = Latencies::default();
    let numbers = (0..SERVICES).cycle().take(rounds);
    for number in numbers {
        latencies.announced.push(change(&api, &heard, number, true)?);
        std::thread::sleep(PAUSE);
        latencies.withdrawn.push(change(&api, &heard, number, false)?);
        std::thread::sleep(PAUSE);
    }
    Ok(latencies)
}

/// Makes the endpoint of a Service ready or not; how long it takes until the peer hears of it.
fn change(api: &Api, heard: &Receiver<Heard>, number: u32, ready: bool) -> Result<Duration> {
    let (kind, object) = slice(number, ready);
    let address = address(number);
    let begin = Instant::now();
    api.put(kind, object)?;
    loop {
        let left = LIMIT.saturating_sub(begin.elapsed());
        let heard = heard.recv_timeout(left).with_context(|| {
            format!("the peer hears nothing of {address} within {LIMIT:?} after its endpoint became ready: {ready}")
        })?;
        let told = if ready { &heard.told.announced } else { &heard.told.withdrawn };
        if told.contains(&address) {
            return Ok(heard.at.saturating_duration_since(begin));
        }
    }
}

/// The external address of a Service.
fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(192, 0, 2, 1).to_bits() + number)
}

fn service(number: u32) -> (Kind, Value) {
    let (name, cluster) = (format!("s{number}"), format!("10.96.1.{}", number + 1));
    let object = json!({
        "metadata": {"name": name, "namespace": "bench", "uid": name},
        "spec": {
            "type": "ClusterIP", "clusterIP": cluster, "clusterIPs": [cluster], "externalIPs": [address(number).to_string()],
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster",
            "externalTrafficPolicy": "Cluster", "sessionAffinity": "None",
            "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}],
        },
        "status": {"loadBalancer": {}},
    });
    (Kind::Service, object)
}

fn slice(number: u32, ready: bool) -> (Kind, Value) {
    let endpoint = json!({
        "addresses": [format!("10.244.0.{}", number + 2)], "nodeName": NODE,
        "conditions": {"ready": ready, "serving": ready, "terminating": false},
    });
    let service = format!("s{number}");
    let object = json!({
        "metadata": {
            "name": format!("{service}-0"), "namespace": "bench",
            "labels": {"kubernetes.io/service-name": service, "endpointslice.kubernetes.io/managed-by": "bench"},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        "endpoints": [endpoint],
    });
    (Kind::EndpointSlice, object)
}
