//! What Services want of direct return, and which pods are here: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use prefix::Family;

use super::{ANNOTATION, NAME, TUNNEL, takes};
use crate::cluster::objects::{ObjectName, Pod, Service, ServicePort};
use crate::cluster::{Change, Index};
use crate::policy::is_isolated;
use crate::runner::Plane;
use crate::services::desired::is_ours;
use crate::services::scheduling::Scheduling;
use crate::services::state::Tuple;
use crate::services::{Settings, endpoints, external};

/// What forces `externalTrafficPolicy: Local`.
const FORCE_LOCAL: &str = "kube-router.io/service.local";

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

/// What one Service wants.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wish {
    /// Its tuples with their backends by address.
    pub(super) tuples: BTreeMap<Tuple, BTreeMap<IpAddr, Backend>>,
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
        let method = service.annotations.get(ANNOTATION).filter(|_| is_ours(service))?;
        let mut wish = Wish::default();
        if !takes(service) {
            wish.problems.push(format!(
                "annotation {ANNOTATION}: {method:?} is not {TUNNEL:?}; the Service is served without direct return"
            ));
            return Some(wish);
        }
        // What is wrong with annotations and addresses is told by the plane `services`.
        let external = external::addresses(&self.settings, index, service, &mut Vec::new());
        wish.scheduling = Some(Scheduling::of(service, &mut Vec::new()));
        let local =
            service.external_local || service.annotations.get(FORCE_LOCAL).is_some_and(|v| v == "true");
        let addresses: Vec<IpAddr> = external.balancers.into_iter().chain(external.others).collect();
        if addresses.is_empty() {
            wish.problems.push(format!(
                "annotation {ANNOTATION}: direct return is for external addresses, and the Service has none that may be \
                 programmed"
            ));
        }
        for port in &service.ports {
            for address in &addresses {
                wish.add(index, service, port, *address, local);
            }
        }
        Some(wish)
    }
}

impl Wish {
    /// Its addresses, and whether an endpoint behind them takes new connections; one for each port.
    pub(crate) fn serving(&self) -> impl Iterator<Item = (IpAddr, bool)> {
        let takes =
            |backends: &BTreeMap<IpAddr, Backend>| backends.values().any(|backend| backend.weight > 0);
        self.tuples.iter().map(move |(tuple, backends)| (tuple.address, takes(backends)))
    }

    fn add(&mut self, index: &Index, service: &Service, port: &ServicePort, address: IpAddr, local: bool) {
        let backends = endpoints::backends(index, service, port, Family::of(address), local);
        let mut taken = BTreeMap::new();
        for (socket, backend) in backends.by_socket.iter() {
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
                taken.insert(socket.ip(), Backend { weight: backend.weight, local: backend.local, judged });
            }
        }
        let tuple = Tuple { address, protocol: port.protocol.number(), port: port.port };
        self.tuples.insert(tuple, taken);
    }

    /// The same is said once, for however many addresses.
    fn problem(&mut self, text: String) {
        if !self.problems.contains(&text) {
            self.problems.push(text);
        }
    }
}

fn asks(service: &Service) -> bool {
    service.annotations.contains_key(ANNOTATION)
}

/// The Services of a namespace that ask for direct return.
fn asking_in(index: &Index, namespace: &str) -> BTreeSet<Key> {
    let all = index.services().range(ObjectName::new(namespace, "")..);
    let all = all.take_while(|(name, _)| name.namespace == namespace);
    all.filter(|(_, service)| asks(service)).map(|(name, _)| Key::Service(name.clone())).collect()
}

impl Plane for Dsr {
    const NAME: &'static str = NAME;
    type Key = Key;
    type Value = Value;

    fn keys(&self, index: &Index) -> BTreeSet<Key> {
        // Of thousands few ask for it.
        let asking = index.services().values().filter(|service| asks(service));
        let services = asking.map(|service| Key::Service(service.name.clone()));
        std::iter::once(Key::Pods).chain(services).collect()
    }

    fn touched(&self, index: &Index, change: &Change) -> BTreeSet<Key> {
        match change {
            Change::Service(delta) => delta.any().map(|service| Key::Service(service.name.clone())),
            Change::EndpointSlice(delta) => {
                let names = delta.both().filter_map(|slice| slice.service.clone());
                // That a Service asks for it, or no longer, is a change of its own.
                let asking = names.filter(|name| index.services().get(name).is_some_and(|one| asks(one)));
                return asking.map(Key::Service).collect();
            }
            Change::Node(_) => return self.keys(index),
            Change::Attachment(_) => Some(Key::Pods),
            // It may isolate a backend of this node, or no longer; a policy speaks of pods of its own namespace.
            Change::NetworkPolicy(change) => {
                let policy = change.delta.any();
                return policy.map(|policy| asking_in(index, &policy.name.namespace)).unwrap_or_default();
            }
            Change::Pod(delta) => {
                let labels = |pod: &Option<Arc<Pod>>| pod.as_ref().map(|pod| pod.labels.clone());
                let is_other = labels(&delta.old) != labels(&delta.new);
                let here =
                    delta.any().filter(|pod| is_other && pod.node.as_deref() == Some(index.node_name()));
                return here.map(|pod| asking_in(index, &pod.name.namespace)).unwrap_or_default();
            }
            _ => None,
        }
        .into_iter()
        .collect()
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
