//! The cluster as the node's plane sees it, and the plane on the node's kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use kernel::testing::TestNs;
use prefix::Family;
use routerd::cluster::objects::{
    Endpoint, EndpointSlice, Node, ObjectName, Protocol, Service, ServiceKind, ServicePort, SlicePort, Word,
};
use routerd::cluster::{Event, Index, Object, ObjectKey};
use routerd::runner::{self, Apply, Plane, Report, Scope, Spawned, spawn};
use routerd::services::Settings;
use routerd::services::apply::{Applier, Kernel};
use routerd::services::desired::{Key, Services, Value};
use routerd::services::linux::Linux;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn node() -> Node {
    Node {
        name: "node".into(),
        pod_cidrs: vec!["10.1.1.0/24".parse().unwrap(), "fd00:1:1::/64".parse().unwrap()],
        internal_addresses: vec![ip("192.0.2.11"), ip("2001:db8::11")],
        ..Node::default()
    }
}

/// A Service of both families with one port, which is also a node port.
pub(crate) fn service(name: &str, last: u16, protocol: Protocol, port: u16, node_port: u16) -> Service {
    Service {
        name: ObjectName::new("default", name),
        kind: ServiceKind::NodePort,
        cluster_ips: vec![ip(&format!("10.96.0.{last}")), ip(&format!("fd00:96::{last}"))],
        ports: vec![ServicePort { name: Word::default(), protocol, port, node_port: Some(node_port) }],
        ..Service::default()
    }
}

/// A ready endpoint; those in the node's own pod ranges are on it.
pub(crate) fn ready(address: &str) -> Endpoint {
    let here = address.starts_with("10.1.1.") || address.starts_with("fd00:1:1:");
    Endpoint {
        address: ip(address),
        ready: true,
        serving: true,
        terminating: false,
        node: Some(if here { "node" } else { "far" }.into()),
        hints: None,
    }
}

/// One that is about to end and still serves.
pub(crate) fn ending(address: &str) -> Endpoint {
    Endpoint { ready: false, terminating: true, ..ready(address) }
}

/// The plane of the node, from objects to packets.
pub(crate) struct Daemon<K = Linux> {
    plane: Services,
    index: Index,
    applier: Applier<K>,
    settings: Settings,
}

impl Daemon {
    pub(crate) fn new(settings: Settings) -> Self {
        Self::on(Linux::new(), settings)
    }

    /// The same with nothing in memory but the cluster, as after SIGKILL and a new start.
    pub(crate) fn restart(&mut self) {
        self.applier = Applier::new(Linux::new(), self.settings.clone());
    }
}

impl<K: Kernel> Daemon<K> {
    pub(crate) fn on(kernel: K, settings: Settings) -> Self {
        let mut index = Index::new("node");
        index.apply(Event::Upsert(Object::Node(node())));
        let plane = Services::new(settings.clone());
        let applier = Applier::new(kernel, settings.clone());
        Self { plane, index, applier, settings }
    }

    pub(crate) fn put(&mut self, service: Service) {
        self.upsert(Object::Service(service));
    }

    pub(crate) fn upsert(&mut self, object: Object) {
        self.index.apply(Event::Upsert(object));
    }

    pub(crate) fn delete(&mut self, name: &str) {
        self.index.apply(Event::Delete(ObjectKey::Service(ObjectName::new("default", name))));
    }

    pub(crate) fn forget_pod(&mut self, name: &str) {
        self.index.apply(Event::Delete(ObjectKey::Pod(ObjectName::new("default", name))));
    }

    /// The endpoints of a Service in one family, all at `port`.
    pub(crate) fn endpoints(&mut self, service: &str, port: u16, family: Family, endpoints: Vec<Endpoint>) {
        let slice = EndpointSlice {
            name: ObjectName::new("default", format!("{service}-{family}").to_lowercase()),
            service: Some(ObjectName::new("default", service)),
            family,
            ports: [Protocol::Tcp, Protocol::Udp, Protocol::Sctp]
                .map(|protocol| SlicePort { name: Word::default(), protocol, number: Some(port) })
                .to_vec(),
            endpoints,
        };
        self.upsert(Object::EndpointSlice(slice));
    }

    /// Applies in the node's namespace: all, or the Services of these names.
    pub(crate) fn apply(&mut self, node: &TestNs, names: &[&str]) -> Report {
        let desired = self.desired();
        let scope = if names.is_empty() {
            Scope::Everything
        } else {
            let key = |name: &&str| Key::Service(ObjectName::new("default", *name));
            Scope::Keys(names.iter().map(key).collect::<BTreeSet<_>>())
        };
        let applier = &mut self.applier;
        node.run_in(|| applier.apply(&desired, &scope))
    }

    /// What the plane adds before the whole view is there, when the index holds what it does now.
    pub(crate) fn early(&mut self, node: &TestNs) -> Report {
        let desired = self.desired();
        let applier = &mut self.applier;
        node.run_in(|| applier.early(&desired))
    }

    fn desired(&self) -> BTreeMap<Key, Value> {
        let keys = self.plane.keys(&self.index).into_iter();
        keys.filter_map(|key| Some((key.clone(), self.plane.desired(&self.index, &key)?))).collect()
    }

    /// What the plane does between changes, in the node's namespace.
    pub(crate) fn tend(&mut self, node: &TestNs) -> Option<Report> {
        let applier = &mut self.applier;
        node.run_in(|| applier.tend(&BTreeMap::new()))
    }

    /// The plane as the daemon runs it, on a thread of its own in the node's namespace.
    pub(crate) fn start(self, node: &TestNs) -> Spawned {
        let Self { plane, index, applier, .. } = self;
        let mut spawned = node.run_in(|| spawn(plane, applier, runner::Settings::default()).unwrap());
        spawned.subscriber.start(&index);
        spawned
    }

    /// The same, and nothing may have gone wrong.
    pub(crate) fn applied(&mut self, node: &TestNs, names: &[&str]) -> u64 {
        let report = self.apply(node, names);
        assert_eq!(report.problems, Vec::new());
        report.writes
    }
}
