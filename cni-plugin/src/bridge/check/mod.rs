//! CHECK: the kernel still holds what the ADD's result and the configuration say.

mod node;
mod pod;

use kernel::rtnl::{Link, Rtnl};

use super::open_pod;
use super::plan::Plan;
use crate::config::BridgeConf;
use crate::error::{CniError, Code};
use crate::request::Request;
use crate::result::{AddResult, Interface};

pub(super) fn check(request: &Request, conf: &BridgeConf, prev: &AddResult) -> Result<(), CniError> {
    let pod = open_pod(request)?;
    let mut host = Rtnl::open()?;
    let mut inside = pod.visit(Rtnl::open)??;
    let ours = |index: usize| prev.interfaces.get(index).is_some_and(|one| one.name == request.env.ifname);
    let plan = Plan::of_result(conf, prev, ours);
    let bridge = node::check_bridge(&mut host, conf, prev)?;
    let far = pod::check_end(&mut inside, request, conf, prev)?;
    node::check_port(&mut host, conf, prev, &bridge, &far)?;
    node::check_gateway(&mut host, conf, &plan, &bridge)?;
    pod::check_addresses(&mut inside, &plan, &far)?;
    pod::check_routes(&mut inside, request.conf.version, &plan, &far)
}

fn failed(what: impl Into<String>) -> CniError {
    CniError::new(Code::CHECK_FAILED, what)
}

fn same_mac(interface: &Interface, link: &Link) -> Result<(), CniError> {
    let found = link.mac.map(|mac| mac.to_string()).unwrap_or_default();
    if interface.mac.is_empty() || interface.mac.eq_ignore_ascii_case(&found) {
        return Ok(());
    }
    Err(failed(format!("{} has the address {found}, but had {}", link.name, interface.mac)))
}
