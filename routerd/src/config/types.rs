//! The typed settings that the planes are made from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bgp::bfd::BfdConfig;
use prefix::{Family, Prefix};

/// All settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The name of this node's Node object.
    pub node_name: String,
    /// Where the cluster is learnt from.
    pub source: ClusterSource,
    /// Folder of the sockets `cni.sock` and `admin.sock`.
    pub run_dir: PathBuf,
    /// `--enable-ipv4`.
    pub ipv4: bool,
    /// `--enable-ipv6`.
    pub ipv6: bool,
    /// `--run-router`.
    pub run_router: bool,
    /// `--disable-source-dest-check`.
    pub disable_source_dest_check: bool,
    /// `--run-firewall`.
    pub run_firewall: bool,
    /// `--netpol-cut-established`: a policy change also ends flows that it does not admit.
    pub cut_established: bool,
    /// `--netpol-match-host-pods`: pods in the host's network are peers of policies by their node's addresses.
    pub match_host_pods: bool,
    /// `--run-service-proxy`.
    pub run_service_proxy: bool,
    /// The pod network.
    pub pods: PodNetworkConfig,
    /// BGP.
    pub bgp: BgpConfig,
    /// Services.
    pub services: ServicesConfig,
    /// The allocator of load balancer addresses, if it runs.
    pub allocator: Option<AllocatorConfig>,
    /// How often each plane compares the kernel with what should be.
    pub periods: Periods,
    /// Health, metrics.
    pub admin: AdminConfig,
    /// Logging.
    pub log: LogConfig,
}

impl Config {
    /// The families in use, IPv4 first.
    pub fn families(&self) -> Vec<Family> {
        let all = [(self.ipv4, Family::V4), (self.ipv6, Family::V6)];
        all.into_iter().filter_map(|(on, family)| on.then_some(family)).collect()
    }
}

/// Where the cluster is learnt from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClusterSource {
    /// A folder of YAML files.
    Manifests(PathBuf),
    /// An API server: by kubeconfig and URL as far as given, else by the pod's service account.
    Api {
        /// `--kubeconfig`.
        kubeconfig: Option<PathBuf>,
        /// `--master`.
        master: Option<String>,
    },
}

/// The pod network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodNetworkConfig {
    /// `--enable-cni`: write the node's pod ranges into `conflist`.
    pub enable_cni: bool,
    /// The CNI network configuration (`$KUBE_ROUTER_CNI_CONF_FILE`).
    pub conflist: PathBuf,
    /// `--auto-mtu`.
    pub auto_mtu: bool,
    /// `--enable-pod-egress`.
    pub pod_egress: bool,
    /// Tunnels between nodes.
    pub overlay: OverlayConfig,
}

/// Tunnels between nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverlayConfig {
    /// `--enable-overlay`.
    pub enabled: bool,
    /// `--overlay-type=full`: to all nodes, and not only to those on other subnets.
    pub full: bool,
    /// `--overlay-encap-port`, with `--overlay-encap=fou`; else tunnels are bare.
    pub fou_port: Option<u16>,
}

/// How the BGP router ID is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouterId {
    /// The node's IPv4 address.
    NodeAddress,
    /// This one.
    Fixed(Ipv4Addr),
    /// Made from the node's address by FNV-1a (32 bits).
    Generate,
}

/// An external peer given by flags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerConfig {
    /// Its address.
    pub address: IpAddr,
    /// Its autonomous system.
    pub asn: u32,
    /// Its port.
    pub port: u16,
    /// The TCP MD5 password, if any.
    pub password: Option<Vec<u8>>,
}

/// BGP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BgpConfig {
    /// The nodes' autonomous system.
    pub asn: u32,
    /// The port to listen on and to reach other nodes at.
    pub port: u16,
    /// The hold time, whole seconds.
    pub hold_time: Duration,
    /// `--router-id`.
    pub router_id: RouterId,
    /// `--enable-ibgp`: peer with the other nodes.
    pub ibgp: bool,
    /// `--nodes-full-mesh`: all nodes are of one AS; else each Node says its own.
    pub full_mesh: bool,
    /// Peers given by flags.
    pub peers: Vec<PeerConfig>,
    /// `--peer-router-multihop-ttl`; 0 and 1 mean external peers on the same link.
    pub multihop_ttl: u8,
    /// How the paths to the peers given by flags are watched (`--enable-bfd`).
    pub bfd: Option<BfdConfig>,
    /// How long external peers keep our routes while we restart (`--bgp-graceful-restart`).
    pub graceful_restart: Option<Duration>,
    /// `--bgp-password-dir`: the folder of a mounted Secret whose keys annotations name as passwords.
    pub password_folder: PathBuf,
    /// `--peer-router-passwords-file`, which may change, if it is what gives the passwords of these peers.
    pub passwords_file: Option<PathBuf>,
    /// `--bgp-drain-time`: how long a node that goes is still announced, with the request to leave it.
    pub drain_time: Duration,
    /// `--override-nexthop`: this node is the next hop of what external peers are told.
    pub override_next_hop: bool,
    /// What external peers are told.
    pub advertise: AdvertiseConfig,
}

/// What external peers are told, unless the annotation of a Service says otherwise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AdvertiseConfig {
    /// This node's pod ranges.
    pub pod_cidrs: bool,
    /// ClusterIPs.
    pub cluster_ips: bool,
    /// External IPs.
    pub external_ips: bool,
    /// Addresses of load balancers.
    pub load_balancer_ips: bool,
    /// The prefixes of all ClusterIPs (`--advertise-service-cidr`); empty if they are not advertised.
    pub service_ranges: Vec<Prefix>,
}

/// Services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicesConfig {
    /// Prefixes of ClusterIPs.
    pub cluster_ranges: Vec<Prefix>,
    /// Ports of node ports, both included.
    pub node_ports: (u16, u16),
    /// Virtual services in here are somebody else's.
    pub excluded: Vec<Prefix>,
    /// `--masquerade-all`.
    pub masquerade_all: bool,
    /// `--nodeport-bindon-all-ip`.
    pub node_port_on_all_addresses: bool,
    /// `--nodeport-addresses`: prefixes of the addresses that node ports are at.
    pub node_port_ranges: Vec<Prefix>,
    /// Prefixes that external IPs may be of.
    pub external_ranges: Vec<Prefix>,
    /// Prefixes that load balancer addresses may be of.
    pub load_balancer_ranges: Vec<Prefix>,
    /// `--strict-external-ip-validation`: addresses outside these prefixes are ignored.
    pub strict_external_addresses: bool,
    /// `--ipvs-permit-all`: a virtual address exposes its Services and nothing of the node.
    pub firewall: bool,
    /// `--ipvs-graceful-period` with `--ipvs-graceful-termination`; `None`: connections end with their endpoint.
    pub grace: Option<Duration>,
    /// `--healthz-bind-address`: where load balancers ask for the node's health; nowhere if `None`.
    pub node_health: Option<SocketAddr>,
    /// IPVS timeout of idle TCP connections; zero keeps the kernel's.
    pub tcp_timeout: Duration,
    /// IPVS timeout of closing TCP connections; zero keeps the kernel's.
    pub tcp_fin_timeout: Duration,
    /// IPVS timeout of idle UDP flows; zero keeps the kernel's.
    pub udp_timeout: Duration,
}

/// The allocator of load balancer addresses (`--run-loadbalancer`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocatorConfig {
    /// `--loadbalancer-default-class`.
    pub default_class: bool,
    /// `--loadbalancer-sync-period`.
    pub period: Duration,
    /// The namespace of the Lease, by which one node of all is chosen.
    pub namespace: String,
    /// Who this node is among them.
    pub identity: String,
}

/// How often each plane compares the kernel with what should be, without being told of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Periods {
    /// Routes of the kernel.
    pub routes: Duration,
    /// BGP peers and advertisements.
    pub advertise: Duration,
    /// Services.
    pub services: Duration,
    /// Policies.
    pub policy: Duration,
}

/// Health and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// Where `/healthz` and `/readyz` are served; nowhere if `None`.
    pub health: Option<SocketAddr>,
    /// Where metrics are served; nowhere if `None`.
    pub metrics: Option<SocketAddr>,
    /// The path of metrics.
    pub metrics_path: String,
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Logging.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogConfig {
    /// `-v`, 0 to 9.
    pub verbosity: u8,
    /// The format.
    pub format: LogFormat,
}
