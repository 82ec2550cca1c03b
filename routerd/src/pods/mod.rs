//! The daemon's end of the plugin's socket: pods of this node come and go here, before the API server shows them.
//!
//! ```text
//!   plugin ──► connection (a task each) ──► Registry (one owner) ──► cluster task ──► policy plane commits
//!          ◄── reply "committed" ◄────────────────────────────────────────────────────┘
//! ```
//!
//! What is attached is also kept as a small file each in `attachments/`, so that a restarted daemon knows it before it
//! writes anything. The folder is in memory (`/run`) and gone with the pods at a reboot.

mod cluster;
mod connection;
mod departed;
mod leases;
mod listen;
mod record;
mod refusal;
mod registry;
mod status;
#[cfg(test)]
mod tests;

pub use cluster::{Cluster, Gate};
pub use listen::ListenError;
pub use record::RecordError;
pub use refusal::{Reason, Refusal};
pub use status::{Board, PodsStatus, board};

use std::collections::VecDeque;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;

use crate::cluster::objects::Attachment;
use connection::Service;
use record::Records;
use registry::Registry;

/// The socket's name in the daemon's folder.
const SOCKET: &str = "cni.sock";
/// The name of the folder of attachments.
pub(crate) const ATTACHMENTS: &str = "attachments";
/// So many peers may be silent at once. A plugin says all it has to say at once; when more connect, the one that has
/// been silent for longest goes, so that nobody can keep the others out.
const MOST_SILENT: usize = 256;
/// So many plugins may wait for their answer at once; more are told to come again.
const MOST_WAITING: usize = 512;
/// Messages that may wait for the registry, whose own work is microseconds each.
const QUEUE: usize = 64;
/// How often is looked if an attach would be served, for the status.
const LOOK: Duration = Duration::from_secs(1);

/// What takes in attachments: the cluster task, or a test.
pub trait Pods: Clone + Send + Sync + 'static {
    /// Returns when the pod's policy is in the kernel, or why it is not.
    fn attach(&self, attachment: Attachment) -> impl Future<Output = Result<(), Refusal>> + Send;
    /// An interface of a container is gone.
    fn detach(&self, container: String, interface: String) -> impl Future<Output = ()> + Send;
    /// Attachments that were made before the daemon started.
    fn restore(&self, attachments: Vec<Attachment>) -> impl Future<Output = ()> + Send;
    /// If an attach would be served now, and why not.
    fn ready(&self) -> Result<(), String>;
}

/// The socket is open and the attachments of before the start are known.
#[derive(Debug)]
pub struct Server<P> {
    listener: UnixListener,
    registry: Registry<P>,
    pods: P,
    board: Board,
}

impl<P: Pods> Server<P> {
    /// Opens `cni.sock` in the folder `run_dir` (made if absent, mode 0700) and tells `pods` of what was attached
    /// before. Attachments whose device is gone are forgotten. What happens is told on `board`.
    pub async fn start(run_dir: &Path, pods: P, board: Board) -> Result<Self, ListenError> {
        let listener = listen::listen(&run_dir.join(SOCKET))?;
        let records = Records::new(run_dir.join(ATTACHMENTS));
        let registry = Registry::restore(records, pods.clone(), board.clone()).await;
        Ok(Self { listener, registry, pods, board })
    }

    /// Serves for ever.
    pub async fn run(self) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(self.registry.run(sender.clone(), receiver));
        let places = Arc::new(Semaphore::new(MOST_WAITING));
        let service = Service { pods: self.pods, registry: sender, board: self.board, places };
        tokio::select! {
            () = accept(&self.listener, &service) => {}
            () = watch_readiness(&service) => {}
        }
    }
}

async fn accept<P: Pods>(listener: &UnixListener, service: &Service<P>) {
    let mut silent = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                make_room(&mut silent, &service.board);
                let heard = tokio::spawn(connection::hear(stream, service.clone()));
                silent.push_back(heard.abort_handle());
            }
            Err(error) => {
                // Out of descriptors, most likely: others close theirs in time.
                tracing::warn!(%error, "cannot accept a connection of the CNI plugin");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Ends the connection that has been silent for longest if there are too many.
fn make_room(silent: &mut VecDeque<AbortHandle>, board: &Board) {
    if silent.len() < MOST_SILENT {
        return;
    }
    silent.retain(|one| !one.is_finished());
    if silent.len() >= MOST_SILENT
        && let Some(longest) = silent.pop_front()
    {
        longest.abort();
        status::refused(board, "crowded");
    }
}

async fn watch_readiness<P: Pods>(service: &Service<P>) {
    let mut look = tokio::time::interval(LOOK);
    loop {
        look.tick().await;
        let reason = connection::readiness(service).err().unwrap_or_default();
        service.board.send_if_modified(|status| {
            let changed = status.reason != reason || status.ready != reason.is_empty();
            status.ready = reason.is_empty();
            status.reason = reason;
            changed
        });
    }
}
