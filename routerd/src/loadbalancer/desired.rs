//! What a Service claims: pure.

use std::collections::BTreeSet;
use std::net::IpAddr;

use prefix::Family;

use super::{NAME, Settings};
use crate::cluster::objects::{ObjectName, Service, ServiceKind};
use crate::cluster::{Change, Index};
use crate::runner::Plane;

/// The class of Services that are ours by name.
const CLASS: &str = "kube-router";
/// What stands for no class.
const DEFAULT_CLASS: &str = "default";
/// Addresses that the owner asks for, one for each family at most; beside `spec.loadBalancerIP`, which is only one.
const REQUESTED: &str = "kube-router.io/service.loadbalancerips";

/// What the plane's work is divided by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The addresses of nodes, which no Service gets.
    Nodes,
    /// One Service.
    Service(ObjectName),
}

/// What is known for a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// For [`Key::Nodes`]: those in our ranges.
    Nodes(BTreeSet<IpAddr>),
    /// For [`Key::Service`].
    Service(Claim),
}

/// What a Service is to us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Standing {
    /// It gets addresses from us.
    Wants,
    /// It only has some.
    #[default]
    Has,
    /// It is no load balancer any more, and what it has of us is given back.
    Leaves,
}

/// What a Service wants and has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claim {
    /// What it is to us.
    pub standing: Standing,
    /// The families it wants an address of.
    pub families: Vec<Family>,
    /// All of them or none (`RequireDualStack`).
    pub all_or_none: bool,
    /// The addresses it asks for.
    pub requested: Vec<IpAddr>,
    /// Its load balancer addresses, as the watch shows them.
    pub held: Vec<IpAddr>,
    /// Other addresses that it uses.
    pub others: Vec<IpAddr>,
    /// What is wrong with its wish.
    pub problems: Vec<String>,
}

/// The pure half of the plane.
#[derive(Debug, Clone, Default)]
pub struct LoadBalancer {
    settings: Settings,
}

impl LoadBalancer {
    /// The plane as flags say.
    pub fn new(settings: Settings) -> Self {
        Self { settings }
    }
}

impl Settings {
    fn is_ours(&self, service: &Service) -> bool {
        let class = service.balancing().class.as_deref().unwrap_or_default();
        let default = class.is_empty() || class == DEFAULT_CLASS;
        service.kind == ServiceKind::LoadBalancer && (class == CLASS || (default && self.default_class))
    }

    pub(super) fn holds(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(address))
    }

    /// What `service` claims; `None` if it neither wants nor uses an address of our ranges.
    pub(super) fn claim(&self, service: &Service) -> Option<Claim> {
        let proxied = service.balancing().proxied_ips.iter().chain(&service.external_ips);
        let mut claim = Claim {
            held: service.load_balancer_ips.clone(),
            others: proxied.copied().filter(|address| self.holds(*address)).collect(),
            ..Claim::default()
        };
        if self.is_ours(service) {
            claim.standing = Standing::Wants;
            for address in &service.cluster_ips {
                let family = Family::of(*address);
                if !claim.families.contains(&family) {
                    claim.families.push(family);
                }
            }
            claim.all_or_none = service.balancing().both_families;
            claim.requested = requested(service, &mut claim.problems);
            return Some(claim);
        }
        let held = claim.held.iter().any(|address| self.holds(*address));
        if held && service.kind != ServiceKind::LoadBalancer {
            claim.standing = Standing::Leaves;
        }
        (held || !claim.others.is_empty()).then_some(claim)
    }
}

fn requested(service: &Service, problems: &mut Vec<String>) -> Vec<IpAddr> {
    let mut all: Vec<IpAddr> = service.balancing().requested.into_iter().collect();
    let Some(list) = service.annotations.get(REQUESTED) else { return all };
    for text in list.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        match text.parse() {
            Ok(address) if all.contains(&address) => {}
            Ok(address) if all.iter().any(|one| Family::of(*one) == Family::of(address)) => problems.push(format!(
                "annotation {REQUESTED}: {address} is the second address of its family; one of each can be asked for"
            )),
            Ok(address) => all.push(address),
            Err(_) => problems.push(format!("annotation {REQUESTED}: {text:?} is not an IP address; ignored")),
        }
    }
    all
}

impl Plane for LoadBalancer {
    const NAME: &'static str = NAME;
    type Key = Key;
    type Value = Value;

    fn keys(&self, index: &Index) -> BTreeSet<Key> {
        let services = index.services().keys().cloned().map(Key::Service);
        std::iter::once(Key::Nodes).chain(services).collect()
    }

    fn touched(&self, _: &Index, change: &Change) -> BTreeSet<Key> {
        match change {
            Change::Service(delta) => delta.any().map(|service| Key::Service(service.name.clone())),
            Change::Node(_) => Some(Key::Nodes),
            _ => None,
        }
        .into_iter()
        .collect()
    }

    fn desired(&self, index: &Index, key: &Key) -> Option<Value> {
        match key {
            Key::Nodes => {
                let addresses = index.nodes().values().flat_map(|node| node.addresses());
                Some(Value::Nodes(addresses.filter(|address| self.settings.holds(*address)).collect()))
            }
            Key::Service(name) => self.settings.claim(index.services().get(name)?).map(Value::Service),
        }
    }
}
