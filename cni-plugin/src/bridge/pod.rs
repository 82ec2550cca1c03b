//! What is done inside the pod's namespace.

use std::time::{Duration, Instant};

use kernel::rtnl::{
    Address, Link, LinkChange, NewAddress, NextHop, Route as KernelRoute, RouteFilter, Rtnl, Scope,
};
use kernel::sysctl;
use prefix::Family;

use super::gateway::broadcast;
use super::plan::Plan;
use super::segment::ignore_ipv6_absent;
use crate::config::BridgeConf;
use crate::error::{CniError, Code};
use crate::result::Route;

/// Duplicate address detection takes one to two seconds.
const SETTLE_WAIT: Duration = Duration::from_secs(10);
/// The most the kernel keeps of a route's metrics (`ip_metrics_convert`).
const MOST_MTU: u32 = 65535 - 15;
const MOST_ADVMSS: u32 = 65535 - 40;

/// The pod's end, seen from inside. Only a thread in the pod's namespace may use it.
pub(super) struct PodEnd {
    rtnl: Rtnl,
    pub(super) link: Link,
}

impl PodEnd {
    /// Opens the pod's end in the calling thread's namespace.
    pub(super) fn open(ifname: &str) -> Result<Self, CniError> {
        let mut rtnl = Rtnl::open()?;
        let link = rtnl.link_by_name(ifname)?.ok_or_else(|| {
            CniError::new(Code::KERNEL, format!("{ifname} was removed from the pod while it was configured"))
        })?;
        Ok(Self { rtnl, link })
    }

    /// Sets the interface up and gives it its addresses and routes.
    pub(super) fn configure(&mut self, conf: &BridgeConf, plan: &Plan) -> Result<(), CniError> {
        self.settings(conf, plan)?;
        if conf.disable_container_interface {
            return Ok(());
        }
        // Up first: the kernel brings the bridge port into service while addresses and routes are written.
        self.rtnl.set_up(self.link.index)?;
        for ip in &plan.ips {
            let address = NewAddress {
                broadcast: broadcast(&ip.address),
                no_dad: !conf.enable_dad,
                ..NewAddress::new(self.link.index, ip.address.address, ip.address.length())
            };
            self.rtnl.add_address(&address)?;
        }
        for route in plan.kernel_routes() {
            self.add_route(&route)?;
        }
        if conf.enable_dad { self.settle() } else { Ok(()) }
    }

    fn settings(&self, conf: &BridgeConf, plan: &Plan) -> Result<(), CniError> {
        let name = self.link.name.as_str();
        let set = |key: &str, value: &str| {
            ignore_ipv6_absent(sysctl::write_blindly(&["net", "ipv6", "conf", name, key], value))
        };
        if plan.ips.iter().any(|ip| ip.address.family() == Family::V6) {
            // Some runtimes switch IPv6 off by default; a pod with an IPv6 address wants it.
            for link in ["lo", name] {
                ignore_ipv6_absent(sysctl::write(&["net", "ipv6", "conf", link, "disable_ipv6"], "0"))?;
            }
            set("keep_addr_on_down", "1")?;
        }
        set("accept_ra", "0")?;
        set("accept_dad", if conf.enable_dad { "1" } else { "0" })?;
        if conf.enable_dad {
            set("enhanced_dad", "1")?;
        }
        // What `announce` makes the kernel say, and what it says again after the link was down.
        set("ndisc_notify", "1")?;
        Ok(sysctl::write_blindly(&["net", "ipv4", "conf", name, "arp_notify"], "1")?)
    }

    fn add_route(&mut self, route: &Route) -> Result<(), CniError> {
        let kernel_route = to_kernel(route, self.link.index);
        match self.rtnl.append_route(&kernel_route) {
            // A route of the configuration may be one that the addresses brought.
            Err(error) if error.is_exists() && self.has_route(&kernel_route)? => Ok(()),
            Err(error) if error.is_exists() => Err(CniError::from(error)
                .with_details("the pod has another route to that destination with the same priority")),
            added => Ok(added?),
        }
    }

    fn has_route(&mut self, wanted: &KernelRoute) -> Result<bool, CniError> {
        let filter = RouteFilter { family: Some(wanted.family()), table: Some(wanted.table), protocol: None };
        let wanted = KernelRoute { metric: normal_metric(wanted.family(), wanted.metric), ..wanted.clone() };
        Ok(self.rtnl.routes(&filter)?.contains(&wanted))
    }

    /// Waits until duplicate address detection is over.
    fn settle(&mut self) -> Result<(), CniError> {
        let start = Instant::now();
        loop {
            let addresses = self.rtnl.addresses(Some(self.link.index), Some(Family::V6))?;
            if let Some(duplicate) = addresses.iter().find(|one| one.duplicate) {
                let msg = format!("duplicate address detection failed for {}", duplicate.address);
                return Err(CniError::new(Code::EXISTS, msg).with_details("somebody on the bridge has it"));
            }
            let Some(waiting) = addresses.iter().find(|one: &&Address| one.tentative) else { return Ok(()) };
            if start.elapsed() > SETTLE_WAIT {
                let msg = format!("address {} is still tentative after 10 s", waiting.address);
                return Err(CniError::new(Code::TRY_AGAIN, msg));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Tells everybody on the bridge where the pod's addresses are now (gratuitous ARP, unsolicited neighbour
    /// advertisement): an earlier pod may have had them, and for 30 seconds packets would go to its grave.
    ///
    /// The kernel says it when a link's Ethernet address is set, even to what it is. A packet socket of our own would
    /// cost an RCU grace period when closed, more than all the rest of the ADD.
    pub(super) fn announce(&mut self) -> Result<(), CniError> {
        let change = LinkChange { mac: self.link.mac, ..LinkChange::default() };
        Ok(self.rtnl.change_link(self.link.index, &change)?)
    }
}

/// The kernel's route for a route of the result, whose gateway is filled in.
pub(super) fn to_kernel(route: &Route, link: u32) -> KernelRoute {
    let mut kernel_route =
        KernelRoute::new(route.dst.prefix()).next_hop(NextHop { gateway: route.gw, ..NextHop::link(link) });
    // 0 says nothing (`RT_TABLE_UNSPEC`).
    kernel_route.table = route.table.filter(|table| *table != 0).unwrap_or(kernel_route.table);
    kernel_route.metric = route.priority;
    kernel_route.mtu = route.mtu.filter(|mtu| *mtu != 0).map(|mtu| mtu.min(MOST_MTU));
    kernel_route.advmss = route.advmss.filter(|advmss| *advmss != 0).map(|advmss| advmss.min(MOST_ADVMSS));
    kernel_route.scope = route.scope.and_then(|scope| u8::try_from(scope).ok()).map(Scope::from);
    kernel_route
}

/// A metric as the kernel tells it back: `None` for what is the family's default.
pub(super) fn normal_metric(family: Family, metric: Option<u32>) -> Option<u32> {
    let default = if family == Family::V6 { 1024 } else { 0 };
    metric.filter(|metric| *metric != 0 && *metric != default)
}
