//! The one owner of what is attached.

use std::collections::BTreeMap;
use std::time::Duration;

use cni_plugin::socket::{self, Attach};
use kernel::Rtnl;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::departed::Departed;
use super::record::Records;
use super::refusal::{Reason, Refusal};
use super::status::Board;
use super::{Pods, leases};
use crate::cluster::objects::{Attachment, ObjectName};

/// How often is looked for attachments whose device is gone: the DEL of a pod may not have reached us.
const SWEEP: Duration = Duration::from_secs(30);

/// Container ID and interface.
pub(super) type Key = (String, String);
/// Who waits for an attach.
type Reply = oneshot::Sender<Result<(), Refusal>>;

/// What the registry is told.
#[derive(Debug)]
pub(super) enum Message {
    /// A plugin has wired a pod and waits.
    Attach { attach: Attach, reply: Reply },
    /// A plugin takes an interface away, and said so at the moment `at`.
    Detach { key: Key, at: u64, reply: oneshot::Sender<()> },
    /// The cluster task has answered an attach.
    Answered { key: Key, turn: u64, outcome: Result<(), Refusal>, reply: Reply },
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
    board: Board,
    entries: BTreeMap<Key, Entry>,
    departed: Departed,
    turns: u64,
}

impl<P: Pods> Registry<P> {
    /// What the records say, as far as the devices are still there, told to `pods`.
    pub(super) async fn restore(records: Records, pods: P, board: Board) -> Self {
        let (entries, departed) = (BTreeMap::new(), Departed::default());
        let mut registry = Self { records, pods, board, entries, departed, turns: 0 };
        for attach in registry.records.read_all() {
            let key = (attach.container_id.clone(), attach.interface.clone());
            registry.entries.insert(key, Entry { attach, turn: 0 });
        }
        for key in registry.without_device().into_iter().chain(registry.rivals()) {
            registry.forget(&key);
        }
        let attachments = registry.entries.values().map(|entry| attachment(&entry.attach)).collect();
        registry.pods.restore(attachments).await;
        registry.tell();
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
            Message::Detach { key, at, reply } => {
                self.taken_away(key, at).await;
                // DEL does not wait for the answer.
                let _ = reply.send(());
            }
            Message::Answered { key, turn, outcome, reply } => self.answered(key, turn, outcome, reply).await,
        }
        self.tell();
    }

    async fn attach(&mut self, attach: Attach, reply: Reply, own: &mpsc::Sender<Message>) {
        let key = (attach.container_id.clone(), attach.interface.clone());
        if let Err(refusal) = self.admit(&key, &attach) {
            drop(reply.send(Err(refusal)));
            return;
        }
        // The lease store gives an address to one at a time, and it has just said that it is this one's.
        for stale in self.others_with_an_address_of(&key, &attach) {
            tracing::warn!(container = stale.0, "its address was given to another pod; taken as gone");
            self.detach(stale).await;
        }
        if let Err(error) = self.records.write(&attach) {
            let message = format!("the attachment cannot be kept: {error}");
            drop(reply.send(Err(Refusal::new(Reason::Record, message))));
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

    /// Refuses an attach that cannot be told apart from others or judged, or that a DEL has overtaken.
    fn admit(&self, key: &Key, attach: &Attach) -> Result<(), Refusal> {
        if attach.pod_namespace.is_empty() || attach.pod_name.is_empty() {
            let msg =
                "CNI_ARGS has no K8S_POD_NAMESPACE and K8S_POD_NAME, so the pod's policy cannot be told";
            return Err(Refusal::new(Reason::Unnamed, msg));
        }
        if self.departed.since(key, attach.started) {
            return Err(taken_away());
        }
        Ok(())
    }

    /// Attachments whose DEL did not reach us.
    fn others_with_an_address_of(&self, key: &Key, attach: &Attach) -> Vec<Key> {
        let others =
            self.entries.iter().filter(|(other, entry)| *other != key && share(&entry.attach, attach));
        others.map(|(other, _)| other.clone()).collect()
    }

    /// Of records that share an address, those that the lease store, and else the time, says are over.
    fn rivals(&self) -> Vec<Key> {
        let over = |(key, entry): &(&Key, &Entry)| {
            let mut rivals = self
                .entries
                .iter()
                .filter(|(other, rival)| other != key && share(&rival.attach, &entry.attach));
            rivals.any(|(other, rival)| {
                match (leases::is_stale(&entry.attach), leases::is_stale(&rival.attach)) {
                    (true, false) => true,
                    (false, true) => false,
                    _ => (entry.attach.started, *key) < (rival.attach.started, other),
                }
            })
        };
        self.entries.iter().filter(over).map(|(key, _)| key.clone()).collect()
    }

    async fn answered(&mut self, key: Key, turn: u64, outcome: Result<(), Refusal>, reply: Reply) {
        let current = self.entries.get(&key).map(|entry| entry.turn);
        let answer = match outcome {
            Ok(()) if current == Some(turn) => Ok(()),
            // A repeated attach of the same pod stands in for this one, and speaks for it too.
            Ok(()) if current.is_some() => Ok(()),
            Ok(()) => {
                // A detach came while the attach was on its way and may have overtaken it.
                self.pods.detach(key.0, key.1).await;
                Err(taken_away())
            }
            Err(refusal) => {
                if current == Some(turn) {
                    self.forget(&key);
                }
                Err(refusal)
            }
        };
        drop(reply.send(answer));
    }

    /// A DEL, or an ADD that failed and takes back. What began later than it was said is not meant.
    async fn taken_away(&mut self, key: Key, at: u64) {
        let at = if at == 0 { socket::moment() } else { at };
        self.departed.note(&key, at);
        if self.entries.get(&key).is_none_or(|entry| entry.attach.started <= at) {
            self.detach(key).await;
        }
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

    fn tell(&self) {
        let attachments = self.entries.len() as u64;
        self.board.send_modify(|status| status.attachments = attachments);
    }

    /// Detaches what has no device any more.
    pub(super) async fn sweep(&mut self) {
        for key in self.without_device() {
            tracing::info!(container = key.0, interface = key.1, "its device is gone; taken as detached");
            self.detach(key).await;
        }
        self.tell();
    }

    /// Attachments whose device on the node is gone. None if the kernel does not tell.
    ///
    /// The devices are asked for one by one: a list of all links is asked for again and again while pods come and go, and
    /// who waits for an attach would wait for it.
    fn without_device(&self) -> Vec<Key> {
        if self.entries.is_empty() {
            return Vec::new();
        }
        let mut gone = Vec::new();
        let looked = Rtnl::open().and_then(|mut rtnl| {
            for (key, entry) in &self.entries {
                match rtnl.link_by_name(&entry.attach.host_interface) {
                    // No link can have a name that is none.
                    Err(error) if error.is_invalid() => gone.push(key.clone()),
                    found => gone.extend(found?.is_none().then(|| key.clone())),
                }
            }
            Ok(())
        });
        match looked {
            Ok(()) => gone,
            Err(error) => {
                tracing::warn!(%error, "cannot tell which pods' devices are there");
                Vec::new()
            }
        }
    }
}

fn share(one: &Attach, other: &Attach) -> bool {
    one.addresses.iter().any(|address| other.addresses.contains(address))
}

fn taken_away() -> Refusal {
    Refusal::new(Reason::Detached, "the pod was taken away while it was being added")
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
