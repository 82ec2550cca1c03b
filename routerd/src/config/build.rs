//! From flag values and the environment to the typed settings, with the rules that bind several flags.

use std::env;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use bgp::bfd::{BfdConfig, Timing};
use prefix::{Family, Prefix};

use super::types::{
    AdminConfig, AdvertiseConfig, AllocatorConfig, BgpConfig, ClusterSource, Config, LogConfig, LogFormat,
    OverlayConfig, Periods, PodNetworkConfig, RouterId, ServicesConfig,
};
use super::values::Values;
use super::{ConfigErrors, FlagError, peers};

/// Where kube-router's manifests have the network configuration.
const DEFAULT_CONFLIST: &str = "/etc/cni/net.d/10-kuberouter.conflist";
/// kube-router's number for a cluster that names none.
const DEFAULT_ASN: u32 = 64_512;

/// Where daemons of this kind live.
const DEFAULT_NAMESPACE: &str = "kube-system";
/// The namespace of the pod's service account, as the kubelet writes it.
const ACCOUNT_NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

fn namespace_of_account() -> Option<String> {
    let text = std::fs::read_to_string(ACCOUNT_NAMESPACE).ok()?;
    Some(text.trim().to_owned()).filter(|name| !name.is_empty())
}

/// The environment variables that are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// `NODE_NAME`.
    pub node_name: Option<String>,
    /// `POD_NAME`.
    pub pod_name: Option<String>,
    /// `POD_NAMESPACE`, else that of the pod's service account.
    pub pod_namespace: Option<String>,
    /// `KUBE_ROUTER_CNI_CONF_FILE`.
    pub conflist: Option<String>,
    /// What the system calls this host.
    pub host_name: Option<String>,
}

impl Environment {
    /// That of this process.
    pub fn of_process() -> Self {
        let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
        Self {
            node_name: variable("NODE_NAME"),
            pod_name: variable("POD_NAME"),
            pod_namespace: variable("POD_NAMESPACE").or_else(namespace_of_account),
            conflist: variable("KUBE_ROUTER_CNI_CONF_FILE"),
            host_name: nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()),
        }
    }
}

impl Config {
    /// Settings from flags and environment. The error lists everything that does not fit together.
    pub fn new(values: &Values, environment: &Environment) -> Result<Self, ConfigErrors> {
        let config = Self {
            node_name: node_name(values, environment)?,
            source: source(values)?,
            run_dir: PathBuf::from(values.text("run-dir")?),
            ipv4: values.bool("enable-ipv4")?,
            ipv6: values.bool("enable-ipv6")?,
            run_router: values.bool("run-router")?,
            disable_source_dest_check: values.bool("disable-source-dest-check")?,
            run_firewall: values.bool("run-firewall")?,
            cut_established: values.bool("netpol-cut-established")?,
            match_host_pods: values.bool("netpol-match-host-pods")?,
            run_service_proxy: values.bool("run-service-proxy")?,
            pods: PodNetworkConfig {
                enable_cni: values.bool("enable-cni")?,
                conflist: environment.conflist.as_deref().unwrap_or(DEFAULT_CONFLIST).into(),
                auto_mtu: values.bool("auto-mtu")?,
                pod_egress: values.bool("enable-pod-egress")?,
                overlay: overlay(values)?,
            },
            bgp: bgp(values)?,
            services: services(values)?,
            allocator: allocator(values, environment)?,
            periods: Periods {
                routes: values.duration("injected-routes-sync-period")?,
                advertise: values.duration("routes-sync-period")?,
                services: values.duration("ipvs-sync-period")?,
                policy: values.duration("iptables-sync-period")?,
            },
            admin: admin(values)?,
            log: log(values)?,
        };
        check_families(&config)?;
        Ok(config)
    }
}

fn overlay(values: &Values) -> Result<OverlayConfig, ConfigErrors> {
    let port = values.number("overlay-encap-port")?;
    Ok(OverlayConfig {
        enabled: values.bool("enable-overlay")?,
        full: values.text("overlay-type")? == "full",
        fou_port: (values.text("overlay-encap")? == "fou").then_some(port),
    })
}

fn together(flags: impl Into<String>, message: impl Into<String>) -> ConfigErrors {
    ConfigErrors(vec![FlagError::Together { flags: flags.into(), message: message.into() }])
}

fn node_name(values: &Values, environment: &Environment) -> Result<String, ConfigErrors> {
    let given = Some(values.text("hostname-override")?).filter(|name| !name.is_empty());
    // Kubernetes gives Node objects lower-case names; a host may call itself otherwise.
    let host = || environment.host_name.as_ref().map(|name| name.to_lowercase());
    given.or_else(|| environment.node_name.clone()).or_else(host).ok_or_else(|| {
        together("--hostname-override", "neither this flag nor $NODE_NAME is set and the host has no name; set one of them to the Node object's name")
    })
}

fn source(values: &Values) -> Result<ClusterSource, ConfigErrors> {
    let optional = |name| values.text(name).map(|text| Some(text).filter(|text| !text.is_empty()));
    let (manifests, kubeconfig, master) =
        (optional("manifests")?, optional("kubeconfig")?, optional("master")?);
    match manifests {
        Some(folder) if kubeconfig.is_some() || master.is_some() => Err(together(
            format!("--manifests={folder}"),
            "the cluster comes from this folder or from an API server (--kubeconfig, --master), not from both",
        )),
        Some(folder) => Ok(ClusterSource::Manifests(folder.into())),
        None => Ok(ClusterSource::Api { kubeconfig: kubeconfig.map(PathBuf::from), master }),
    }
}

fn bgp(values: &Values) -> Result<BgpConfig, ConfigErrors> {
    let asn: u32 = values.number("cluster-asn")?;
    let router_id = match values.text("router-id")?.as_str() {
        "generate" => RouterId::Generate,
        text => text.parse().map_or(RouterId::NodeAddress, RouterId::Fixed),
    };
    Ok(BgpConfig {
        asn: if asn == 0 { DEFAULT_ASN } else { asn },
        port: values.number("bgp-port")?,
        hold_time: values.duration("bgp-holdtime")?,
        router_id,
        ibgp: values.bool("enable-ibgp")?,
        full_mesh: values.bool("nodes-full-mesh")?,
        peers: peers::of_flags(values)?,
        multihop_ttl: values.number("peer-router-multihop-ttl")?,
        bfd: bfd(values)?,
        graceful_restart: if values.bool("bgp-graceful-restart")? {
            Some(values.duration("bgp-graceful-restart-time")?)
        } else {
            None
        },
        password_folder: PathBuf::from(values.text("bgp-password-dir")?),
        passwords_file: peers::passwords_file(values)?,
        drain_time: values.duration("bgp-drain-time")?,
        override_next_hop: values.bool("override-nexthop")?,
        advertise: advertise(values)?,
    })
}

fn bfd(values: &Values) -> Result<Option<BfdConfig>, ConfigErrors> {
    if !values.bool("enable-bfd")? {
        return Ok(None);
    }
    let milliseconds = |flag| values.number::<u32>(flag).map(|number| Duration::from_millis(number.into()));
    let timing = Timing {
        desired_min_tx: milliseconds("bfd-desired-min-tx-interval")?,
        required_min_rx: milliseconds("bfd-required-min-rx-interval")?,
        multiplier: values.number("bfd-detection-multiplier")?,
    };
    Ok(Some(BfdConfig { timing, port: values.number("bfd-port")?, multihop: false }))
}

fn advertise(values: &Values) -> Result<AdvertiseConfig, ConfigErrors> {
    let service_ranges = if values.bool("advertise-service-cidr")? {
        values.prefixes("service-cluster-ip-range")?
    } else {
        Vec::new()
    };
    Ok(AdvertiseConfig {
        pod_cidrs: values.bool("advertise-pod-cidr")?,
        cluster_ips: values.bool("advertise-cluster-ip")?,
        external_ips: values.bool("advertise-external-ip")?,
        load_balancer_ips: values.bool("advertise-loadbalancer-ip")?,
        service_ranges,
    })
}

fn services(values: &Values) -> Result<ServicesConfig, ConfigErrors> {
    Ok(ServicesConfig {
        cluster_ranges: values.prefixes("service-cluster-ip-range")?,
        node_ports: values.port_range("service-node-port-range")?,
        excluded: values.prefixes("excluded-cidrs")?,
        masquerade_all: values.bool("masquerade-all")?,
        node_port_on_all_addresses: values.bool("nodeport-bindon-all-ip")?,
        node_port_ranges: values.prefixes("nodeport-addresses")?,
        external_ranges: values.prefixes("service-external-ip-range")?,
        load_balancer_ranges: values.prefixes("loadbalancer-ip-range")?,
        strict_external_addresses: values.bool("strict-external-ip-validation")?,
        firewall: values.bool("ipvs-permit-all")?,
        grace: values.bool("ipvs-graceful-termination")?.then_some(values.duration("ipvs-graceful-period")?),
        node_health: values.socket("healthz-bind-address")?,
        tcp_timeout: values.duration("service-tcp-timeout")?,
        tcp_fin_timeout: values.duration("service-tcpfin-timeout")?,
        udp_timeout: values.duration("service-udp-timeout")?,
    })
}

fn allocator(values: &Values, environment: &Environment) -> Result<Option<AllocatorConfig>, ConfigErrors> {
    if !values.bool("run-loadbalancer")? {
        return Ok(None);
    }
    if let ClusterSource::Manifests(folder) = source(values)? {
        return Err(together(
            format!("--run-loadbalancer --manifests={}", folder.display()),
            "load balancer addresses are written into Services at an API server, and a folder cannot be written to; \
             write status.loadBalancer.ingress into the files yourself",
        ));
    }
    if values.prefixes("loadbalancer-ip-range")?.is_empty() {
        return Err(together(
            "--run-loadbalancer",
            "there is no address to give without --loadbalancer-ip-range",
        ));
    }
    let node = node_name(values, environment)?;
    Ok(Some(AllocatorConfig {
        default_class: values.bool("loadbalancer-default-class")?,
        period: values.duration("loadbalancer-sync-period")?,
        namespace: environment.pod_namespace.clone().unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned()),
        identity: environment.pod_name.clone().unwrap_or(node),
    }))
}

fn admin(values: &Values) -> Result<AdminConfig, ConfigErrors> {
    let listen = |address, port| -> Result<Option<SocketAddr>, ConfigErrors> {
        // One IPv6 socket takes IPv4 as well.
        let address = values.address(address)?.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let port: u16 = values.number(port)?;
        Ok((port != 0).then_some(SocketAddr::new(address, port)))
    };
    let metrics_path = values.text("metrics-path")?;
    if !metrics_path.starts_with('/') {
        return Err(together(format!("--metrics-path={metrics_path}"), "a path begins with /"));
    }
    let admin = AdminConfig {
        health: listen("health-addr", "health-port")?,
        metrics: listen("metrics-addr", "metrics-port")?,
        metrics_path,
    };
    match (admin.health, admin.metrics) {
        (Some(health), Some(metrics)) if health.port() == metrics.port() => Err(together(
            format!("--health-port={0} --metrics-port={0}", health.port()),
            "health and metrics need different ports",
        )),
        _ => Ok(admin),
    }
}

fn log(values: &Values) -> Result<LogConfig, ConfigErrors> {
    let json = values.text("log-format")? == "json";
    Ok(LogConfig {
        // Higher than any that has a meaning is as the highest.
        verbosity: u8::try_from(values.number::<u32>("v")?).unwrap_or(u8::MAX),
        format: if json { LogFormat::Json } else { LogFormat::Text },
    })
}

fn check_families(config: &Config) -> Result<(), ConfigErrors> {
    if !config.ipv4 && !config.ipv6 {
        return Err(together(
            "--enable-ipv4=false --enable-ipv6=false",
            "at least one family must be enabled",
        ));
    }
    let ranges = &config.services.cluster_ranges;
    let shown: Vec<String> = ranges.iter().map(Prefix::to_string).collect();
    let flag = format!("--service-cluster-ip-range={}", shown.join(","));
    if ranges.is_empty() || ranges.len() > 2 {
        return Err(together(flag, "one or two prefixes are needed, one for each family in use"));
    }
    if let [first, second] = ranges.as_slice()
        && first.family() == second.family()
    {
        return Err(together(flag, "two prefixes must be of different families"));
    }
    let missing = |family| !config.families().contains(&family);
    match ranges.iter().find(|range| missing(range.family())) {
        Some(range) => {
            let needed = if range.family() == Family::V4 { "--enable-ipv4" } else { "--enable-ipv6" };
            Err(together(flag, format!("{range} needs {needed}=true, or another range is to be given")))
        }
        None => Ok(()),
    }
}
