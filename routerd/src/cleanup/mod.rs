//! `--cleanup-config`: takes everything out of the kernel that routerd or kube-router put there, and nothing else.
//!
//! What is ours is known by what it is called or marked by, not by a configuration: the nft tables, the tuples of our
//! Services, the route protocol, the devices. IPVS services go first and the tables last, because addresses, rules and the
//! tuples in our table tell which of them are kube-router's and ours; so a run that was cut off can be repeated. It needs neither the API server nor the node's name.

mod kube_router;
mod links;
mod report;
mod routes;
mod services;
mod tables;
mod tunnels;

use std::fs::File;
use std::path::Path;
use std::process::ExitCode;

use kernel::nft::Nft;
use kernel::rtnl::Rtnl;
use nix::fcntl::{Flock, FlockArg};

use self::report::Report;

/// What stays, and who takes it away.
const STAYS: &str = "\
left as they are: running pods with their devices and leases (the plugin's DEL removes them; a bridge without pods goes), \
the network configuration and the plugins (`routerd-init --restore`), kernel settings under /proc/sys, the folder of sockets";

/// Runs the clean-up and says what was removed; an error of one thing does not stop the others.
pub(crate) fn run(run_dir: &Path, node_ports: (u16, u16)) -> ExitCode {
    let _lock = match lock(run_dir) {
        Ok(lock) => lock,
        Err(reason) => {
            eprintln!("routerd: {reason}");
            return ExitCode::FAILURE;
        }
    };
    let report = everything(node_ports);
    for line in &report.removed {
        println!("removed {line}");
    }
    if report.removed.is_empty() && report.problems.is_empty() {
        println!("nothing of routerd or kube-router was found");
    }
    for line in report.kept.iter().map(String::as_str).chain([STAYS]) {
        println!("{line}");
    }
    for line in &report.problems {
        eprintln!("routerd: {line}");
    }
    if report.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A daemon that runs would put everything back. Without its folder there is none.
fn lock(run_dir: &Path) -> Result<Option<Flock<File>>, String> {
    let path = run_dir.join("lock");
    let Ok(file) = File::open(&path) else { return Ok(None) };
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map(Some).map_err(|(_, errno)| {
        format!(
            "a routerd runs on this node and would put everything back: cannot lock {}: {}; stop it first (delete its DaemonSet)",
            path.display(),
            errno.desc()
        )
    })
}

fn everything(node_ports: (u16, u16)) -> Report {
    let mut report = Report::default();
    let mut nft = report.opened("open nf_tables", Nft::open());
    let mut rtnl = report.opened("open netlink", Rtnl::open());
    let balanced =
        rtnl.as_mut().is_some_and(|rtnl| services::remove(nft.as_mut(), rtnl, node_ports, &mut report));
    if let Some(rtnl) = &mut rtnl {
        routes::remove(rtnl, &mut report);
        tunnels::remove(rtnl, &mut report);
        links::remove(rtnl, balanced, &mut report);
    }
    if let Some(nft) = &mut nft {
        tables::remove(nft, balanced, &mut report);
        kube_router::remove(nft, &mut report);
    }
    kube_router::name_legacy(&mut report);
    report
}
