//! The daemon's end of the plugin's socket: pods of this node come and go here, before the API server shows them.
//!
//! ```text
//!   plugin ──► connection (a task each) ──► Registry (one owner) ──► cluster task ──► policy plane commits
//!          ◄── reply "committed" ◄────────────────────────────────────────────────────┘
//! ```
//!
//! What is attached is also kept as a small file each in `attachments/`, so that a restarted daemon knows it before it
//! writes anything. The folder is in memory (`/run`) and gone with the pods at a reboot.

mod connection;
mod listen;
mod record;
mod registry;
#[cfg(test)]
mod tests;

pub use listen::ListenError;
pub use record::RecordError;

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc};

use crate::cluster::objects::Attachment;
use crate::cluster::task::Handle;
use record::Records;
use registry::Registry;

/// The socket's name in the daemon's folder.
const SOCKET: &str = "cni.sock";
/// The name of the folder of attachments.
const ATTACHMENTS: &str = "attachments";
/// So many plugins may speak to us at once; the others wait in the socket's queue.
const MOST_CONNECTIONS: usize = 512;
/// Messages that may wait for the registry, whose own work is microseconds each.
const QUEUE: usize = 64;

/// What takes in attachments: the cluster task, or a test.
pub trait Pods: Clone + Send + Sync + 'static {
    /// Returns when the pod's policy is in the kernel, or why it is not.
    fn attach(&self, attachment: Attachment) -> impl Future<Output = Result<(), String>> + Send;
    /// An interface of a container is gone.
    fn detach(&self, container: String, interface: String) -> impl Future<Output = ()> + Send;
    /// Attachments that were made before the daemon started.
    fn restore(&self, attachments: Vec<Attachment>) -> impl Future<Output = ()> + Send;
}

impl Pods for Handle {
    async fn attach(&self, attachment: Attachment) -> Result<(), String> {
        Handle::attach(self, attachment).await.map_err(|error| error.to_string())
    }

    async fn detach(&self, container: String, interface: String) {
        Handle::detach(self, container, interface).await;
    }

    async fn restore(&self, attachments: Vec<Attachment>) {
        Handle::restore(self, attachments).await;
    }
}

/// The socket is open and the attachments of before the start are known.
#[derive(Debug)]
pub struct Server<P> {
    listener: UnixListener,
    registry: Registry<P>,
}

impl<P: Pods> Server<P> {
    /// Opens `cni.sock` in the folder `run_dir` (made if absent, mode 0700) and tells `pods` of what was attached
    /// before. Attachments whose device is gone are forgotten.
    pub async fn start(run_dir: &Path, pods: P) -> Result<Self, ListenError> {
        let listener = listen::listen(&run_dir.join(SOCKET))?;
        let records = Records::new(run_dir.join(ATTACHMENTS));
        let registry = Registry::restore(records, pods).await;
        Ok(Self { listener, registry })
    }

    /// Serves for ever.
    pub async fn run(self) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        tokio::spawn(self.registry.run(sender.clone(), receiver));
        let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        loop {
            let Ok(permit) = Arc::clone(&connections).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let registry = sender.clone();
                    tokio::spawn(async move {
                        connection::serve(stream, &registry).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: others close theirs in time.
                    tracing::warn!(%error, "cannot accept a connection of the CNI plugin");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }
}
