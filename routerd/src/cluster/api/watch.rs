//! The watch of one kind: complete lists, then what changes, for ever.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Debug;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use futures::StreamExt as _;
use kube::runtime::watcher::{self, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch as published;

use super::super::objects::ObjectName;
use super::super::source::SourceMessage;
use super::super::wire::{Converted, Wire};
use super::super::{Event, Kind, Object, ObjectKey};
use super::patience::telling;

/// The server ends a watch after this time and it is begun again where it was. It is also (with 5 s more) how long it goes
/// unnoticed that a server whose machine is there tells nothing in a running watch. All other silence: see `patience`.
const WATCH_SECONDS: u32 = 120;
/// The first wait after an error; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait after an error. A node that boots must not sit idle long once its API server is back.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What is needed of a kind to watch it.
pub(super) trait Watched:
    Wire + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static
{
}
impl<T> Watched for T where
    T: Wire + Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static
{
}

/// Watches one kind until nobody listens any more.
pub(super) async fn watch<T: Watched>(client: Client, sender: Sender<SourceMessage>) {
    let mut state = State {
        sender,
        listed: Vec::new(),
        with_problems: BTreeSet::new(),
        unseen: BTreeSet::new(),
        failing: false,
    };
    let (begin, mut begun) = published::channel(());
    let config = watcher::Config::default().timeout(WATCH_SECONDS);
    let mut stream = std::pin::pin!(watcher(Api::<T>::all(telling(client, begin)), config));
    let mut wait = FIRST_WAIT;
    while !state.sender.is_closed() {
        let next = tokio::select! {
            next = stream.next() => next,
            () = stands(&mut begun, wait), if state.failing => {
                wait = FIRST_WAIT;
                state.recovered(T::KIND).await;
                continue;
            }
        };
        match next {
            Some(Ok(event)) => {
                // `Init` only says that a list is about to be asked for; it is no success yet.
                if !matches!(event, watcher::Event::Init) {
                    wait = FIRST_WAIT;
                    state.recovered(T::KIND).await;
                }
                state.take(event).await;
            }
            Some(Err(error)) => {
                begun.mark_unchanged();
                state.failed(T::KIND, &error).await;
                tokio::time::sleep(jittered(wait)).await;
                wait = (wait * 2).min(LONGEST_WAIT);
            }
            None => return,
        }
    }
}

/// Until a watch has begun and has stood for `time`: a server that begins watches only to break them off is not back.
async fn stands(begun: &mut published::Receiver<()>, time: Duration) {
    if begun.changed().await.is_err() {
        // Who tells lives as long as the watch.
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(time).await;
}

/// Between half and all of `wait`, so that a thousand nodes do not come back in the same moment.
pub(in crate::cluster) fn jittered(wait: Duration) -> Duration {
    let random = RandomState::new().hash_one(0_u8) % 512;
    wait / 2 + wait / 2 * u32::try_from(random).unwrap_or(0) / 512
}

struct State {
    sender: Sender<SourceMessage>,
    /// The objects of a list that is not complete yet.
    listed: Vec<Object>,
    /// The objects that something was said of.
    with_problems: BTreeSet<ObjectKey>,
    /// Those of before a list that is not complete yet, as far as it has not shown them: they may be gone.
    unseen: BTreeSet<ObjectKey>,
    failing: bool,
}

impl State {
    async fn take<T: Watched>(&mut self, event: watcher::Event<T>) {
        match event {
            watcher::Event::Init => {
                self.listed.clear();
                self.unseen.append(&mut self.with_problems);
            }
            watcher::Event::InitApply(wire) => {
                let (_, object) = self.convert(wire).await;
                self.listed.extend(object);
            }
            watcher::Event::InitDone => {
                for key in std::mem::take(&mut self.unseen) {
                    self.send(SourceMessage::Problems { item: key.to_string(), messages: Vec::new() }).await;
                }
                let objects = std::mem::take(&mut self.listed);
                self.send(SourceMessage::Complete(T::KIND, objects)).await;
            }
            watcher::Event::Apply(wire) => {
                let (key, object) = self.convert(wire).await;
                // One that cannot be used any more is as good as gone.
                let event = object.map_or(Event::Delete(key), Event::Upsert);
                self.send(SourceMessage::Events(vec![event])).await;
            }
            watcher::Event::Delete(wire) => {
                let key = key_of(&wire);
                self.problems(&key, Vec::new()).await;
                let event = match (key, wire.convert().object) {
                    (ObjectKey::Pod(name), Some(Object::Pod(pod))) => Event::PodGone(name, pod.uid),
                    (key, _) => Event::Delete(key),
                };
                self.send(SourceMessage::Events(vec![event])).await;
            }
        }
    }

    async fn convert<T: Watched>(&mut self, wire: T) -> (ObjectKey, Option<Object>) {
        let key = key_of(&wire);
        let Converted { object, problems } = wire.convert();
        self.problems(&key, problems.iter().map(ToString::to_string).collect()).await;
        (key, object)
    }

    async fn problems(&mut self, key: &ObjectKey, messages: Vec<String>) {
        let was_unseen = self.unseen.remove(key);
        let news = if messages.is_empty() {
            self.with_problems.remove(key) || was_unseen
        } else {
            self.with_problems.insert(key.clone());
            true
        };
        if news {
            self.send(SourceMessage::Problems { item: key.to_string(), messages }).await;
        }
    }

    async fn failed(&mut self, kind: Kind, error: &watcher::Error) {
        self.failing = true;
        let messages = vec![explain(kind, error)];
        self.send(SourceMessage::Problems { item: item(kind), messages }).await;
    }

    async fn recovered(&mut self, kind: Kind) {
        if std::mem::take(&mut self.failing) {
            self.send(SourceMessage::Problems { item: item(kind), messages: Vec::new() }).await;
        }
    }

    async fn send(&self, message: SourceMessage) {
        // A closed channel is the end of the daemon; the loop looks at it.
        let _ = self.sender.send(message).await;
    }
}

fn item(kind: Kind) -> String {
    format!("API server, watch of {kind}")
}

fn explain(kind: Kind, error: &watcher::Error) -> String {
    let api = match error {
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => error,
        other => return format!("{other}; it is tried again"),
    };
    match api {
        kube::Error::Api(status) if status.code == 401 => format!(
            "credentials refused: {}; what was known stays; they are read again and it is tried again",
            status.message
        ),
        kube::Error::Api(status) if status.code == 403 => format!(
            "{}; routerd needs get, list and watch of {kind}: see the ClusterRole in daemonset/; it is tried again",
            status.message
        ),
        other => format!("{}; what was known stays; it is tried again", with_causes(other)),
    }
}

/// An error with its causes: the cause is what names the address and the errno.
pub(in crate::cluster) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

fn key_of<T: Watched>(wire: &T) -> ObjectKey {
    let name = wire.meta().name.clone().unwrap_or_default();
    let namespaced = |name: String| ObjectName::new(wire.meta().namespace.clone().unwrap_or_default(), name);
    match T::KIND {
        Kind::Node => ObjectKey::Node(name),
        Kind::Namespace => ObjectKey::Namespace(name),
        Kind::Pod => ObjectKey::Pod(namespaced(name)),
        Kind::Service => ObjectKey::Service(namespaced(name)),
        Kind::EndpointSlice => ObjectKey::EndpointSlice(namespaced(name)),
        Kind::NetworkPolicy => ObjectKey::NetworkPolicy(namespaced(name)),
    }
}
