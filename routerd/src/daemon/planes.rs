//! Which planes run, with which settings.

use std::convert::Infallible;
use std::time::Duration;

use kernel::ipvs::Timeouts;
use kernel::nft::{Identity, Nft};
use kernel::rtnl::Encapsulation;
use prefix::Family;
use tokio::runtime::Handle as Runtime;
use tokio::sync::{mpsc, watch};

use super::late::Late;
use super::monitor::Watched;
use super::network;
use crate::advertise::{self, Advertising, Served};
use crate::aws;
use crate::cluster::balancing::{self, Candidate, Office};
use crate::cluster::task::Planes;
use crate::cluster::{Change, InForce, Index};
use crate::config::{AllocatorConfig, Config, ServicesConfig};
use crate::explain::PolicyWindow;
use crate::loadbalancer;
use crate::policy;
use crate::routing::{self, Overlay, Reach};
use crate::runner::{Apply, Plane, Settings, Spawned, Status, Subscriber, Waiter, spawn, spawn_with_window};
use crate::services;
use crate::services::dsr::{self, Dsr};
use crate::services::health::{self, HealthChecks};
use crate::services::{Herald, Roll};

/// The planes that run.
pub(super) struct Running {
    /// For the cluster task.
    pub(super) planes: Planes,
    /// For the administration.
    pub(super) statuses: Vec<watch::Receiver<Status>>,
    /// For the monitor.
    pub(super) watched: Vec<Watched>,
    /// The virtual addresses of Services, for the monitor.
    pub(super) roll: Roll,
    /// Whose changes of nf_tables are the planes' own.
    pub(super) identity: Identity,
    /// To look at what the policy plane holds.
    pub(super) window: Option<PolicyWindow>,
    /// BGP, if it runs.
    pub(super) advertising: Option<Advertised>,
    /// What planes tell of virtual addresses that are in force, for the index.
    pub(super) in_force: Option<mpsc::UnboundedReceiver<InForce>>,
    /// The allocator's end at the API server.
    pub(super) office: Option<Office>,
    /// What could not be started, and why.
    pub(super) failed: Vec<(String, String)>,
}

/// The ends of the plane that speaks BGP.
pub(super) struct Advertised {
    pub(super) routes: tokio::sync::mpsc::Receiver<Vec<crate::cluster::objects::LearntRoute>>,
    pub(super) status: watch::Receiver<serde_json::Value>,
    pub(super) link: advertise::Link,
}

/// Starts the planes that `config` asks for. One that cannot start is told of, and the others run.
pub(super) fn start(config: &Config, runtime: &Runtime) -> Running {
    let mut running = Running {
        planes: Planes::default(),
        statuses: Vec::new(),
        watched: Vec::new(),
        roll: Roll::default(),
        identity: Identity::new(),
        window: None,
        advertising: None,
        in_force: None,
        office: None,
        failed: Vec::new(),
    };
    if config.run_firewall {
        let (identity, cut, bridged) = (running.identity, config.cut_established, config.pods.enable_cni);
        let open = move || {
            let applier = policy::PolicyApplier::known_as(identity);
            Ok::<_, Infallible>(applier.cutting_established(cut).bridged(bridged))
        };
        let late = Late::new(policy::NAME, open);
        match spawn_with_window(policy::PolicyPlane, late, every(config.periods.policy)) {
            Ok((spawned, window)) => {
                running.window = Some(window);
                running.planes.gate = Some(running.register(spawned));
            }
            Err(error) => {
                running.not_started(policy::NAME, &error);
                // Without anybody to ask, an ADD would be let through.
                running.planes.gate = Some(Box::new(Closed));
            }
        }
    } else {
        running.failed.extend(without_firewall());
    }
    if config.run_service_proxy {
        running.services(config, runtime);
    }
    if config.run_router {
        running.routing(config);
        running.advertise(config, runtime);
        if config.disable_source_dest_check {
            running.aws(runtime);
        }
    }
    if let Some(allocator) = &config.allocator {
        running.allocate(allocator, &config.services, runtime);
    }
    if config.pods.enable_cni {
        let writer = || {
            let (path, auto_mtu) = (config.pods.conflist.clone(), config.pods.auto_mtu);
            network::Writer { path, auto_mtu, policy: config.run_firewall, overlay: overlay(config) }
        };
        let plane = network::Network { families: config.families() };
        let subscriber = running.add(plane, writer(), every(config.periods.policy));
        running.planes.others.extend(subscriber);
    }
    running
}

/// Takes away what an earlier run left: it would go on to judge pods as they were then, and drop new ones.
fn without_firewall() -> Option<(String, String)> {
    match Nft::open().and_then(|mut nft| policy::cleanup(&mut nft)) {
        Ok(0) => None,
        Ok(writes) => {
            tracing::info!(writes, "--run-firewall=false: the policy rules of an earlier run were removed");
            None
        }
        Err(error) => {
            let why = format!("--run-firewall=false, but the policy rules of an earlier run stay: {error}");
            Some((policy::NAME.to_owned(), why))
        }
    }
}

fn every(verify_every: Duration) -> Settings {
    Settings { verify_every, ..Settings::default() }
}

impl Running {
    fn routing(&mut self, config: &Config) {
        let plane = routing::Routing { families: config.families(), egress: config.pods.pod_egress };
        let (grace, identity, overlay) = (config.bgp.hold_time, self.identity, overlay(config));
        let late = Late::new(routing::Routing::NAME, move || routing::Applier::new(grace, identity, overlay));
        let subscriber = self.add(plane, late, every(config.periods.routes));
        self.planes.others.extend(subscriber);
    }

    fn services(&mut self, config: &Config, runtime: &Runtime) {
        let (settings, identity) = (service_settings(config), self.identity);
        let plane = services::desired::Services::new(settings.clone());
        let herald = config.run_router.then(|| {
            let (sender, receiver) = mpsc::unbounded_channel();
            self.in_force = Some(receiver);
            Herald::new(sender)
        });
        let (told, roll) = (herald.clone(), self.roll.clone());
        let open = move || {
            let applier =
                services::apply::Applier::new(services::linux::Linux::known_as(identity), settings.clone());
            Ok::<_, kernel::KernelError>(applier.telling(told.clone()).saying(roll.clone()))
        };
        match spawn(plane, Late::new(services::NAME, open), every(config.periods.services)) {
            Ok(spawned) => {
                let proxy = spawned.status.clone();
                let subscriber = self.register(spawned);
                self.planes.others.push(subscriber);
                self.health_checks(config, runtime, proxy);
                self.direct_return(config, herald);
            }
            Err(error) => self.not_started(services::NAME, &error),
        }
    }

    /// External addresses whose pods answer clients themselves.
    fn direct_return(&mut self, config: &Config, herald: Option<Herald>) {
        let plane = Dsr::new(service_settings(config));
        let (identity, grace) = (self.identity, config.services.grace);
        let open =
            move || Ok::<_, Infallible>(dsr::Applier::new(identity).draining(grace).telling(herald.clone()));
        let subscriber = self.add(plane, Late::new(dsr::NAME, open), every(config.periods.services));
        self.planes.others.extend(subscriber);
    }

    /// Ports that load balancers ask at, as long as `proxy` works.
    fn health_checks(&mut self, config: &Config, runtime: &Runtime, proxy: watch::Receiver<Status>) {
        let plane = HealthChecks { node: config.services.node_health };
        let runtime = runtime.clone();
        let open = move || Ok::<_, Infallible>(health::Applier::new(runtime.clone(), proxy.clone()));
        let subscriber = self.add(plane, Late::new(health::NAME, open), every(config.periods.services));
        self.planes.others.extend(subscriber);
    }

    fn aws(&mut self, runtime: &Runtime) {
        let apply = aws::Applier::new(runtime.clone(), aws::Endpoints::of_process());
        let subscriber = self.add(aws::Instance, apply, Settings::default());
        self.planes.others.extend(subscriber);
    }

    fn allocate(&mut self, config: &AllocatorConfig, services: &ServicesConfig, runtime: &Runtime) {
        let settings = loadbalancer::Settings {
            ranges: services.load_balancer_ranges.clone(),
            cluster_ranges: services.cluster_ranges.clone(),
            default_class: config.default_class,
        };
        let (namespace, identity) = (config.namespace.clone(), config.identity.clone());
        let (handle, office) = balancing::office(Candidate { namespace, identity });
        match loadbalancer::start(&settings, handle, runtime, every(config.period)) {
            Ok(spawned) => {
                let subscriber = self.register(spawned);
                self.planes.others.push(subscriber);
                self.office = Some(office);
            }
            Err(error) => self.not_started(loadbalancer::NAME, &error),
        }
    }

    fn advertise(&mut self, config: &Config, runtime: &Runtime) {
        let settings = every(config.periods.advertise);
        let runs = |name: &&str| self.statuses.iter().any(|status| status.borrow().name == *name);
        let served = Served {
            settings: service_settings(config),
            programmed_by: config
                .run_service_proxy
                .then(|| [services::NAME, dsr::NAME].into_iter().filter(runs).collect()),
        };
        match advertise::start(config.bgp.clone(), config.families(), served, runtime, settings) {
            Ok(Advertising { plane, routes, status, link }) => {
                self.advertising = Some(Advertised { routes, status, link });
                let subscriber = self.register(plane);
                self.planes.others.push(subscriber);
            }
            Err(error) => {
                self.failed.push(("advertise".to_owned(), format!("its thread cannot start: {error}")));
            }
        }
    }

    fn add<P, A>(&mut self, plane: P, apply: A, settings: Settings) -> Option<Box<dyn Subscriber>>
    where
        P: Plane,
        A: Apply<Key = P::Key, Value = P::Value>,
    {
        match spawn(plane, apply, settings) {
            Ok(spawned) => Some(self.register(spawned)),
            Err(error) => {
                self.not_started(P::NAME, &error);
                None
            }
        }
    }

    fn not_started(&mut self, name: &str, error: &std::io::Error) {
        self.failed.push((name.to_owned(), format!("its thread cannot start: {error}")));
    }

    fn register(&mut self, spawned: Spawned) -> Box<dyn Subscriber> {
        let name = spawned.subscriber.name();
        self.watched.push(Watched { name, poker: spawned.poker, status: spawned.status.clone() });
        self.statuses.push(spawned.status);
        spawned.subscriber
    }
}

fn overlay(config: &Config) -> Overlay {
    let flags = config.pods.overlay;
    let reach = match (config.run_router && flags.enabled, flags.full) {
        (false, _) => Reach::Never,
        (true, false) => Reach::OtherSubnets,
        (true, true) => Reach::Everywhere,
    };
    Overlay { reach, encapsulation: flags.fou_port.map_or(Encapsulation::Bare, Encapsulation::Gue) }
}

fn service_settings(config: &Config) -> services::Settings {
    let foreign_ways = !config.run_router;
    let families = config.families();
    let config = &config.services;
    let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
    services::Settings {
        node_port_on_all_addresses: config.node_port_on_all_addresses,
        node_port_ranges: config.node_port_ranges.clone(),
        firewall: config.firewall,
        grace: config.grace,
        masquerade_all: config.masquerade_all,
        foreign_ways,
        switched_off: Family::BOTH.into_iter().filter(|family| !families.contains(family)).collect(),
        excluded: config.excluded.clone(),
        cluster_ranges: config.cluster_ranges.clone(),
        external_ranges: config.external_ranges.clone(),
        load_balancer_ranges: config.load_balancer_ranges.clone(),
        any_external_address: !config.strict_external_addresses,
        timeouts: Timeouts {
            tcp: seconds(config.tcp_timeout),
            tcp_fin: seconds(config.tcp_fin_timeout),
            udp: seconds(config.udp_timeout),
        },
    }
}

/// In place of a policy plane that could not be started: no pod is added without policy.
struct Closed;

impl Subscriber for Closed {
    fn name(&self) -> &'static str {
        policy::NAME
    }

    fn start(&mut self, _: &Index) {}

    fn changed(&mut self, _: &Index, _: &[Change], waiters: Vec<Waiter>) {
        for waiter in waiters {
            // One that no longer waits needs no answer.
            let _ = waiter.reply.send(Err("the policy plane could not be started".to_owned()));
        }
    }
}
