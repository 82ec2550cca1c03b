//! The one owner of what is attached.

use std::collections::BTreeMap;
use std::time::Duration;

use cni_plugin::Code;
use cni_plugin::socket::{Attach, Reply};
use kernel::Rtnl;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::Pods;
use super::connection::refusal;
use super::record::{RecordError, Records};
use crate::cluster::objects::{Attachment, ObjectName};

/// How often is looked for attachments whose device is gone: the DEL of a pod may not have reached us.
const SWEEP: Duration = Duration::from_secs(30);

/// Container ID and interface.
type Key = (String, String);

/// What the registry is told.
#[derive(Debug)]
pub(super) enum Message {
    /// A plugin has wired a pod and waits.
    Attach { attach: Attach, reply: oneshot::Sender<Reply> },
    /// A plugin takes an interface away.
    Detach { container: String, interface: String, reply: oneshot::Sender<Reply> },
    /// A plugin asks if an attach would be served.
    Status { reply: oneshot::Sender<Reply> },
    /// The cluster task has answered an attach.
    Answered { key: Key, turn: u64, outcome: Result<(), String>, reply: oneshot::Sender<Reply> },
}

/// An attachment and which of the attaches of its key it came with.
#[derive(Debug)]
struct Entry {
    attach: Attach,
    turn: u64,
}

/// What is attached.
#[derive(Debug)]
pub(super) struct Registry<P> {
    records: Records,
    pods: P,
    entries: BTreeMap<Key, Entry>,
    turns: u64,
}

impl<P: Pods> Registry<P> {
    /// What the records say, as far as the devices are still there, told to `pods`.
    pub(super) async fn restore(records: Records, pods: P) -> Self {
        let mut registry = Self { records, pods, entries: BTreeMap::new(), turns: 0 };
        for attach in registry.records.read_all() {
            let key = (attach.container_id.clone(), attach.interface.clone());
            registry.entries.insert(key, Entry { attach, turn: 0 });
        }
        for key in registry.without_device() {
            registry.forget(&key);
        }
        let attachments = registry.entries.values().map(|entry| attachment(&entry.attach)).collect();
        registry.pods.restore(attachments).await;
        registry
    }

    pub(super) async fn run(mut self, own: mpsc::Sender<Message>, mut inbox: mpsc::Receiver<Message>) {
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first tick is at once, and the start has just looked.
        sweep.tick().await;
        loop {
            tokio::select! {
                message = inbox.recv() => match message {
                    Some(message) => self.take(message, &own).await,
                    None => return,
                },
                _ = sweep.tick() => self.sweep().await,
            }
        }
    }

    async fn take(&mut self, message: Message, own: &mpsc::Sender<Message>) {
        match message {
            Message::Attach { attach, reply } => self.attach(attach, reply, own).await,
            Message::Detach { container, interface, reply } => {
                self.detach((container, interface)).await;
                // DEL does not wait for the answer.
                drop(reply.send(Reply::Detached));
            }
            Message::Status { reply } => {
                drop(reply.send(Reply::Status { ready: true, reason: String::new() }));
            }
            Message::Answered { key, turn, outcome, reply } => self.answered(key, turn, outcome, reply).await,
        }
    }

    async fn attach(&mut self, attach: Attach, reply: oneshot::Sender<Reply>, own: &mpsc::Sender<Message>) {
        if let Some(refused) = unusable(&attach) {
            drop(reply.send(refused));
            return;
        }
        let key = (attach.container_id.clone(), attach.interface.clone());
        for stale in self.others_with_an_address_of(&key, &attach) {
            tracing::warn!(container = stale.0, "its address was given to another pod; taken as gone");
            self.detach(stale).await;
        }
        if let Err(error) = self.records.write(&attach) {
            drop(reply.send(record_refusal(&error)));
            return;
        }
        self.turns += 1;
        let turn = self.turns;
        let (pods, own, attachment) = (self.pods.clone(), own.clone(), attachment(&attach));
        self.entries.insert(key.clone(), Entry { attach, turn });
        tokio::spawn(async move {
            let outcome = pods.attach(attachment).await;
            // The registry ends only with the daemon; the plugin then sees a closed connection.
            drop(own.send(Message::Answered { key, turn, outcome, reply }).await);
        });
    }

    /// Attachments whose DEL did not reach us: the lease store gives an address to one pod at a time.
    fn others_with_an_address_of(&self, key: &Key, attach: &Attach) -> Vec<Key> {
        let shares = |entry: &Entry| entry.attach.addresses.iter().any(|ip| attach.addresses.contains(ip));
        let others = self.entries.iter().filter(|(other, entry)| *other != key && shares(entry));
        others.map(|(other, _)| other.clone()).collect()
    }

    async fn answered(
        &mut self,
        key: Key,
        turn: u64,
        outcome: Result<(), String>,
        reply: oneshot::Sender<Reply>,
    ) {
        let current = self.entries.get(&key).map(|entry| entry.turn);
        let answer = match outcome {
            Ok(()) if current == Some(turn) => Reply::Committed,
            // A repeated attach of the same pod stands in for this one, and speaks for it too.
            Ok(()) if current.is_some() => Reply::Committed,
            Ok(()) => {
                // A detach came while the attach was on its way and may have overtaken it.
                self.pods.detach(key.0, key.1).await;
                refusal(Code::TRY_AGAIN, "the pod was taken away while it was being added".into())
            }
            Err(reason) => {
                if current == Some(turn) {
                    self.forget(&key);
                }
                refusal(Code::TRY_AGAIN, reason)
            }
        };
        drop(reply.send(answer));
    }

    async fn detach(&mut self, key: Key) {
        self.forget(&key);
        self.pods.detach(key.0, key.1).await;
    }

    fn forget(&mut self, key: &Key) {
        self.entries.remove(key);
        if let Err(error) = self.records.remove(&key.0, &key.1) {
            tracing::warn!(%error, "a record of an attachment stays; it is ignored when its device is gone");
        }
    }

    /// Detaches what has no device any more.
    pub(super) async fn sweep(&mut self) {
        for key in self.without_device() {
            tracing::info!(container = key.0, interface = key.1, "its device is gone; taken as detached");
            self.detach(key).await;
        }
    }

    /// Attachments whose device on the node is gone. None if the kernel does not tell.
    fn without_device(&self) -> Vec<Key> {
        if self.entries.is_empty() {
            return Vec::new();
        }
        let links = match Rtnl::open().and_then(|mut rtnl| rtnl.links()) {
            Ok(links) => links,
            Err(error) => {
                tracing::warn!(%error, "cannot tell which pods' devices are there");
                return Vec::new();
            }
        };
        let gone = |entry: &Entry| !links.iter().any(|link| link.name == entry.attach.host_interface);
        self.entries.iter().filter(|(_, entry)| gone(entry)).map(|(key, _)| key.clone()).collect()
    }
}

/// The refusal of an attach that cannot be told apart from others or judged.
fn unusable(attach: &Attach) -> Option<Reply> {
    if attach.pod_namespace.is_empty() || attach.pod_name.is_empty() {
        let msg = "CNI_ARGS has no K8S_POD_NAMESPACE and K8S_POD_NAME, so the pod's policy cannot be told";
        return Some(refusal(Code::ENVIRONMENT, msg.into()));
    }
    None
}

fn record_refusal(error: &RecordError) -> Reply {
    refusal(Code::IO, format!("the attachment cannot be kept: {error}"))
}

fn attachment(attach: &Attach) -> Attachment {
    Attachment {
        container: attach.container_id.clone(),
        interface: attach.interface.clone(),
        pod: ObjectName::new(&attach.pod_namespace, &attach.pod_name),
        uid: Some(attach.pod_uid.clone()).filter(|uid| !uid.is_empty()),
        netns: attach.netns.display().to_string(),
        host_device: attach.host_interface.clone(),
        addresses: attach.addresses.clone(),
    }
}
