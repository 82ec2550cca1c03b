//! The sockets that the daemon listens on. One that cannot be made is told of and tried again; the others work.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;

use crate::admin::{self, Pages, Published};
use crate::cluster::task::Handle;
use crate::config::Config;
use crate::drops::Drops;
use crate::janitor::{self, JanitorStatus, Settings};
use crate::pods::{self, Board, Cluster};

/// The socket's name in the daemon's folder.
pub(crate) const ADMIN_SOCKET: &str = "admin.sock";
/// The wait before a socket that cannot be made is tried again.
const RETRY: Duration = Duration::from_secs(2);

/// The parts of the daemon that do not work, with the reason.
#[derive(Debug, Clone)]
pub(super) struct Failed(watch::Sender<Vec<(String, String)>>);

impl Failed {
    pub(super) fn new(failed: Vec<(String, String)>) -> Self {
        for (part, reason) in &failed {
            tracing::error!(part, "{reason}");
        }
        Self(watch::Sender::new(failed))
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Vec<(String, String)>> {
        self.0.subscribe()
    }

    /// `part` does not work; said in the log when it is new.
    pub(super) fn add(&self, part: &str, reason: String) {
        let entry = (part.to_owned(), reason);
        if self.0.borrow().contains(&entry) {
            return;
        }
        tracing::error!(part, "{}", entry.1);
        self.0.send_modify(|failed| {
            failed.retain(|(one, _)| one != part);
            failed.push(entry);
        });
    }

    fn remove(&self, part: &str) {
        self.0.send_if_modified(|failed| {
            let before = failed.len();
            failed.retain(|(one, _)| one != part);
            failed.len() != before
        });
    }
}

/// Health, metrics and the root-only socket.
pub(super) fn administration(config: &Config, published: &Published, failed: &Failed) {
    let metrics_path = config.admin.metrics_path.clone();
    for (address, pages) in [
        (config.admin.health, Pages { health: true, metrics: None }),
        (config.admin.metrics, Pages { health: false, metrics: Some(metrics_path) }),
    ] {
        if let Some(address) = address {
            tokio::spawn(admin::serve_http(address, pages, published.clone()));
        }
    }
    tokio::spawn(admin_socket(config.run_dir.join(ADMIN_SOCKET), published.clone(), failed.clone()));
}

/// A passing error must not make the node unready for ever.
async fn admin_socket(path: PathBuf, published: Published, failed: Failed) {
    const PART: &str = "admin socket";
    loop {
        match admin::listen_on_socket(&path) {
            Ok(listener) => {
                failed.remove(PART);
                admin::serve_socket(listener, published.clone()).await;
            }
            Err(error) => failed.add(PART, format!("{error}; it is tried again")),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Who frees what pods have left behind. It is not needed if another program manages the network configuration.
pub(super) fn janitor(config: &Config, failed: &Failed) -> watch::Receiver<JanitorStatus> {
    let none = || watch::channel(JanitorStatus::default()).1;
    if !config.pods.enable_cni {
        return none();
    }
    let settings = Settings::new(config.pods.conflist.clone(), config.run_dir.join(pods::ATTACHMENTS));
    let settings = settings.overridden(|name| std::env::var(name).ok());
    janitor::spawn(settings).unwrap_or_else(|error| {
        failed
            .add("janitor", format!("its thread cannot start: {error}; what pods leave behind is not freed"));
        none()
    })
}

/// Who shows what policies refuse. Without policies there is nothing to show.
pub(super) fn drops(config: &Config, cluster: Handle, failed: &Failed) -> Drops {
    if !config.run_firewall {
        return Drops::none();
    }
    Drops::spawn(cluster).unwrap_or_else(|error| {
        failed.add("drops", format!("its thread cannot start: {error}; refused packets are not shown"));
        Drops::none()
    })
}

/// The plugin's socket, and the attachments of before the start. It returns when these are known, or when the socket
/// cannot be made; then it is tried again in the background.
pub(super) async fn plugin(run_dir: &Path, cluster: Cluster, board: Board, failed: &Failed) {
    match pods::Server::start(run_dir, cluster.clone(), board.clone()).await {
        Ok(server) => {
            tokio::spawn(server.run());
        }
        Err(error) => {
            failed.add(PLUGIN, format!("{error}; it is tried again"));
            tokio::spawn(plugin_later(run_dir.to_owned(), cluster, board, failed.clone()));
        }
    }
}

const PLUGIN: &str = "plugin socket";

async fn plugin_later(run_dir: PathBuf, cluster: Cluster, board: Board, failed: Failed) {
    loop {
        tokio::time::sleep(RETRY).await;
        match pods::Server::start(&run_dir, cluster.clone(), board.clone()).await {
            Ok(server) => {
                failed.remove(PLUGIN);
                return server.run().await;
            }
            Err(error) => failed.add(PLUGIN, format!("{error}; it is tried again")),
        }
    }
}
