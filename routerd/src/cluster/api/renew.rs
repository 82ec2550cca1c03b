//! Credentials that are replaced while the daemon runs: certificates of the kubelet, tokens, what a plugin prints, a kubeconfig
//! that is written anew. The client is made again from them, and who watches goes on with it.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use kube::Client;
use tokio::sync::mpsc::Sender;
use tokio::sync::watch as published;

use super::connect::{self, Connection};
use super::{ApiServer, say, with_causes};
use crate::cluster::source::SourceMessage;

/// What tells that a file is another one than before.
type Stamp = (u64, u64, u64, SystemTime);

/// The files that credentials were read from, as they were just before.
#[derive(Debug, Clone, Default)]
pub(super) struct Files(BTreeMap<PathBuf, Option<Stamp>>);

impl Files {
    /// Notes a file before it is read.
    pub(super) fn note(&mut self, path: PathBuf) {
        let stamp = stamp(&path);
        self.0.insert(path, stamp);
    }

    /// Makes them all count as changed.
    fn forget(&mut self) {
        self.0.values_mut().for_each(|stamp| *stamp = Some((0, 0, 0, SystemTime::UNIX_EPOCH)));
    }

    fn changed(&self) -> bool {
        self.0.iter().any(|(path, before)| stamp(path) != *before)
    }
}

fn stamp(path: &PathBuf) -> Option<Stamp> {
    let stamp = |data: fs::Metadata| -> io::Result<Stamp> {
        Ok((data.dev(), data.ino(), data.size(), data.modified()?))
    };
    fs::metadata(path).and_then(stamp).ok()
}

/// Who replaces the client.
pub(super) struct Renewal {
    pub(super) server: ApiServer,
    pub(super) sender: Sender<SourceMessage>,
    /// The files of the client in use.
    pub(super) files: Files,
    /// The client in use.
    pub(super) client: published::Sender<Client>,
    /// Tells of requests that were refused because of who asked.
    pub(super) refusals: published::Receiver<()>,
    pub(super) patience: Duration,
}

impl Renewal {
    /// Looks after the credentials until nobody listens any more.
    pub(super) async fn run(mut self) {
        while !self.sender.is_closed() {
            tokio::time::sleep(self.patience / 3).await;
            let changed = self.files.changed();
            let refused = self.refusals.has_changed().unwrap_or_default();
            if changed || refused {
                self.refusals.mark_unchanged();
                self.renew(changed).await;
            }
        }
    }

    async fn renew(&mut self, changed: bool) {
        match connect::client(&self.server, self.patience).await {
            Ok(Connection { client, files, .. }) => {
                self.files = files;
                self.client.send_replace(client);
                if changed {
                    tracing::info!("the credentials for the API server have changed; the new ones are used");
                }
                say(&self.sender, Vec::new()).await;
            }
            Err(error) => {
                let error = with_causes(&error);
                say(&self.sender, vec![format!("{error}; those of before are used, and it is tried again")])
                    .await;
                // Until it works: what is missing now may be of a file that has not come yet.
                self.files.forget();
            }
        }
    }
}
