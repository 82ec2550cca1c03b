//! A kernel that lacks a scheduler: the lab's has all of them, so this one is made to lack one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kernel::KernelError;
use kernel::ipvs::{Command, Destination, Service};
use nix::errno::Errno;
use prefix::Family;
use routerd::cluster::objects::Protocol;
use routerd::services::Settings;
use routerd::services::apply::{Headings, Hindrance, Kernel};
use routerd::services::linux::Linux;
use routerd::services::plan::{PacketChange, StaleFlows, VipStep};
use routerd::services::state::{State, Tuple};
use routerd::services::wanted::LocalAddresses;

use crate::cluster::{Daemon, ready, service};
use crate::net::Net;
use crate::talk::{ask, refusal, serve_tcp};

type Result<T> = std::result::Result<T, KernelError>;

/// It has no scheduler `nq` until somebody loads the module.
#[derive(Default)]
struct Lacking {
    is_loaded: Arc<AtomicBool>,
    real: Linux,
}

impl Kernel for Lacking {
    fn prepare(&mut self, settings: &Settings) -> Result<(u64, Vec<Hindrance>)> {
        self.real.prepare(settings)
    }

    fn observe(&mut self) -> Result<State> {
        self.real.observe()
    }

    fn local_addresses(&mut self) -> Result<LocalAddresses> {
        self.real.local_addresses()
    }

    fn services(&mut self) -> Result<Vec<Service>> {
        self.real.services()
    }

    fn headings(&mut self, tell: &mut Headings<'_>) -> Result<()> {
        self.real.headings(tell)
    }

    fn backends(&mut self, tuple: &Tuple) -> Result<Vec<(Destination, u32)>> {
        self.real.backends(tuple)
    }

    fn balance(&mut self, commands: &[Command]) -> Vec<Result<()>> {
        let is_loaded = self.is_loaded.load(Ordering::Relaxed);
        let one = |command: &Command| match command {
            Command::AddService(new) if new.scheduler == "nq" && !is_loaded => {
                vec![Err(KernelError::new(command.to_string(), Errno::ENOENT))]
            }
            _ => self.real.balance(std::slice::from_ref(command)),
        };
        commands.iter().flat_map(one).collect()
    }

    fn vips(&mut self, steps: &[VipStep]) -> Vec<Result<()>> {
        self.real.vips(steps)
    }

    fn packets(&mut self, change: &PacketChange) -> Result<()> {
        self.real.packets(change)
    }

    fn forget(&mut self, flows: &[StaleFlows]) -> Result<u64> {
        self.real.forget(flows)
    }
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn what_the_kernel_does_not_balance_is_refused_and_does_not_reach_a_port_of_the_node() {
    let net = Net::new();
    serve_tcp(&net.node, "0.0.0.0:80", "host");
    serve_tcp(&net.far, "10.1.2.2:8080", "far");
    let lacking = Lacking::default();
    let is_loaded = Arc::clone(&lacking.is_loaded);
    let mut daemon = Daemon::on(lacking, Settings::default());
    for (name, last, scheduler) in [("good", 1, "rr"), ("bad", 2, "nq")] {
        let mut made = service(name, last, Protocol::Tcp, 80, 30080 + last);
        made.annotations.insert("kube-router.io/service.scheduler".into(), scheduler.into());
        daemon.put(made);
        daemon.endpoints(name, 8080, Family::V4, vec![ready("10.1.2.2")]);
    }
    let report = daemon.apply(&net.node, &[]);
    assert!(report.problems.iter().all(|problem| problem.item == "Service default/bad"), "{report:?}");
    for from in [&net.pod_a, &net.node] {
        assert_eq!(ask(from, "10.96.0.1:80").server, "far");
        assert_eq!(refusal(from, "10.96.0.2:80"), std::io::ErrorKind::ConnectionRefused);
    }
    assert_eq!(ask(&net.pod_a, "192.0.2.11:80").server, "host", "the node's own address is not touched");

    is_loaded.store(true, Ordering::Relaxed);
    let report = daemon.apply(&net.node, &[]);
    assert_eq!(report.problems, Vec::new());
    for from in [&net.pod_a, &net.node] {
        assert_eq!(ask(from, "10.96.0.2:80").server, "far");
    }
    assert_eq!(daemon.apply(&net.node, &[]).writes, 0);
}
