//! The roles `routerd-cni` and `bridge`: addresses, devices and policy of one pod.

use std::net::IpAddr;

use kernel::nft::Nft;
use serde_json::Value;

use super::parts::{self, Parts};
use super::role::Role;
use super::{attach, collect, legacy, packets};
use crate::bandwidth;
use crate::bridge::Announcement;
use crate::convert::to_json;
use crate::env::Command;
use crate::error::{CniError, Code};
use crate::ipam::{self, HostLocal, HostLocalConf};
use crate::ipam_exec::ForeignIpam;
use crate::netfilter::Part;
use crate::request::{Addresses, Ipam, Request, Wiring};
use crate::result::AddResult;
use crate::undo::Undo;

/// One invocation for one pod.
pub(super) struct Pod<'a, W> {
    role: Role,
    request: &'a Request,
    wiring: &'a W,
}

impl<'a, W: Wiring> Pod<'a, W> {
    pub(super) fn new(role: Role, request: &'a Request, wiring: &'a W) -> Self {
        Self { role, request, wiring }
    }

    /// Where addresses come from; `None`: nowhere, layer 2 only.
    fn ipam(&self) -> Result<Option<Box<dyn Ipam>>, CniError> {
        match ipam_type(self.request)? {
            "" => Ok(None),
            "host-local" => Ok(Some(Box::new(HostLocal))),
            other => Ok(Some(Box::new(ForeignIpam::find(other, &self.request.env)?))),
        }
    }

    pub(super) fn run(&self) -> Result<Option<Value>, CniError> {
        match self.request.env.command {
            Command::Add => self.add().map(Some),
            Command::Del => self.del().map(|()| None),
            Command::Check => self.check().map(|()| None),
            Command::Status => self.status().map(|()| None),
            Command::Gc => self.collect().map(|()| None),
            Command::Version => Ok(None),
        }
    }

    fn add(&self) -> Result<Value, CniError> {
        let parts = Parts::parse(self.role, self.request)?;
        let ipam = self.ipam()?;
        self.request.env.require_netns()?;
        self.refuse_without_ranges()?;
        if ipam.is_none() {
            self.refuse_unprintable()?;
        }
        let mut undo = Undo::new();
        match self.add_steps(ipam, &parts, &mut undo) {
            Ok(result) => {
                undo.keep();
                Ok(result)
            }
            Err(error) => Err(error.with_details(undo.unwind().join("; "))),
        }
    }

    fn add_steps(
        &self,
        ipam: Option<Box<dyn Ipam>>,
        parts: &Parts,
        undo: &mut Undo,
    ) -> Result<Value, CniError> {
        let (request, bridge) = (self.request, &parts.bridge);
        let addresses = match ipam {
            Some(ipam) => ipam.reserve(request, undo)?,
            None => Addresses::default(),
        };
        let mut wired = self.wiring.add(request, bridge, &addresses, undo)?;
        legacy::masquerade(request, bridge, &wired.result.ips, undo)?;
        let localnet = parts.packets.add(request, &wired.result, undo)?;
        if let Some(limits) = &parts.limits {
            bandwidth::add(request, limits, &wired.host_interface, &mut wired.result, undo)?;
        }
        wired.result.dns = if bridge.dns.is_empty() { addresses.dns } else { bridge.dns.clone() };
        // Made before the daemon is told: what cannot be said to the runtime must not be announced.
        let result = to_json(&wired.result, request.conf.version)?;
        if let Some(routerd) = &parts.routerd {
            attach::attach(request, routerd, &wired, undo)?;
        }
        // Settings of the node: not before the ADD is sure of all else.
        localnet.open()?;
        self.wiring.open(bridge, &wired.result)?;
        // The last of all: it is a process of its own from here on. The pod works without.
        wired.announcement.map(Announcement::make).transpose().unwrap_or_default();
        Ok(result)
    }

    /// Before routerd has written the node's ranges into the configuration nothing is wrong with it: the runtime
    /// should come again.
    fn refuse_without_ranges(&self) -> Result<(), CniError> {
        let waiting = self.role == Role::RouterdCni && !ipam_type(self.request)?.is_empty();
        if !waiting || HostLocalConf::has_ranges(&self.request.conf)? {
            return Ok(());
        }
        let network = &self.request.conf.name;
        Err(CniError::new(
            Code::TRY_AGAIN,
            format!("network {network}: no IP ranges specified: this node has no pod CIDR yet"),
        )
        .with_details(
            "routerd writes them into the network configuration when the Node object has spec.podCIDRs; \
             look at the routerd pod of this node",
        ))
    }

    /// Results of the oldest versions cannot say "no address": known before anything is made.
    fn refuse_unprintable(&self) -> Result<(), CniError> {
        if self.request.conf.version.has_legacy_result() {
            to_json(&AddResult::default(), self.request.conf.version)?;
        }
        Ok(())
    }

    fn del(&self) -> Result<(), CniError> {
        let (request, env) = (self.request, &self.request.env);
        if let Ok(Some(routerd)) = parts::routerd(self.role, request) {
            attach::detach(&routerd, &env.container_id, &env.ifname);
        }
        // A wrong `ipam` is told at the end: the devices go in any case.
        let ipam = self.ipam();
        let known = if matches!(ipam, Ok(Some(_))) { ipam::held(request) } else { Ok(Vec::new()) };
        let gone = self.del_from_kernel(known.as_deref().unwrap_or_default());
        // Only now: an address whose device, or mapping, is still there must not go to another pod.
        gone.and(known).and_then(|_| ipam?.map_or(Ok(()), |ipam| ipam.release(request)))
    }

    /// Rules and devices. Each removal makes the kernel wait for all processors, some ten milliseconds; all are begun
    /// before the end of one is waited for, so that they wait together. None keeps another from being done.
    fn del_from_kernel(&self, known: &[IpAddr]) -> Result<(), CniError> {
        let request = self.request;
        let rules = self.del_rules(known);
        // A pod with limits loses its pair here too, because two devices go together as fast as one.
        let limited = self.role == Role::RouterdCni;
        let limits = if limited { bandwidth::remove_with_pair(request) } else { Ok(()) };
        let bridge = parts::bridge(self.role, request).ok();
        let wired = self.wiring.del(request, bridge.as_ref(), known);
        // Dropped here, long after its work is done.
        rules.map(drop).and(wired).and(limits)
    }

    /// The connection to drop when the kernel had time for the removal.
    fn del_rules(&self, known: &[IpAddr]) -> Result<Option<Nft>, CniError> {
        let request = self.request;
        let Some(mut nft) = packets::open()? else { return Ok(None) };
        let prev = request.conf.prev_result().ok().flatten().unwrap_or_default();
        let packets = parts::readable_packets(self.role, request);
        let ours = packets.del(&mut nft, request, &Part::ALL, &prev, known);
        let old = legacy::remove(&mut nft, request, legacy::Part::All, known);
        ours.and(old).map(|()| Some(nft))
    }

    fn check(&self) -> Result<(), CniError> {
        let parts = Parts::parse(self.role, self.request)?;
        self.request.env.require_netns()?;
        let prev = self.request.conf.prev_result()?.ok_or_else(|| {
            CniError::config("Required prevResult missing").with_details("CHECK compares the kernel with it")
        })?;
        if let Some(ipam) = self.ipam()? {
            ipam.check(self.request)?;
        }
        self.wiring.check(self.request, &parts.bridge, &prev)?;
        legacy::check(self.request, &parts.bridge, &prev.ips)?;
        parts.packets.check(self.request, &prev)?;
        match &parts.limits {
            Some(limits) => bandwidth::check(self.request, limits, &prev),
            None => Ok(()),
        }
    }

    /// Answers from the configuration and the kernel alone, and takes no lock: a runtime asks every few seconds and
    /// takes any error as "the node is not ready". That the daemon restarts is therefore no error, unless asked for.
    fn status(&self) -> Result<(), CniError> {
        let parts = Parts::parse(self.role, self.request)?;
        // What a foreign IPAM plugin says of running pods is its own word.
        let code = |code| if code == Code::LIMITED { Code::LIMITED } else { Code::NOT_READY };
        let not_ready = |error: CniError| CniError { code: code(error.code), ..error };
        self.refuse_without_ranges().map_err(not_ready)?;
        if let Some(ipam) = self.ipam()? {
            ipam.status(self.request).map_err(not_ready)?;
        }
        self.wiring.status(self.request, &parts.bridge).map_err(not_ready)?;
        match parts.routerd.filter(|routerd| routerd.in_status) {
            Some(routerd) => attach::status(&routerd),
            None => Ok(()),
        }
    }

    /// One kind of thing that cannot be freed does not keep the others.
    fn collect(&self) -> Result<(), CniError> {
        let (request, network) = (self.request, &self.request.conf.name);
        let Some(valid) = collect::valid_attachments(&request.conf)? else { return Ok(()) };
        let rules = packets::collect(network, &valid);
        let old = legacy::collect(request, &valid);
        let limits = bandwidth::collect(network, &valid).map(drop);
        let devices = self.wiring.collect(network, &valid).map(drop);
        let leases = self.ipam().and_then(|ipam| match ipam {
            Some(ipam) => ipam.collect(&request.conf, &valid),
            None => Ok(Vec::new()),
        });
        if let (Ok(Some(routerd)), Ok(freed)) = (parts::routerd(self.role, request), &leases) {
            for owner in freed {
                attach::detach(&routerd, &owner.container_id, &owner.ifname);
            }
        }
        rules.and(old).and(limits).and(devices).and(leases.map(drop))
    }
}

fn ipam_type(request: &Request) -> Result<&str, CniError> {
    match request.conf.fields().object("ipam")? {
        Some(ipam) => ipam.text_or_empty("type"),
        None => Ok(""),
    }
}
