//! Kernel settings without which packets between pods of one bridge pass no judge.

use kernel::rtnl::{LinkKind, Rtnl};
use kernel::{KernelError, sysctl};

use crate::runner::Problem;

const KEYS: [&str; 2] = ["net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"];

/// Lets the judges see packets that a bridge forwards. Returns the number of writes.
///
/// Another network plugin may have no bridge at all: then the missing module harms nobody.
pub(super) fn ensure(problems: &mut Vec<Problem>) -> u64 {
    let mut writes = 0;
    for key in KEYS {
        match sysctl::set(key, "1") {
            Ok(written) => writes += u64::from(written),
            Err(error) if error.is_not_found() && !has_bridge() => {}
            Err(error) => problems.push(problem(key, &error)),
        }
    }
    writes
}

fn has_bridge() -> bool {
    let links = Rtnl::open().and_then(|mut rtnl| rtnl.links());
    links.map_or(true, |links| links.iter().any(|link| link.kind == LinkKind::Bridge))
}

fn problem(key: &str, error: &KernelError) -> Problem {
    let message = format!(
        "{error}; policies between pods of one bridge of this node need it to be 1; load the module br_netfilter"
    );
    Problem { item: format!("sysctl {key}"), message, retry: false }
}
