//! Putting the plane together.

use std::io;

use prefix::Family;
use tokio::runtime::Handle as Runtime;
use tokio::sync::{mpsc, watch};

use super::apply::Applier;
use super::desired::Advertise;
use super::link::Link;
use super::status;
use crate::cluster::objects::LearntRoute;
use crate::config::BgpConfig;
use crate::runner::{Settings, Spawned, spawn};
use crate::services;
use crate::services::dsr::Dsr;

/// Batches of routes on their way to the index.
const ROUTES: usize = 64;

/// The plane, running.
pub struct Advertising {
    /// For the cluster task, the administration and the monitor.
    pub plane: Spawned,
    /// What the speaker learns, for the owner of the index: a route without next hops is lost.
    pub routes: mpsc::Receiver<Vec<LearntRoute>>,
    /// The speaker's state as JSON, `null` while there is none.
    pub status: watch::Receiver<serde_json::Value>,
    /// The speaker, to be stopped before the daemon ends.
    pub link: Link,
}

/// Where the plane gets what it knows of Services.
#[derive(Debug, Clone, Default)]
pub struct Served {
    /// How Services are served.
    pub settings: services::Settings,
    /// The planes that bring them into force; see [`Advertise::programmed_by`].
    pub programmed_by: Option<Vec<&'static str>>,
}

/// Starts the plane. The speaker itself starts when the node's own object is known.
pub fn start(
    bgp: BgpConfig,
    families: Vec<Family>,
    served: Served,
    runtime: &Runtime,
    settings: Settings,
) -> io::Result<Advertising> {
    let (route_sender, routes) = mpsc::channel(ROUTES);
    let (status_sender, status) = watch::channel(serde_json::Value::Null);
    let link = Link::new();
    let applier = Applier::new(bgp.clone(), runtime.clone(), route_sender, link.clone());
    let services = services::desired::Services::new(served.settings.clone());
    let (direct, programmed_by) = (Dsr::new(served.settings), served.programmed_by);
    let plane = spawn(Advertise { families, bgp, services, direct, programmed_by }, applier, settings)?;
    runtime.spawn(status::publish(link.clone(), status_sender));
    Ok(Advertising { plane, routes, status, link })
}
