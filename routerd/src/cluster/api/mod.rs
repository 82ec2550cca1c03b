//! The cluster from an API server. It is never given up: while the server is away, what was known stays, and status
//! says why nothing new comes.

mod connect;
mod early;
mod patience;
mod renew;
#[cfg(test)]
mod tests;
mod watch;

use std::path::PathBuf;
use std::time::Duration;

use kube::{Api, Client};
use tokio::sync::mpsc::Sender;
use tokio::sync::watch as published;

use self::connect::Connection;
use self::patience::{PATIENCE, patient};
use self::renew::Renewal;
use self::watch::watch;
pub(in crate::cluster) use self::watch::{jittered, with_causes};
use super::Object;
use super::balancing::{Campaign, Office};
use super::events::Reporter;
use super::objects::{ObjectName, Pod};
use super::source::SourceMessage;
use super::task::{Handle, PodLookup, WAITS_AT_MOST};
use super::wire::{Wire as _, WireNamespace, WireNode, WirePod, WirePolicy, WireService, WireSlice};

/// The wait before credentials that could not be read are read again.
const RETRY: Duration = Duration::from_secs(2);
/// How long the API server may take to tell of one pod, before it is asked again.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// The wait before it is asked again.
const LOOKUP_RETRY: Duration = Duration::from_millis(500);
/// For so long at most nothing else is asked for than what a new node needs first, until that is in force. The lists of a
/// large cluster would keep both sides busy meanwhile, and this one while it programs what it has got.
const HEAD_START: Duration = Duration::from_millis(500);

/// Which API server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApiServer {
    /// `--kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// `--master`.
    pub master: Option<String>,
    /// The node for which the API server's Service and the cluster's DNS are asked for before everything else; `None` if it
    /// needs no Services.
    pub early_for: Option<String>,
}

impl ApiServer {
    /// What it is called in status.
    pub fn describe(&self) -> String {
        match (&self.master, &self.kubeconfig) {
            (Some(url), _) => format!("API server {url}"),
            (None, Some(path)) => format!("API server of kubeconfig {}", path.display()),
            (None, None) => "API server of the pod's service account".to_owned(),
        }
    }
}

/// Who writes to the API server.
#[derive(Debug, Default)]
pub struct Writers {
    /// Tells of what is wrong with objects.
    pub reporter: Option<Reporter>,
    /// Writes load balancer addresses.
    pub office: Option<Office>,
}

/// Starts to watch, and to write what `writers` have to write. Must be called inside a runtime. The lookup is for the task
/// that owns the index.
pub fn spawn(
    server: ApiServer,
    sender: Sender<SourceMessage>,
    handle: Handle,
    writers: Writers,
) -> (Box<dyn PodLookup>, Option<Campaign>) {
    spawn_patient(server, sender, handle, writers, PATIENCE)
}

fn spawn_patient(
    server: ApiServer,
    sender: Sender<SourceMessage>,
    handle: Handle,
    writers: Writers,
    patience: Duration,
) -> (Box<dyn PodLookup>, Option<Campaign>) {
    let (publish, client) = published::channel(None);
    let runtime = tokio::runtime::Handle::current();
    if let Some(reporter) = writers.reporter {
        tokio::spawn(reporter.run(client.clone(), sender.clone()));
    }
    let campaign = writers.office.map(|office| office.start(client.clone(), sender.clone()));
    tokio::spawn(run(server, sender, publish, patience));
    (Box::new(Lookup { client, handle, runtime }), campaign)
}

async fn run(
    server: ApiServer,
    sender: Sender<SourceMessage>,
    publish: published::Sender<Option<Client>>,
    patience: Duration,
) {
    let Connection { client, files, .. } = connect(&server, &sender, patience).await;
    let (replace, client) = published::channel(client);
    let (refused, refusals) = published::channel(());
    let client = patient(client, refused, patience);
    let renewal = Renewal {
        server: server.clone(),
        sender: sender.clone(),
        files,
        client: replace,
        refusals,
        patience,
    };
    publish.send_replace(Some(client.clone()));
    let mut early = std::pin::pin!(async {
        if let Some(node) = &server.early_for {
            early::read(client.clone(), node, &sender).await;
        }
    });
    let late = tokio::time::timeout(HEAD_START, &mut early).await.is_err();
    tokio::join!(
        renewal.run(),
        async {
            if late {
                early.await;
            }
        },
        watch::<WireNode>(client.clone(), sender.clone()),
        watch::<WireNamespace>(client.clone(), sender.clone()),
        watch::<WirePod>(client.clone(), sender.clone()),
        watch::<WireService>(client.clone(), sender.clone()),
        watch::<WireSlice>(client.clone(), sender.clone()),
        watch::<WirePolicy>(client.clone(), sender.clone()),
    );
}

/// Reads credentials until there are some: on a node that boots they may come later.
async fn connect(server: &ApiServer, sender: &Sender<SourceMessage>, patience: Duration) -> Connection {
    loop {
        match connect::client(server, patience).await {
            Ok(connection) => {
                tracing::info!(url = connection.url, "the cluster is learnt from this API server");
                say(sender, Vec::new()).await;
                return connection;
            }
            Err(error) => say(sender, vec![format!("{}; it is tried again", with_causes(&error))]).await,
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Says what is wrong with the credentials.
async fn say(sender: &Sender<SourceMessage>, messages: Vec<String>) {
    // A closed channel is the end of the daemon.
    let _ = sender.send(SourceMessage::Problems { item: "API server".to_owned(), messages }).await;
}

/// Asks the API server for single pods.
struct Lookup {
    client: published::Receiver<Option<Client>>,
    handle: Handle,
    runtime: tokio::runtime::Handle,
}

impl PodLookup for Lookup {
    fn ask(&self, pod: &ObjectName) {
        // Without a client the watch is all there is; the ADD waits for it.
        let Some(client) = self.client.borrow().clone() else { return };
        let (name, handle) = (pod.clone(), self.handle.clone());
        self.runtime.spawn(async move {
            // A server that is away may be back before the ADD gives up; whoever has answered it meanwhile, nobody then
            // listens to us.
            let ask = async {
                loop {
                    match look_up(client.clone(), &name).await {
                        Ok(found) => return handle.looked(name.clone(), found).await,
                        Err(why) => {
                            tracing::warn!(pod = %name, "the API server does not tell of a pod: {why}");
                        }
                    }
                    tokio::time::sleep(LOOKUP_RETRY).await;
                }
            };
            // The ADD says itself that it waited too long.
            let _ = tokio::time::timeout(WAITS_AT_MOST, ask).await;
        });
    }
}

/// The pod, or none if there is none; an error if the server does not say.
async fn look_up(client: Client, name: &ObjectName) -> Result<Option<Pod>, String> {
    let pods = Api::<WirePod>::namespaced(client, &name.namespace);
    match tokio::time::timeout(LOOKUP_TIMEOUT, pods.get_opt(&name.name)).await {
        Ok(Ok(Some(wire))) => match wire.convert().object {
            Some(Object::Pod(pod)) => Ok(Some(pod)),
            _ => Err("what it tells cannot be read".to_owned()),
        },
        Ok(Ok(None)) => Ok(None),
        Ok(Err(error)) => Err(with_causes(&error)),
        Err(_) => Err(format!("no answer within {} s", LOOKUP_TIMEOUT.as_secs())),
    }
}
