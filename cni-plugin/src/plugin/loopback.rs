//! The role `loopback`: sets `lo` of a pod up. containerd runs it for every pod, besides the main network.

use kernel::rtnl::{Link, Rtnl};
use kernel::{KernelError, NetNs};
use serde_json::Value;

use crate::address::Cidr;
use crate::convert::to_json;
use crate::env::Command;
use crate::error::{CniError, Code};
use crate::request::Request;
use crate::result::{AddResult, Interface, IpConfig};

/// The interface, whatever `CNI_IFNAME` says.
const LO: &str = "lo";

pub(super) fn run(request: &Request) -> Result<Option<Value>, CniError> {
    match request.env.command {
        Command::Add => add(request).map(Some),
        Command::Del => del(request).map(|()| None),
        Command::Check => check(request).map(|()| None),
        Command::Status | Command::Gc | Command::Version => Ok(None),
    }
}

fn open(request: &Request) -> Result<Rtnl, CniError> {
    let path = request.env.require_netns()?;
    let namespace = NetNs::open(path).map_err(|error| CniError { code: Code::NETNS, ..error.into() })?;
    Ok(Rtnl::open_in(&namespace)?)
}

fn find(rtnl: &mut Rtnl) -> Result<Link, CniError> {
    rtnl.link_by_name(LO)?
        .ok_or_else(|| CniError::new(Code::KERNEL, "the namespace has no loopback interface"))
}

fn add(request: &Request) -> Result<Value, CniError> {
    let prev = request.conf.prev_result()?;
    let mut rtnl = open(request)?;
    let link = find(&mut rtnl)?;
    rtnl.set_up(link.index)?;
    let result = match prev {
        Some(prev) => Ok(prev),
        None => describe(request, &mut rtnl, &link),
    };
    let printed = result.and_then(|result| to_json(&result, request.conf.version));
    if printed.is_err() && !link.up {
        // The error to tell is the first one.
        drop(rtnl.set_down(link.index));
    }
    printed
}

fn describe(request: &Request, rtnl: &mut Rtnl, link: &Link) -> Result<AddResult, CniError> {
    let mut ips = Vec::new();
    for found in rtnl.addresses(Some(link.index), None)? {
        if !found.address.is_loopback() {
            let msg =
                format!("loopback interface has the address {}, which is no loopback address", found.address);
            return Err(CniError::new(Code::EXISTS, msg));
        }
        if let Some(address) = Cidr::new(found.address, found.prefix_length) {
            ips.push(IpConfig { address, gateway: None, interface: Some(0) });
        }
    }
    let interface = Interface {
        name: LO.into(),
        mac: "00:00:00:00:00:00".into(),
        sandbox: request.env.require_netns()?.display().to_string(),
        ..Interface::default()
    };
    Ok(AddResult { interfaces: vec![interface], ips, ..AddResult::default() })
}

fn del(request: &Request) -> Result<(), CniError> {
    let gone = |error: &KernelError| error.is_not_found() || kernel::netns::is_not_a_namespace(error);
    let Some(path) = request.env.netns.as_deref() else { return Ok(()) };
    let namespace = match NetNs::open(path) {
        Err(error) if gone(&error) => return Ok(()),
        outcome => outcome?,
    };
    let mut rtnl = Rtnl::open_in(&namespace)?;
    let link = find(&mut rtnl)?;
    Ok(rtnl.set_down(link.index)?)
}

fn check(request: &Request) -> Result<(), CniError> {
    let mut rtnl = open(request)?;
    if find(&mut rtnl)?.up {
        return Ok(());
    }
    Err(CniError::new(Code::CHECK_FAILED, "loopback interface is down"))
}
