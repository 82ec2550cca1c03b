//! The few objects that a new node cannot do without, asked for by themselves: in a large cluster it takes seconds until
//! the view of it is complete. A server that refuses or is slow only means that they come with the view.

use std::time::Duration;

use kube::api::ListParams;
use kube::{Api, Client};
use tokio::sync::mpsc::Sender;

use super::super::Object;
use super::super::source::{SourceMessage, hold};
use super::super::wire::{Wire, WireNode, WireService, WireSlice};
use super::watch::with_causes;

/// Later than that they are of no use.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Every cluster's name for the Service of its API server.
const KUBERNETES: &str = "kubernetes";
/// The label by which installers mark the Service of the cluster's DNS; its EndpointSlices have it too.
const DNS: &str = "k8s-app=kube-dns";

/// Asks once, sends what there is and waits until it is in force: the API server's Service by itself, because all others can
/// be reached only by who knows of them from there; then the cluster's DNS.
pub(super) async fn read(client: Client, node: &str, sender: &Sender<SourceMessage>) {
    match tokio::time::timeout(TIMEOUT, show(client, node, sender)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!("nothing is asked for before the whole view: {}", with_causes(&error));
        }
        Err(_) => tracing::debug!("no answer to what is asked for before the whole view"),
    }
}

async fn show(client: Client, node: &str, sender: &Sender<SourceMessage>) -> kube::Result<()> {
    let mut objects = kubernetes(client.clone(), node).await?;
    put_in_force(objects.clone(), sender).await;
    let dns = dns(client).await?;
    if !dns.is_empty() {
        objects.extend(dns);
        put_in_force(objects, sender).await;
    }
    Ok(())
}

async fn put_in_force(objects: Vec<Object>, sender: &Sender<SourceMessage>) {
    let (hold, release) = hold();
    // A closed channel is the end of the daemon.
    let _ = sender.send(SourceMessage::Early(objects, hold)).await;
    release.wait().await;
}

/// The own Node, and the API server's Service with its EndpointSlices.
async fn kubernetes(client: Client, node: &str) -> kube::Result<Vec<Object>> {
    let nodes = Api::<WireNode>::all(client.clone());
    let services = Api::<WireService>::namespaced(client.clone(), "default");
    let slices = Api::<WireSlice>::namespaced(client, "default");
    let of_kubernetes = by(&format!("kubernetes.io/service-name={KUBERNETES}"));
    let (node, service, slices) =
        tokio::try_join!(nodes.get_opt(node), services.get_opt(KUBERNETES), slices.list(&of_kubernetes))?;
    let (node, service) = (node.into_iter().filter_map(object), service.into_iter().filter_map(object));
    Ok(node.chain(service).chain(slices.items.into_iter().filter_map(object)).collect())
}

/// The Service of the cluster's DNS with its EndpointSlices.
async fn dns(client: Client) -> kube::Result<Vec<Object>> {
    let services = Api::<WireService>::namespaced(client.clone(), "kube-system");
    let slices = Api::<WireSlice>::namespaced(client, "kube-system");
    let of_dns = by(DNS);
    let (services, slices) = tokio::try_join!(services.list(&of_dns), slices.list(&of_dns))?;
    let services = services.items.into_iter().filter_map(object);
    Ok(services.chain(slices.items.into_iter().filter_map(object)).collect())
}

/// From the server's memory, as old as that may be.
fn by(label: &str) -> ListParams {
    ListParams::default().labels(label).match_any()
}

fn object<W: Wire>(wire: W) -> Option<Object> {
    wire.convert().object
}
