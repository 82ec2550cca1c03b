//! Settings of a pod's interface and namespace (reference plugin `tuning`, v1.9.1).
//!
//! What an interface had before is kept in a file of the reference plugin's name and form, so that each side gives back
//! what the other changed. Sysctls are not given back on DEL: they are of the pod's namespace, which ends with it.

mod allow;
mod backup;
mod collect;
mod conf;
mod duplicates;
mod interface;
mod sysctls;

pub use backup::folder;
pub use collect::{collect, forget, kept};
pub use conf::TuningConf;

use std::rc::Rc;

use kernel::NetNs;
use kernel::netns::is_not_a_namespace;

use crate::error::{CniError, Code};
use crate::request::Request;
use crate::result::AddResult;
use crate::undo::Undo;

/// Applies the settings and notes in `result` what changed. The way back is on `undo`.
pub fn add(
    request: &Request,
    conf: &TuningConf,
    result: &mut AddResult,
    undo: &mut Undo,
) -> Result<(), CniError> {
    allow::check(&conf.sysctls)?;
    let pod = Rc::new(open(request)?);
    sysctls::apply(&pod, &conf.sysctls, undo)?;
    if conf.wanted.is_empty() {
        return Ok(());
    }
    interface::apply(&pod, request, conf, undo)?;
    note(result, &request.env.ifname, conf);
    Ok(())
}

/// Writes into the result what it says of the interface and is not so any more.
fn note(result: &mut AddResult, ifname: &str, conf: &TuningConf) {
    let inside = result.interfaces.iter().any(|one| one.name == ifname && !one.sandbox.is_empty());
    for one in result.interfaces.iter_mut().filter(|one| one.name == ifname) {
        // An interface of the node may have the same name.
        if inside && one.sandbox.is_empty() {
            continue;
        }
        if let Some(mac) = conf.wanted.mac {
            one.mac = mac.to_string();
        }
        one.mtu = one.mtu.and(conf.wanted.mtu).or(one.mtu);
    }
}

/// Gives the interface back what it had before, as far as it is still there, and forgets it.
pub fn del(request: &Request) {
    let backup = backup::Backup::new(request);
    let before = backup.read();
    if let (Some(before), Some(path)) = (before, &request.env.netns) {
        // What is not there any more needs nothing back, and DEL goes on over everything else.
        if let Ok(pod) = NetNs::open(path) {
            interface::give_back(&pod, &request.env.ifname, &before);
        }
    }
    backup.forget();
}

/// The settings are as the configuration asks for them.
pub fn check(request: &Request, conf: &TuningConf) -> Result<(), CniError> {
    let pod = open(request)?;
    sysctls::check(&pod, &conf.sysctls)?;
    interface::check(&pod, &request.env.ifname, &conf.wanted)
}

fn open(request: &Request) -> Result<NetNs, CniError> {
    NetNs::open(request.env.require_netns()?).map_err(|error| {
        let details = if is_not_a_namespace(&error) { "it is no network namespace" } else { "" };
        CniError::new(Code::NETNS, format!("failed to open netns: {error}")).with_details(details)
    })
}
