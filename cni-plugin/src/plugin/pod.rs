//! The roles `routerd-cni` and `bridge`: addresses, devices and policy of one pod.

use serde_json::Value;

use super::role::Role;
use super::{attach, collect, legacy};
use crate::config::{BridgeConf, RouterdConf};
use crate::convert::to_json;
use crate::env::Command;
use crate::error::{CniError, Code};
use crate::ipam::{self, HostLocal, HostLocalConf};
use crate::ipam_exec::ForeignIpam;
use crate::legacy::Part;
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

    fn bridge_conf(&self) -> Result<BridgeConf, CniError> {
        let default = if self.role == Role::RouterdCni { "kube-bridge" } else { "cni0" };
        BridgeConf::parse(&self.request.conf, &self.request.args, default)
    }

    fn routerd_conf(&self) -> Result<Option<RouterdConf>, CniError> {
        RouterdConf::parse(&self.request.conf, self.role == Role::RouterdCni)
    }

    fn add(&self) -> Result<Value, CniError> {
        let bridge = self.bridge_conf()?;
        let routerd = self.routerd_conf()?;
        let ipam = self.ipam()?;
        self.request.env.require_netns()?;
        self.refuse_without_ranges()?;
        if ipam.is_none() {
            self.refuse_unprintable()?;
        }
        let mut undo = Undo::new();
        match self.add_steps(ipam, &bridge, routerd.as_ref(), &mut undo) {
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
        bridge: &BridgeConf,
        routerd: Option<&RouterdConf>,
        undo: &mut Undo,
    ) -> Result<Value, CniError> {
        let addresses = match ipam {
            Some(ipam) => ipam.reserve(self.request, undo)?,
            None => Addresses::default(),
        };
        let mut wired = self.wiring.add(self.request, bridge, &addresses, undo)?;
        legacy::masquerade(self.request, bridge, &wired.result.ips, undo)?;
        wired.result.dns = if bridge.dns.is_empty() { addresses.dns } else { bridge.dns.clone() };
        // Made before the daemon is told: what cannot be said to the runtime must not be announced.
        let result = to_json(&wired.result, self.request.conf.version)?;
        if let Some(routerd) = routerd {
            attach::attach(self.request, routerd, &wired, undo)?;
        }
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
        let env = &self.request.env;
        if let Ok(Some(routerd)) = self.routerd_conf() {
            attach::detach(&routerd, &env.container_id, &env.ifname);
        }
        // A wrong `ipam` is told at the end: the devices go in any case.
        let ipam = self.ipam();
        let known = if matches!(ipam, Ok(Some(_))) { ipam::held(self.request) } else { Vec::new() };
        self.wiring.del(self.request, self.bridge_conf().ok().as_ref(), &known)?;
        legacy::remove(self.request, Part::All, &known)?;
        // Only now: an address whose device, or mapping, is still there must not go to another pod.
        ipam?.map_or(Ok(()), |ipam| ipam.release(self.request))
    }

    fn check(&self) -> Result<(), CniError> {
        let bridge = self.bridge_conf()?;
        self.request.env.require_netns()?;
        let prev = self.request.conf.prev_result()?.ok_or_else(|| {
            CniError::config("Required prevResult missing").with_details("CHECK compares the kernel with it")
        })?;
        if let Some(ipam) = self.ipam()? {
            ipam.check(self.request)?;
        }
        self.wiring.check(self.request, &bridge, &prev)?;
        legacy::check(self.request, &bridge, &prev.ips)
    }

    /// Answers from the configuration and the kernel alone, and takes no lock: a runtime asks every few seconds and
    /// takes any error as "the node is not ready". That the daemon restarts is therefore no error, unless asked for.
    fn status(&self) -> Result<(), CniError> {
        let bridge = self.bridge_conf()?;
        // What a foreign IPAM plugin says of running pods is its own word.
        let code = |code| if code == Code::LIMITED { Code::LIMITED } else { Code::NOT_READY };
        let not_ready = |error: CniError| CniError { code: code(error.code), ..error };
        self.refuse_without_ranges().map_err(not_ready)?;
        if let Some(ipam) = self.ipam()? {
            ipam.status(self.request).map_err(not_ready)?;
        }
        self.wiring.status(self.request, &bridge).map_err(not_ready)?;
        match self.routerd_conf()?.filter(|routerd| routerd.in_status) {
            Some(routerd) => attach::status(&routerd),
            None => Ok(()),
        }
    }

    fn collect(&self) -> Result<(), CniError> {
        let Some(valid) = collect::valid_attachments(&self.request.conf)? else { return Ok(()) };
        legacy::collect(self.request, &valid)?;
        let Some(ipam) = self.ipam()? else { return Ok(()) };
        let freed = ipam.collect(&self.request.conf, &valid)?;
        if let Some(routerd) = self.routerd_conf()? {
            for owner in freed {
                attach::detach(&routerd, &owner.container_id, &owner.ifname);
            }
        }
        Ok(())
    }
}

fn ipam_type(request: &Request) -> Result<&str, CniError> {
    match request.conf.fields().object("ipam")? {
        Some(ipam) => ipam.text_or_empty("type"),
        None => Ok(""),
    }
}
