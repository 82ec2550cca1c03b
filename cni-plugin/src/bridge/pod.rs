//! What is done inside the pod's namespace.

use std::time::{Duration, Instant};

use kernel::KernelError;
use kernel::rtnl::{
    Address, Batch, Link, LinkChange, MacAddress, NewAddress, NextHop, Route as KernelRoute, RouteFilter,
    Rtnl, Scope,
};
use kernel::sysctl::{self, Folder};
use prefix::Family;

use super::gateway::broadcast;
use super::pair::wait_until_up;
use super::plan::Plan;
use super::segment::ignore_ipv6_absent;
use super::without_link_local;
use crate::config::BridgeConf;
use crate::error::{CniError, Code};
use crate::result::Route;

/// Duplicate address detection takes one to two seconds.
const SETTLE_WAIT: Duration = Duration::from_secs(10);
/// The last port of a bridge whose pod is announced in its ADD. To this many it takes as long as to start a process.
const MOST_TOLD: u16 = 100;
/// The most the kernel keeps of a route's metrics (`ip_metrics_convert`).
const MOST_MTU: u32 = 65535 - 15;
const MOST_ADVMSS: u32 = 65535 - 40;

/// The pod's end, seen from inside. Only a thread in the pod's namespace may use it.
#[derive(Debug)]
pub(super) struct PodEnd {
    rtnl: Rtnl,
    name: String,
    index: u32,
}

impl PodEnd {
    /// Opens the pod's end in the calling thread's namespace. The near end knows its number there.
    pub(super) fn open(ifname: &str, near: &Link) -> Result<Self, CniError> {
        let mut end = Self { rtnl: Rtnl::open()?, name: ifname.to_owned(), index: 0 };
        end.index = match near.peer_index {
            Some(index) => index,
            None => end.link()?.index,
        };
        Ok(end)
    }

    /// The link as it is now.
    pub(super) fn link(&mut self) -> Result<Link, CniError> {
        self.rtnl.link_by_name(&self.name)?.ok_or_else(|| {
            let msg = format!("{} was removed from the pod while it was configured", self.name);
            CniError::new(Code::KERNEL, msg)
        })
    }

    /// Gives the interface its settings, addresses and routes and sets it up. It has no carrier before the near end is up.
    pub(super) fn configure(&mut self, conf: &BridgeConf, plan: &Plan) -> Result<(), CniError> {
        let has_ipv6 = plan.ips.iter().any(|ip| ip.address.family() == Family::V6);
        self.settings(conf, has_ipv6)?;
        self.set_up(has_ipv6)?;
        for ip in &plan.ips {
            let address = NewAddress {
                broadcast: broadcast(&ip.address),
                no_dad: !conf.enable_dad,
                ..NewAddress::new(self.index, ip.address.address, ip.address.length())
            };
            self.rtnl.add_address(&address)?;
        }
        for route in plan.kernel_routes() {
            self.add_route(&route)?;
        }
        Ok(())
    }

    /// What holds for it before it is up.
    pub(super) fn settings(&self, conf: &BridgeConf, has_ipv6: bool) -> Result<(), CniError> {
        let folder = match Folder::open(&["net", "ipv6", "conf", &self.name]) {
            // A kernel without IPv6.
            Err(error) if error.is_not_found() => return Ok(()),
            folder => folder?,
        };
        let set = |key, value| ignore_ipv6_absent(folder.write_blindly(key, value));
        set("accept_ra", "0")?;
        if !has_ipv6 {
            return Ok(());
        }
        // Some runtimes switch IPv6 off by default; a pod with an IPv6 address wants it.
        ignore_ipv6_absent(sysctl::write(&["net", "ipv6", "conf", "lo", "disable_ipv6"], "0"))?;
        ignore_ipv6_absent(folder.write("disable_ipv6", "0"))?;
        set("keep_addr_on_down", "1")?;
        set("accept_dad", if conf.enable_dad { "1" } else { "0" })?;
        if conf.enable_dad {
            set("enhanced_dad", "1")?;
        }
        // What `announce` makes the kernel say, and what it says again after the link was down.
        set("ndisc_notify", "1")
    }

    /// A pod of an IPv4 network gets no link-local address either: nothing judges or uses it, and to join its groups
    /// and to announce it are some six packets to each pod of the node.
    fn set_up(&mut self, has_ipv6: bool) -> Result<(), CniError> {
        // `announce` makes use of it, and the kernel when the link was down.
        let change = LinkChange { arp_notify: Some(true), ..LinkChange::default() };
        if has_ipv6 {
            return Ok(self.run_up(&change)?);
        }
        Ok(without_link_local(&change, |change| self.run_up(change))?)
    }

    fn run_up(&mut self, before: &LinkChange<'_>) -> Result<(), KernelError> {
        let mut batch = Batch::new();
        let up = LinkChange { up: Some(true), ..LinkChange::default() };
        // Two messages: in one the kernel would set it up first.
        batch.change_link(self.index, before)?.change_link(self.index, &up)?;
        self.rtnl.run(&batch).map(drop)
    }

    fn add_route(&mut self, route: &Route) -> Result<(), CniError> {
        let kernel_route = to_kernel(route, self.index);
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

    /// Waits until duplicate address detection is over, if it is wanted.
    pub(super) fn settle(&mut self, conf: &BridgeConf) -> Result<(), CniError> {
        if !conf.enable_dad {
            return Ok(());
        }
        let start = Instant::now();
        loop {
            let addresses = self.rtnl.addresses(Some(self.index), Some(Family::V6))?;
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

    /// Waits until the pod can send.
    pub(super) fn wait(&mut self) -> Result<Link, CniError> {
        wait_until_up(&mut self.rtnl, &self.name)
    }

    /// Tells everybody on the bridge where the pod's addresses are now (gratuitous ARP, unsolicited neighbour
    /// advertisement): an earlier pod may have had them, and for 30 seconds packets would go to its grave.
    ///
    /// The kernel says it when a link's Ethernet address is set, even to what it is. A packet socket of our own would
    /// cost an RCU grace period when closed, more than all the rest of the ADD.
    fn announce(&mut self, mac: Option<MacAddress>) -> Result<(), CniError> {
        let change = LinkChange { mac, ..LinkChange::default() };
        Ok(self.rtnl.change_link(self.index, &change)?)
    }

    /// [Announces](Self::announce) the pod; on a bridge with many ports, where every port makes it dearer by some
    /// 4 µs, beside the ADD and not in it.
    pub(super) fn announced(mut self, near: &Link, far: &Link) -> Result<Option<Announcement>, CniError> {
        if near.port_number.is_some_and(|number| number > MOST_TOLD) {
            return Ok(Some(Announcement { end: self, mac: far.mac }));
        }
        self.announce(far.mac)?;
        Ok(None)
    }
}

/// An announcement that is still to be made.
#[derive(Debug)]
pub struct Announcement {
    end: PodEnd,
    mac: Option<MacAddress>,
}

impl Announcement {
    /// Makes it in a process of its own, which ends with it.
    pub(crate) fn make(mut self) -> Result<(), CniError> {
        // The pod works without: who has a wrong entry asks again within half a minute.
        Ok(kernel::aside(move || drop(self.end.announce(self.mac)))?)
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
