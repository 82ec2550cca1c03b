//! Kubernetes Events of what a plane could not do for an object, so that its owner sees it without reading logs of nodes.
//!
//! ```text
//!  planes ──Status (watch)──► trouble.rs: which object, what to say   (pure)
//!                         ──► ledger.rs: what is new, what is due again, and not too many   (pure)
//!                         ──► write.rs: an Event of events.k8s.io/v1, or one more in its series
//! ```
//!
//! The planes never wait for this: it reads what they publish anyway. There are Events only with an API server as source.

mod ledger;
#[cfg(test)]
mod tests;
mod trouble;
mod write;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use futures::future::select_all;
use kube::Client;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch;

use self::ledger::Ledger;
use self::trouble::Trouble;
use self::write::WriteError;
use super::source::SourceMessage;
use crate::runner::Status;

/// What is said of writing Events stands under this name in the status.
const ITEM: &str = "API server, Events";
/// How often it is looked if an Event is due again, and the wait after an Event could not be written.
const TICK: Duration = Duration::from_secs(20);
/// Changes of planes that come this close together are looked at once.
const GATHER: Duration = Duration::from_millis(300);
/// How long one Event may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whose problems become Events.
#[derive(Debug, Clone)]
pub struct Reporter {
    /// The node's name: Events say where the problem is.
    pub node: String,
    /// The planes.
    pub planes: Vec<watch::Receiver<Status>>,
}

impl Reporter {
    /// Writes Events until nobody listens to `sender` any more.
    pub(super) async fn run(
        mut self,
        mut client: watch::Receiver<Option<Client>>,
        sender: Sender<SourceMessage>,
    ) {
        let Ok(Some(client)) = client.wait_for(Option::is_some).await.map(|client| client.clone()) else {
            return;
        };
        let mut desk = Desk { client, sender, ledger: Ledger::default(), said: Vec::new() };
        while !desk.sender.is_closed() {
            let troubles = self.troubles();
            desk.tell(&self.node, &troubles).await;
            self.wait().await;
        }
    }

    /// What is wrong with objects of Kubernetes now.
    fn troubles(&mut self) -> BTreeSet<Trouble> {
        let mut all = BTreeSet::new();
        for plane in &mut self.planes {
            let status = plane.borrow_and_update();
            all.extend(status.problems.iter().filter_map(|problem| Trouble::of(problem, &self.node)));
        }
        all
    }

    async fn wait(&mut self) {
        let changes: Vec<_> = self.planes.iter_mut().map(|plane| Box::pin(plane.changed())).collect();
        if changes.is_empty() {
            return tokio::time::sleep(TICK).await;
        }
        let change = async {
            // A plane that is gone says nothing any more; without the wait that would be said without end.
            if select_all(changes).await.0.is_err() {
                tokio::time::sleep(TICK).await;
            }
        };
        if tokio::time::timeout(TICK, change).await.is_ok() {
            tokio::time::sleep(GATHER).await;
        }
    }
}

struct Desk {
    client: Client,
    sender: Sender<SourceMessage>,
    ledger: Ledger,
    /// What was said last of what keeps Events from being written.
    said: Vec<String>,
}

impl Desk {
    async fn tell(&mut self, node: &str, troubles: &BTreeSet<Trouble>) {
        for trouble in self.ledger.due(troubles, Instant::now()) {
            if !self.ledger.may(&trouble, Instant::now()) {
                continue;
            }
            let written = tokio::time::timeout(PATIENCE, write::write(&self.client, node, &trouble)).await;
            let now = Instant::now();
            match written {
                Ok(Ok(())) => self.ledger.told(trouble, now),
                Ok(Err(WriteError::Refused(why))) => self.ledger.refused(trouble, why, now),
                Ok(Err(WriteError::Failed(why))) => self.ledger.failed(why, now),
                Err(_) => self.ledger.failed("the API server takes too long".to_owned(), now),
            }
        }
        // Said once, however often and for however many objects it fails.
        let messages = self.ledger.complaints();
        if self.said != messages {
            self.said.clone_from(&messages);
            // A closed channel is the end of the daemon.
            let _ = self.sender.send(SourceMessage::Problems { item: ITEM.to_owned(), messages }).await;
        }
    }
}
