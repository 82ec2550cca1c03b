//! The running daemon: what is started, in which order, and how it ends.
//!
//! Order: the lock of the folder, planes (which write nothing yet), administration, the task that owns the index, the
//! attachments of before the start, the source of the cluster. The planes' first write comes when the source has shown
//! everything. SIGTERM ends the process and leaves the kernel as it is.

mod late;
mod lock;
mod log;
mod monitor;
mod network;
mod owner;
mod planes;
mod sockets;

use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle as Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

pub(crate) use self::sockets::ADMIN_SOCKET;

use self::planes::{Advertised, Running};
use self::sockets::Failed;
use crate::admin::Published;
use crate::advertise::Link;
use crate::advertise::passwords::Files;
use crate::cluster::api::{self, ApiServer, Writers};
use crate::cluster::balancing::Campaign;
use crate::cluster::events::Reporter;
use crate::cluster::manifests;
use crate::cluster::task::{Ends, Settings, Task, WAITS_AT_MOST};
use crate::config::{ClusterSource, Config, Effect, Flag};
use crate::explain::{Desk, Masquerade};
use crate::pods::{self, Cluster, Gate};
use crate::policy;
use crate::runner::Status;

/// Threads for sockets and BGP. The planes and the index have their own.
const WORKERS: usize = 2;

/// Runs the daemon until it is told to end.
pub(crate) fn run(config: &Config, without_effect: &[&Flag]) -> ExitCode {
    kernel::memory::share_pools();
    log::init(config.log);
    warn_of(without_effect);
    let runtime = match Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the daemon's threads cannot start");
            return ExitCode::FAILURE;
        }
    };
    let ended = runtime.block_on(serve(config));
    // Whoever still speaks to us is not waited for long.
    runtime.shutdown_timeout(Duration::from_millis(200));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn warn_of(flags: &[&Flag]) {
    for flag in flags {
        match flag.effect {
            Effect::NotYet => tracing::warn!("--{} has no effect yet", flag.name),
            Effect::Never(why) => tracing::warn!("--{} has no effect: {why}", flag.name),
            Effect::Works => {}
        }
    }
}

/// Everything after the start of the log. An error is only what makes a start useless.
async fn serve(config: &Config) -> Result<(), Box<dyn std::error::Error>> {
    // Before anything else, so that no signal is missed.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let started = Instant::now();
    let lock = tokio::select! {
        lock = lock::take(&config.run_dir) => lock?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let Started { mut owner, link, campaign } = start(config, started).await?;
    let ended = tokio::select! {
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
        // Only a bug comes here. Without the index nothing can be kept right; a new start can.
        _ = &mut owner => Err("the task that owns the index has ended, which is a bug of routerd; ending for a new start".into()),
    };
    tracing::info!("ending; routes, Services and policies stay in the kernel");
    if let Some(campaign) = campaign {
        campaign.end().await;
    }
    if let Some(link) = link {
        link.stop().await;
    }
    drop(lock);
    ended
}

/// What the end of the daemon needs of its start.
struct Started {
    /// The task that owns the index.
    owner: oneshot::Receiver<()>,
    /// BGP.
    link: Option<Link>,
    /// For the Lease of the allocator.
    campaign: Option<Campaign>,
}

async fn start(config: &Config, started: Instant) -> io::Result<Started> {
    let runtime = owner::runtime()?;
    let server = api_server(config);
    let source = match (&config.source, &server) {
        (ClusterSource::Manifests(folder), _) => format!("folder {}", folder.display()),
        (ClusterSource::Api { .. }, server) => server.describe(),
    };
    tracing::info!(node = config.node_name, source, version = env!("CARGO_PKG_VERSION"), "starting");
    let Running { planes, statuses, watched, roll, identity, window, advertising, in_force, office, failed } =
        planes::start(config, &Runtime::current());
    let failed = Failed::new(failed);
    let (board, gate) = (pods::board(), gate(config, &statuses));
    let (task, Ends { handle, source: sender, status }) = Task::new(Settings {
        node_name: config.node_name.clone(),
        source,
        patience: patience(&config.source),
    });

    let none = || watch::channel(serde_json::Value::Null).1;
    let published = Published {
        node: config.node_name.clone(),
        started,
        cluster: status.clone(),
        planes: statuses,
        failed: failed.subscribe(),
        bgp: advertising.as_ref().map_or_else(none, |advertised| advertised.status.clone()),
        speaker: advertising.as_ref().map(|advertised| advertised.link.clone()),
        pods: board.subscribe(),
        janitor: sockets::janitor(config, &failed),
        drops: sockets::drops(config, handle.clone(), &failed),
        desk: Some(Desk {
            cluster: handle.clone(),
            policy: window,
            plane: policy::PolicyPlane,
            masquerade: masquerade(config),
        }),
    };
    sockets::administration(config, &published, &failed);
    tokio::spawn(give_memory_back(published.planes.clone()));
    if let Err(error) = monitor::spawn(watched, roll, identity) {
        failed.add("monitor", format!("its thread cannot start: {error}; changes of others are seen late"));
    }
    let link = advertising.map(|Advertised { mut routes, link, .. }| {
        let handle = handle.clone();
        tokio::spawn(async move {
            while let Some(learnt) = routes.recv().await {
                handle.routes(learnt).await;
            }
        });
        link
    });
    if config.run_router {
        let mut files = Files::new(&config.bgp);
        // Before the source shows anything, so that no peer is without its password at first.
        if let Some(passwords) = files.read() {
            handle.passwords(passwords).await;
        }
        tokio::spawn(files.watch(handle.clone()));
    }
    if let Some(mut in_force) = in_force {
        let handle = handle.clone();
        tokio::spawn(async move {
            while let Some(news) = in_force.recv().await {
                handle.in_force(news).await;
            }
        });
    }
    let reporter = Reporter { node: config.node_name.clone(), planes: published.planes.clone() };
    let task = task.with_planes(planes).waiting_for_the_view(WAITS_AT_MOST);
    let task = task.matching_host_pods(config.match_host_pods);
    // What was attached before the start is in the index before anything else is.
    let cluster = Cluster { handle: handle.clone(), view: status, gate };
    sockets::plugin(&config.run_dir, cluster, board, &failed).await;
    let (owner, campaign) = match &config.source {
        ClusterSource::Manifests(folder) => {
            if let Err(error) = manifests::spawn(folder.clone(), sender) {
                failed.add("manifests", format!("its thread cannot start: {error}"));
            }
            (owner::run(runtime, task), None)
        }
        ClusterSource::Api { .. } => {
            let writers = Writers { reporter: Some(reporter), office };
            let (lookup, campaign) = {
                let _inside = runtime.enter();
                api::spawn(server, sender, handle.clone(), writers)
            };
            (owner::run(runtime, task.with_lookup(lookup)), campaign)
        }
    };
    Ok(Started { owner, link, campaign })
}

/// Nothing takes as much as the lists of a start and what planes make of them, and most of the program runs only then.
async fn give_memory_back(planes: Vec<watch::Receiver<Status>>) {
    for mut plane in planes {
        // One that has ended has no more to do.
        let _ = plane.wait_for(|status| status.synced).await;
    }
    kernel::memory::give_back();
    kernel::memory::leave_code();
}

/// How long an ADD waits for a pod that is not known yet.
fn patience(source: &ClusterSource) -> Duration {
    match source {
        // A file may be on its way.
        ClusterSource::Manifests(_) => Duration::from_secs(2),
        // The server says at once if there is no such pod; one that is away may come back.
        ClusterSource::Api { .. } => WAITS_AT_MOST,
    }
}

/// What becomes of sources behind Services.
fn masquerade(config: &Config) -> Option<Masquerade> {
    let masquerade = Masquerade { all: config.services.masquerade_all, by_device: !config.run_router };
    config.run_service_proxy.then_some(masquerade)
}

/// Whose commit a pod's ADD waits for.
fn gate(config: &Config, statuses: &[watch::Receiver<Status>]) -> Gate {
    if !config.run_firewall {
        return Gate::Open;
    }
    let plane = statuses.iter().find(|status| status.borrow().name == policy::NAME);
    plane.map_or(Gate::Closed, |status| Gate::Plane(status.clone()))
}

fn api_server(config: &Config) -> ApiServer {
    match &config.source {
        ClusterSource::Api { kubeconfig, master } => {
            let early_for = config.run_service_proxy.then(|| config.node_name.clone());
            ApiServer { kubeconfig: kubeconfig.clone(), master: master.clone(), early_for }
        }
        ClusterSource::Manifests(_) => ApiServer::default(),
    }
}
