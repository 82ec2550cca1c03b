//! The planes of the node, as the daemon runs them: index, plane, and the plane's own thread with its applier.

use std::time::Duration;

use kernel::testing::TestNs;
use routerd::cluster::wire::{Wire, WireNamespace, WireNode, WirePod, WirePolicy, WireService, WireSlice};
use routerd::cluster::{Event, Index, Object};
use routerd::policy::{PolicyApplier, PolicyPlane};
use routerd::runner::{Settings, Spawned, Waiter, spawn};
use routerd::services::apply::Applier;
use routerd::services::desired::Services;
use routerd::services::linux::Linux;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::oneshot;

use crate::cluster::Cluster;
use crate::net::NODE;

/// Running planes, policy first. They end when this is dropped and leave the kernel as it is.
pub(crate) struct Daemon {
    index: Index,
    planes: Vec<Spawned>,
}

/// What the index holds of a document.
pub(crate) fn object(document: &Value) -> Object {
    fn read<T: Wire + DeserializeOwned>(document: &Value) -> Object {
        let wire: T = serde_json::from_value(document.clone()).unwrap();
        wire.convert().object.unwrap()
    }
    match document["kind"].as_str().unwrap() {
        "Namespace" => read::<WireNamespace>(document),
        "Node" => read::<WireNode>(document),
        "Pod" => read::<WirePod>(document),
        "NetworkPolicy" => read::<WirePolicy>(document),
        "Service" => read::<WireService>(document),
        "EndpointSlice" => read::<WireSlice>(document),
        other => panic!("no test has a {other}"),
    }
}

impl Daemon {
    /// Starts in the namespace with the cluster as the first complete view. Services only if they are asked for:
    /// they need a kernel with IPVS.
    pub(crate) fn start(
        node: &TestNs,
        cluster: &Cluster,
        services: Option<routerd::services::Settings>,
    ) -> Self {
        let mut index = Index::new(NODE).with_host_pods_as_peers(cluster.host_pods_are_peers);
        if let Some(weight) = cluster.crowds_above {
            index = index.with_crowds_above(weight);
        }
        for event in cluster.events() {
            index.apply(event);
        }
        let settings = Settings { verify_every: Duration::from_hours(1), ..Settings::default() };
        let mut planes = node.run_in(|| {
            let policy = spawn(PolicyPlane, PolicyApplier::new(), settings).unwrap();
            let services = services.map(|of| {
                spawn(Services::new(of.clone()), Applier::new(Linux::new(), of), settings).unwrap()
            });
            [Some(policy), services].into_iter().flatten().collect::<Vec<_>>()
        });
        for plane in &mut planes {
            plane.subscriber.start(&index);
        }
        let mut daemon = Self { index, planes };
        daemon.tell(Vec::new());
        daemon
    }

    /// Takes in events, all as one batch. Returns after the commit.
    pub(crate) fn tell(&mut self, events: Vec<Event>) {
        let changes: Vec<_> = events.into_iter().filter_map(|event| self.index.apply(event)).collect();
        for plane in &mut self.planes {
            let (reply, answer) = oneshot::channel();
            let waiter = Waiter { item: "the test".to_owned(), reply };
            plane.subscriber.changed(&self.index, &changes, vec![waiter]);
            answer.blocking_recv().unwrap().unwrap();
        }
    }

    /// The messages of the planes' problems.
    pub(crate) fn problems(&self) -> Vec<String> {
        let statuses = self.planes.iter().map(|plane| plane.status.borrow());
        let texts = statuses.map(|status| {
            let texts =
                status.problems.iter().map(|problem| format!("{}: {}", problem.item, problem.message));
            texts.collect::<Vec<_>>()
        });
        texts.flatten().collect()
    }
}
