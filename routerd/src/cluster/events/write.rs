//! One Event at the API server.
//!
//! Its name follows from the object and what it is about ([`Trouble::subject`]), and from the node. So a problem is one Event with a count, also across
//! restarts: whoever finds the name taken counts on.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::{Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::super::Kind;
use super::super::api::with_causes;
use super::super::wire::{WireNamespace, WireNode, WirePod, WirePolicy, WireService, WireSlice};
use super::trouble::Trouble;

/// The component that reports, as `kubectl describe` shows it.
const COMPONENT: &str = "routerd";
/// The longest name of a node that an Event takes.
const LONGEST_INSTANCE: usize = 128;
/// The longest name of an object.
const LONGEST_NAME: usize = 253;

/// Why an Event was not written.
#[derive(Debug)]
pub(super) enum WriteError {
    /// The API server does not take this one: no right to it, a namespace that is being deleted or full, a webhook.
    Refused(String),
    /// None can be written now.
    Failed(String),
}

/// Writes the Event of `trouble`, or counts it on. An object that is gone needs none.
pub(super) async fn write(client: &Client, node: &str, trouble: &Trouble) -> Result<(), WriteError> {
    let Some(meta) = meta_of(client, trouble).await.map_err(|error| explain(&error))? else { return Ok(()) };
    let events = Api::<Event>::namespaced(client.clone(), trouble.event_namespace());
    let event = event(node, trouble, &meta);
    match events.create(&PostParams::default(), &event).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            count_on(&events, event.metadata.name.as_deref().unwrap_or_default()).await
        }
        Err(error) => Err(error),
    }
    .map_err(|error| explain(&error))
}

async fn count_on(events: &Api<Event>, name: &str) -> Result<(), kube::Error> {
    let known = events.get_opt(name).await?;
    let count = known.and_then(|event| event.series).map_or(2, |series| series.count + 1);
    let series = EventSeries { count, last_observed_time: MicroTime(Timestamp::now()) };
    let patch = Patch::Merge(json!({"series": series}));
    events.patch(name, &PatchParams::default(), &patch).await.map(|_| ())
}

fn explain(error: &kube::Error) -> WriteError {
    match error {
        kube::Error::Api(status) if status.code == 403 => WriteError::Refused(format!(
            "{}; routerd needs create, get and patch of events in events.k8s.io: see the ClusterRole in daemonset/",
            status.message
        )),
        kube::Error::Api(status) if [404, 422].contains(&status.code) => {
            WriteError::Refused(status.message.clone())
        }
        other => WriteError::Failed(with_causes(other)),
    }
}

/// The object's UID and version, by which tools find its Events; `None` if it is gone.
async fn meta_of(client: &Client, trouble: &Trouble) -> Result<Option<ObjectMeta>, kube::Error> {
    match trouble.kind {
        Kind::Node => find::<WireNode>(Api::all(client.clone()), trouble).await,
        Kind::Namespace => find::<WireNamespace>(Api::all(client.clone()), trouble).await,
        Kind::Pod => find::<WirePod>(namespaced(client, trouble), trouble).await,
        Kind::Service => find::<WireService>(namespaced(client, trouble), trouble).await,
        Kind::EndpointSlice => find::<WireSlice>(namespaced(client, trouble), trouble).await,
        Kind::NetworkPolicy => find::<WirePolicy>(namespaced(client, trouble), trouble).await,
    }
}

fn namespaced<T>(client: &Client, trouble: &Trouble) -> Api<T>
where
    T: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), &trouble.object.namespace)
}

async fn find<T: Clone + std::fmt::Debug + DeserializeOwned>(
    objects: Api<T>,
    trouble: &Trouble,
) -> Result<Option<ObjectMeta>, kube::Error> {
    Ok(objects.get_metadata_opt(&trouble.object.name).await?.map(|found| found.metadata))
}

fn event(node: &str, trouble: &Trouble, meta: &ObjectMeta) -> Event {
    let namespace = trouble.event_namespace().to_owned();
    Event {
        metadata: ObjectMeta {
            name: Some(name(node, trouble, meta)),
            namespace: Some(namespace),
            ..ObjectMeta::default()
        },
        event_time: Some(MicroTime(Timestamp::now())),
        type_: Some("Warning".to_owned()),
        reason: Some(trouble.reason.to_owned()),
        action: Some("Programming".to_owned()),
        note: Some(trouble.note.clone()),
        regarding: Some(ObjectReference {
            api_version: Some(trouble.kind.api_version().to_owned()),
            kind: Some(trouble.kind.name().to_owned()),
            name: Some(trouble.object.name.to_string()),
            namespace: Some(trouble.object.namespace.to_string()).filter(|namespace| !namespace.is_empty()),
            uid: meta.uid.clone(),
            ..ObjectReference::default()
        }),
        reporting_controller: Some(COMPONENT.to_owned()),
        reporting_instance: Some(cut(node, LONGEST_INSTANCE)),
        ..Event::default()
    }
}

/// The same for the same trouble of the same object on the same node.
fn name(node: &str, trouble: &Trouble, meta: &ObjectMeta) -> String {
    let mut digest = Sha256::new();
    for part in [node, trouble.kind.name(), meta.uid.as_deref().unwrap_or_default(), &trouble.subject] {
        digest.update(part.len().to_be_bytes());
        digest.update(part.as_bytes());
    }
    let mut name = cut(&trouble.object.name, LONGEST_NAME - 18);
    name.push('.');
    for byte in &digest.finalize()[..8] {
        // Writing to a text cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// Names are ASCII; the first so many characters of it.
fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}
