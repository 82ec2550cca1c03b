//! `status.loadBalancer` of Services at the API server.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::{LoadBalancerIngress, Service as ApiService};
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, Error};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::{Edit, Request, Written};
use crate::cluster::Object;
use crate::cluster::api::with_causes;
use crate::cluster::objects::{ObjectName, Service};
use crate::cluster::wire::{Wire as _, WireService};

/// How long one write may take. With the time in which the leader renews it stays below the duration of the Lease.
const WRITTEN_WITHIN: Duration = Duration::from_secs(4);
/// How long all Services may take.
const LISTED_WITHIN: Duration = Duration::from_secs(30);
/// Services in one answer.
const PAGE: u32 = 500;

/// Serves the allocator until it is gone.
pub(super) async fn serve(
    mut client: watch::Receiver<Option<Client>>,
    mut requests: mpsc::Receiver<Request>,
) {
    let Ok(Some(client)) = client.wait_for(Option::is_some).await.map(|client| client.clone()) else {
        return;
    };
    while let Some(request) = requests.recv().await {
        // Who asked and is gone needs no answer.
        match request {
            Request::List(reply) => {
                let _ = reply.send(within(LISTED_WITHIN, list(&client)).await);
            }
            Request::Write(name, edit, reply) => {
                let _ = reply.send(within(WRITTEN_WITHIN, write(&client, &name, &edit)).await);
            }
        }
    }
}

async fn within<T>(patience: Duration, work: impl Future<Output = Result<T, Error>>) -> Result<T, String> {
    match tokio::time::timeout(patience, work).await {
        Ok(outcome) => outcome.map_err(|error| explain(&error)),
        Err(_) => Err(format!("the API server does not answer within {} s", patience.as_secs())),
    }
}

fn explain(error: &Error) -> String {
    match error {
        Error::Api(status) if status.code == 403 || status.code == 401 => format!(
            "{}; routerd needs list and get of services and patch of services/status: see the ClusterRole in daemonset/",
            status.message
        ),
        other => with_causes(other),
    }
}

async fn list(client: &Client) -> Result<Vec<Service>, Error> {
    let services = Api::<WireService>::all(client.clone());
    let (mut all, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let page = services.list(&params).await?;
        all.extend(page.items.into_iter().filter_map(|wire| match wire.convert().object {
            Some(Object::Service(service)) => Some(service),
            _ => None,
        }));
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

async fn write(client: &Client, name: &ObjectName, edit: &Edit) -> Result<Written, Error> {
    let services = Api::<ApiService>::namespaced(client.clone(), &name.namespace);
    let Some(service) = services.get_opt(&name.name).await? else { return Ok(Written::Outdated) };
    let Some(ingress) = edited(&service, edit) else { return Ok(Written::Outdated) };
    // With the version it is refused if anybody has written meanwhile.
    let patch = json!({
        "metadata": {"resourceVersion": service.metadata.resource_version},
        "status": {"loadBalancer": {"ingress": ingress}},
    });
    match services.patch_status(&name.name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => Ok(Written::Done),
        Err(Error::Api(status)) if status.code == 409 || status.code == 404 => Ok(Written::Outdated),
        // As a webhook of its namespace does. Of 401 and 429 the next would hear the same.
        Err(error) if is_of_the_service(&error) => Ok(Written::Refused(explain(&error))),
        Err(error) => Err(error),
    }
}

fn is_of_the_service(error: &Error) -> bool {
    matches!(error, Error::Api(status) if matches!(status.code, 400 | 403 | 422))
}

/// The ingress of `service` after `edit`; `None` if its addresses are others than those that was decided on. What is no
/// address of ours (host names, other load balancers') stays as it is.
fn edited(service: &ApiService, edit: &Edit) -> Option<Vec<LoadBalancerIngress>> {
    let status = service.status.as_ref().and_then(|status| status.load_balancer.as_ref());
    let ingress = status.and_then(|balancer| balancer.ingress.clone()).unwrap_or_default();
    let address = |entry: &LoadBalancerIngress| -> Option<IpAddr> {
        let served = entry.ip_mode.as_deref() != Some("Proxy");
        entry.ip.as_ref().filter(|_| served)?.parse().ok()
    };
    let has: BTreeSet<IpAddr> = ingress.iter().filter_map(address).collect();
    if has != edit.held.iter().copied().collect() {
        return None;
    }
    let stays =
        |entry: &LoadBalancerIngress| address(entry).is_none_or(|address| !edit.remove.contains(&address));
    let added = edit.add.iter().map(|address| LoadBalancerIngress {
        ip: Some(address.to_string()),
        ..LoadBalancerIngress::default()
    });
    Some(ingress.into_iter().filter(stays).chain(added).collect())
}
