//! What Services want of direct return, and which pods are here: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;

use prefix::Family;

use super::{NAME, TUNNEL, rivals, takes, touched};
use crate::cluster::objects::{ObjectName, Service, ServicePort};
use crate::cluster::{Change, DIRECT_RETURN, Index};
use crate::policy::is_isolated;
use crate::runner::Plane;
use crate::services::desired::{Origin, is_ours, local_policies};
use crate::services::gates::{Gate, Range};
use crate::services::scheduling::Scheduling;
use crate::services::state::Tuple;
use crate::services::{Settings, endpoints, external};

/// What the plane's work is divided by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The pods of this node.
    Pods,
    /// One Service.
    Service(ObjectName),
}

/// What should be for a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// For [`Key::Pods`].
    Pods(Pods),
    /// For [`Key::Service`].
    Service(Wish),
}

/// The namespaces of this node's pods, with the addresses in each.
pub type Pods = BTreeMap<PathBuf, BTreeSet<IpAddr>>;

/// A backend: a pod that is reached in a tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Backend {
    /// 0 for one that is about to end.
    pub(super) weight: u32,
    /// It runs on this node.
    pub(super) local: bool,
    /// And policies say who may reach it. They judge packets by the client's own address, and do not see it in a tunnel: so
    /// it gets them as from any other Service. The answer goes by this node either way.
    pub(super) judged: bool,
}

/// What one Service wants of a tuple.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Virtual {
    /// Whose word the address is.
    pub(super) origin: Origin,
    /// The only sources that are admitted; `None` admits all.
    pub(super) sources: Option<BTreeSet<Range>>,
    /// Its backends by address.
    pub(super) backends: BTreeMap<IpAddr, Backend>,
}

/// What one Service wants.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wish {
    /// When the object was made, in seconds since 1970; 0 if nobody knows.
    pub(super) since: i64,
    /// Its tuples.
    pub(super) tuples: BTreeMap<Tuple, Virtual>,
    /// How backends are chosen.
    pub(super) scheduling: Option<Scheduling>,
    /// What of it is not in force, and why.
    pub(super) problems: Vec<String>,
}

/// The pure half of the plane.
#[derive(Debug, Clone, Default)]
pub struct Dsr {
    settings: Settings,
}

impl Dsr {
    /// The plane as flags say.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }

    fn wish(&self, index: &Index, service: &Service) -> Option<Wish> {
        let method = service.annotations.get(DIRECT_RETURN).filter(|_| is_ours(service))?;
        let mut wish = Wish { since: service.created, ..Wish::default() };
        if !takes(service) {
            wish.problems.push(format!(
                "annotation {DIRECT_RETURN}: {method:?} is not {TUNNEL:?}; the Service is served without direct return"
            ));
            return Some(wish);
        }
        // What is wrong with annotations and addresses is told by the plane `services`.
        let external = external::addresses(&self.settings, index, service, &mut Vec::new());
        wish.scheduling = Some(Scheduling::of(service, &mut Vec::new()));
        let balancers = external.balancers.into_iter().map(|address| (Origin::Balancer, address));
        let others = external.others.into_iter().map(|address| (Origin::External, address));
        let addresses: Vec<(Origin, IpAddr)> = balancers.chain(others).collect();
        if addresses.is_empty() {
            wish.problems.push(format!(
                "annotation {DIRECT_RETURN}: direct return is for external addresses, and the Service has none that may be \
                 programmed"
            ));
        }
        for port in &service.ports {
            for (origin, address) in &addresses {
                wish.add(index, service, port, *origin, *address);
            }
        }
        wish.leave(&rivals::taken(index, &self.settings, &wish.tuples));
        Some(wish)
    }
}

/// Where a port of a Service is reached at `address`.
pub(super) fn tuple(address: IpAddr, port: &ServicePort) -> Tuple {
    Tuple { address, protocol: port.protocol.number(), port: port.port }
}

impl Wish {
    /// True if it wants anything of the kernel.
    pub(super) fn is_any(&self) -> bool {
        !self.tuples.is_empty()
    }

    /// Its addresses, and whether an endpoint behind them takes new connections; one for each port.
    pub(crate) fn serving(&self) -> impl Iterator<Item = (IpAddr, bool)> {
        let takes = |wanted: &Virtual| wanted.backends.values().any(|backend| backend.weight > 0);
        self.tuples.iter().map(move |(tuple, wanted)| (tuple.address, takes(wanted)))
    }

    fn add(&mut self, index: &Index, service: &Service, port: &ServicePort, origin: Origin, address: IpAddr) {
        let family = Family::of(address);
        let local = local_policies(service, &mut Vec::new()).external;
        let found = endpoints::backends(index, service, port, family, local);
        let mut backends = BTreeMap::new();
        for (socket, backend) in found.by_socket.iter() {
            let node = external::node_of(index, socket.ip());
            let refusal = if socket.port() == port.port {
                node.map(|node| format!("it is in the network of Node {}, which has no tunnel", node.name))
            } else {
                Some(format!("it listens at port {}; in a tunnel the port cannot be changed", socket.port()))
            };
            if let Some(why) = refusal {
                self.problem(format!(
                    "direct return is not in force for endpoint {} of port {}: {why}",
                    socket.ip(),
                    port.port
                ));
            } else {
                let judged = backend.local && index.owners(socket.ip()).any(|pod| is_isolated(index, pod));
                backends
                    .insert(socket.ip(), Backend { weight: backend.weight, local: backend.local, judged });
            }
        }
        let ranges = service.source_ranges.as_ref().filter(|_| origin == Origin::Balancer);
        let sources = ranges.and_then(|ranges| Gate::admits(ranges, family));
        self.tuples.insert(tuple(address, port), Virtual { origin, sources, backends });
    }

    /// Leaves tuples to the Services that have them without direct return.
    fn leave(&mut self, taken: &BTreeMap<Tuple, ObjectName>) {
        for (tuple, owner) in taken {
            self.tuples.remove(tuple);
            self.problem(format!(
                "direct return is not in force at {tuple}: Service {owner} has the same address and port without it"
            ));
        }
    }

    /// The same is said once, for however many addresses.
    fn problem(&mut self, text: String) {
        if !self.problems.contains(&text) {
            self.problems.push(text);
        }
    }
}

impl Plane for Dsr {
    const NAME: &'static str = NAME;
    type Key = Key;
    type Value = Value;

    fn keys(&self, index: &Index) -> BTreeSet<Key> {
        std::iter::once(Key::Pods).chain(index.returning().keys().cloned().map(Key::Service)).collect()
    }

    fn touched(&self, index: &Index, change: &Change) -> BTreeSet<Key> {
        touched::by(index, change).unwrap_or_else(|| self.keys(index))
    }

    fn desired(&self, index: &Index, key: &Key) -> Option<Value> {
        match key {
            Key::Pods => {
                let mut pods = Pods::new();
                for attachment in index.attachments().values() {
                    let addresses = attachment.addresses.iter().copied();
                    pods.entry(PathBuf::from(&attachment.netns)).or_default().extend(addresses);
                }
                Some(Value::Pods(pods))
            }
            Key::Service(name) => self.wish(index, index.services().get(name)?).map(Value::Service),
        }
    }
}
