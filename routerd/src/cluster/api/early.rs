//! The few objects that a new node cannot do without, asked for by themselves: in a large cluster it takes seconds until
//! the view of it is complete. A server that refuses or is slow only means that they come with the view.

use std::time::Duration;

use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::mpsc::Sender;

use super::super::Object;
use super::super::source::SourceMessage;
use super::super::wire::{Wire as _, WireNode, WireService, WireSlice};
use super::watch::with_causes;

/// Later than that they are of no use.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Every cluster's name for the Service of its API server.
const KUBERNETES: &str = "kubernetes";
/// The label by which installers mark the Service of the cluster's DNS; its EndpointSlices have it too.
const DNS: &str = "k8s-app=kube-dns";

/// Asks once, and sends what there is.
pub(super) async fn read(client: Client, node: &str, sender: &Sender<SourceMessage>) {
    match tokio::time::timeout(TIMEOUT, ask(client, node)).await {
        // A closed channel is the end of the daemon.
        Ok(Ok(objects)) => _ = sender.send(SourceMessage::Early(objects)).await,
        Ok(Err(error)) => {
            tracing::debug!("nothing is asked for before the whole view: {}", with_causes(&error));
        }
        Err(_) => tracing::debug!("no answer to what is asked for before the whole view"),
    }
}

/// The own Node, and the Services with their EndpointSlices.
async fn ask(client: Client, node: &str) -> kube::Result<Vec<Object>> {
    let nodes = Api::<WireNode>::all(client.clone());
    let services = |namespace| Api::<WireService>::namespaced(client.clone(), namespace);
    let slices = |namespace| Api::<WireSlice>::namespaced(client.clone(), namespace);
    // From the server's memory, as old as that may be.
    let by = |label: &str| ListParams::default().labels(label).match_any();
    let of_kubernetes = by(&format!("kubernetes.io/service-name={KUBERNETES}"));
    let of_dns = by(DNS);
    let (default, system) = (services("default"), services("kube-system"));
    let (default_slices, system_slices) = (slices("default"), slices("kube-system"));
    let (node, kubernetes, endpoints, dns, dns_endpoints) = tokio::try_join!(
        nodes.get_opt(node),
        default.get_opt(KUBERNETES),
        default_slices.list(&of_kubernetes),
        system.list(&of_dns),
        system_slices.list(&of_dns),
    )?;
    let node = node.into_iter().filter_map(|wire| wire.convert().object);
    let services = kubernetes.into_iter().chain(dns.items).filter_map(|wire| wire.convert().object);
    let slices = endpoints.items.into_iter().chain(dns_endpoints.items);
    Ok(node.chain(services).chain(slices.filter_map(|wire| wire.convert().object)).collect())
}
