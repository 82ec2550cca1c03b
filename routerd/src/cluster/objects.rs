//! The slim types that the index holds: only the fields that a plane reads.
//!
//! Both sources (the API server and a folder of YAML) turn what they read into these. A full `Pod` of ten thousand
//! takes 340 MB, these take about 20.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;

use prefix::{Family, Hops, Prefix};

use super::direction::Direction;
pub use super::name::{ObjectName, Word};
use super::selector::Selector;

/// Labels or annotations.
pub type Labels = BTreeMap<String, String>;

/// A transport protocol of a Service or a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The IP protocol number.
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
            Protocol::Sctp => 132,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "TCP",
            Protocol::Udp => "UDP",
            Protocol::Sctp => "SCTP",
        })
    }
}

impl std::str::FromStr for Protocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "TCP" => Ok(Protocol::Tcp),
            "UDP" => Ok(Protocol::Udp),
            "SCTP" => Ok(Protocol::Sctp),
            other => Err(format!("protocol {other:?} is none of TCP, UDP, SCTP")),
        }
    }
}

/// A node of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Node {
    /// The object's name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its annotations; kube-router's settings of a node are among them.
    pub annotations: Labels,
    /// `spec.podCIDRs` (or `spec.podCIDR`).
    pub pod_cidrs: Vec<Prefix>,
    /// `status.addresses` of type InternalIP, in their order.
    pub internal_addresses: Vec<IpAddr>,
    /// `status.addresses` of type ExternalIP, in their order.
    pub external_addresses: Vec<IpAddr>,
    /// `spec.providerID`: what the cloud calls the machine; empty if no cloud was asked.
    pub provider_id: String,
    /// It is about to go: being deleted, or tainted so by the cluster autoscaler. Load balancers are told (KEP-3836).
    pub leaving: bool,
    /// `spec.unschedulable`: it is cordoned, as before a drain.
    pub unschedulable: bool,
    /// The kubelet says that the machine is being shut down (KEP-2000).
    pub shutting_down: bool,
}

impl Node {
    /// The address other nodes reach it by: the first internal, else the first external one, of `family`.
    pub fn address(&self, family: Family) -> Option<IpAddr> {
        self.addresses().find(|address| Family::of(*address) == family)
    }

    /// The first address of any family.
    pub fn primary_address(&self) -> Option<IpAddr> {
        self.addresses().next()
    }

    /// All addresses, internal ones first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.internal_addresses.iter().chain(&self.external_addresses).copied()
    }
}

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// Its name.
    pub name: String,
    /// Its labels (the API server adds `kubernetes.io/metadata.name`; the YAML source does so too).
    pub labels: Labels,
}

/// A port that a container declares by name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerPort {
    /// The name a policy may use.
    pub name: String,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its number.
    pub number: u16,
}

/// A pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pod {
    /// Namespace and name.
    pub name: ObjectName,
    /// The UID by which its kubelet and the runtime know it; a pod of the same name with another UID is another pod. Empty
    /// in hand-written YAML.
    pub uid: String,
    /// Its labels.
    pub labels: Labels,
    /// `spec.nodeName`.
    pub node: Option<String>,
    /// `spec.hostNetwork`.
    pub host_network: bool,
    /// Phase Succeeded or Failed: it has no network any more.
    pub finished: bool,
    /// Its controller is a DaemonSet, or the node itself (a static pod): a drain leaves it where it is.
    pub drain_leaves: bool,
    /// `status.podIPs` (or `status.podIP`).
    pub addresses: Vec<IpAddr>,
    /// Named ports of all containers, sidecars (init containers that restart always) too.
    pub ports: Vec<ContainerPort>,
}

/// What a Service is reached by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ServiceKind {
    /// Inside the cluster only.
    #[default]
    ClusterIp,
    /// By a port of every node as well.
    NodePort,
    /// By an outside address as well.
    LoadBalancer,
    /// A DNS alias; nothing to program.
    ExternalName,
}

/// One port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePort {
    /// Its name; empty if the Service has one port without a name. EndpointSlices refer to it.
    pub name: Word,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port at the Service's addresses.
    pub port: u16,
    /// The port at every node's address.
    pub node_port: Option<u16>,
}

/// What of a Service only the allocator of load balancer addresses reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Balancing {
    /// `spec.loadBalancerClass`.
    pub class: Option<String>,
    /// `spec.loadBalancerIP`: the address the owner asks for.
    pub requested: Option<IpAddr>,
    /// `spec.ipFamilyPolicy: RequireDualStack`: addresses of both families or none.
    pub both_families: bool,
    /// `status.loadBalancer.ingress[].ip` whose `ipMode` is Proxy: not ours to serve, but in use.
    pub proxied_ips: Vec<IpAddr>,
}

/// A Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Service {
    /// Namespace and name.
    pub name: ObjectName,
    /// Its labels.
    pub labels: Labels,
    /// Its annotations.
    pub annotations: Labels,
    /// When it was made, in seconds since 1970; 0 if nobody says.
    pub created: i64,
    /// Its kind.
    pub kind: ServiceKind,
    /// `spec.clusterIPs` (or `spec.clusterIP`) without `None`: empty for a headless Service.
    pub cluster_ips: Vec<IpAddr>,
    /// `spec.externalIPs`.
    pub external_ips: Vec<IpAddr>,
    /// `status.loadBalancer.ingress[].ip` whose `ipMode` is not Proxy.
    pub load_balancer_ips: Vec<IpAddr>,
    /// `spec.loadBalancerSourceRanges`: the only sources that its load balancer addresses admit; `None` admits all.
    pub source_ranges: Option<Vec<Prefix>>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
    /// Seconds of ClientIP session affinity.
    pub affinity_seconds: Option<u32>,
    /// `internalTrafficPolicy: Local`.
    pub internal_local: bool,
    /// `externalTrafficPolicy: Local`.
    pub external_local: bool,
    /// `healthCheckNodePort`.
    pub health_check_node_port: Option<u16>,
    /// What the allocator of load balancer addresses reads; most have nothing of it.
    pub balancing: Option<Box<Balancing>>,
}

impl Service {
    /// What the allocator of load balancer addresses reads.
    pub fn balancing(&self) -> &Balancing {
        static NOTHING: Balancing =
            Balancing { class: None, requested: None, both_families: false, proxied_ips: Vec::new() };
        self.balancing.as_deref().unwrap_or(&NOTHING)
    }
}

/// One port of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlicePort {
    /// The name of the Service's port.
    pub name: Word,
    /// Its protocol.
    pub protocol: Protocol,
    /// The port at the endpoint; absent means all ports.
    pub number: Option<u16>,
}

/// One endpoint of an EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its address: the first, where several mean the same endpoint.
    pub address: IpAddr,
    /// Takes new connections (absent counts as true).
    pub ready: bool,
    /// Answers, whether it terminates or not (absent counts as `ready`).
    pub serving: bool,
    /// Is about to end.
    pub terminating: bool,
    /// The node it runs on.
    pub node: Option<Word>,
    /// Whom it is meant for; `None` is everybody.
    pub hints: Option<Box<Hints>>,
}

impl Endpoint {
    /// The nodes that it is meant for; none says nothing of nodes.
    pub fn node_hints(&self) -> &[String] {
        self.hints.as_deref().map_or(&[], |hints| &hints.nodes)
    }

    /// The zones that it is meant for; none says nothing of zones.
    pub fn zone_hints(&self) -> &[String] {
        self.hints.as_deref().map_or(&[], |hints| &hints.zones)
    }
}

/// Whom an endpoint is meant for (`endpoints[].hints`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// `forZones[].name`.
    pub zones: Vec<String>,
    /// `forNodes[].name`.
    pub nodes: Vec<String>,
}

/// An EndpointSlice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Namespace and name.
    pub name: ObjectName,
    /// The Service it belongs to (label `kubernetes.io/service-name`).
    pub service: Option<ObjectName>,
    /// The family of its addresses.
    pub family: Family,
    /// Its ports.
    pub ports: Vec<SlicePort>,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// Whom a policy rule admits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyPeer {
    /// Pods by label.
    Pods {
        /// Namespaces by label; `None` is the policy's own namespace.
        namespaces: Option<Selector>,
        /// Pods by label; the empty selector takes all.
        pods: Selector,
    },
    /// Addresses.
    Block {
        /// The admitted prefix.
        cidr: Prefix,
        /// Parts of it that are not; they belong to this block alone.
        except: Vec<Prefix>,
    },
}

/// Which ports a policy rule admits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortMatch {
    /// Every port of the protocol.
    Any,
    /// From the first to the second, both included; one port is a range of one.
    Range(u16, u16),
    /// The port that the destination pod calls by this name.
    Name(String),
}

/// One port entry of a policy rule.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PolicyPort {
    /// Its protocol.
    pub protocol: Protocol,
    /// Its ports.
    pub port: PortMatch,
}

/// One ingress or egress rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRule {
    /// Admitted peers; empty admits everybody.
    pub peers: Vec<PolicyPeer>,
    /// Admitted ports; empty admits all.
    pub ports: Vec<PolicyPort>,
}

/// A NetworkPolicy of `networking.k8s.io/v1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkPolicy {
    /// Namespace and name.
    pub name: ObjectName,
    /// The pods of its namespace it isolates.
    pub pods: Selector,
    /// Ingress rules; `None` if the policy says nothing of ingress, an empty list refuses all.
    pub ingress: Option<Vec<PolicyRule>>,
    /// Egress rules, likewise.
    pub egress: Option<Vec<PolicyRule>>,
    /// Why parts of it cannot be programmed. Its pods are then isolated in the policy's directions: closed, not open.
    pub invalid: Option<String>,
}

impl NetworkPolicy {
    /// Its rules of `direction`; `None` if it says nothing of it.
    pub fn rules(&self, direction: Direction) -> Option<&[PolicyRule]> {
        match direction {
            Direction::Ingress => self.ingress.as_deref(),
            Direction::Egress => self.egress.as_deref(),
        }
    }
}

/// An interface of a pod of this node, as the plugin reported it. Its addresses count before the pod's status does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The container (sandbox) ID.
    pub container: String,
    /// The interface's name in the pod.
    pub interface: String,
    /// The pod.
    pub pod: ObjectName,
    /// The pod's UID, if the runtime sent it.
    pub uid: Option<String>,
    /// Path of the pod's network namespace.
    pub netns: String,
    /// The device on the node's side.
    pub host_device: String,
    /// The pod's addresses.
    pub addresses: Vec<IpAddr>,
}

/// A route that BGP has chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LearntRoute {
    /// The destination.
    pub prefix: Prefix,
    /// The next hops, all equally good.
    pub next_hops: Hops<IpAddr>,
}
