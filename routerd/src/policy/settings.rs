//! Kernel settings without which packets between pods of one bridge pass no judge.

use kernel::rtnl::{LinkKind, Rtnl};
use kernel::{KernelError, sysctl};

use crate::runner::Problem;

const KEYS: [&str; 2] = ["net.bridge.bridge-nf-call-iptables", "net.bridge.bridge-nf-call-ip6tables"];

/// What is wrong with the settings, as far as is known.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// The pods of this node are on a bridge of ours, and so without these settings open to each other: then the plane as a
    /// whole does not work, no pod is added, and the node is not ready. Of other bridges nobody knows whether pods are on them.
    pub(super) bridged: bool,
    problems: Vec<Problem>,
}

impl Settings {
    /// What the last [`Settings::ensure`] could not do.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        self.problems.iter().cloned()
    }

    /// The items of all problems that there may be.
    pub(super) fn items(&self) -> impl Iterator<Item = String> {
        KEYS.into_iter().map(|key| self.item(key))
    }

    /// Lets the judges see packets that a bridge forwards. Returns the number of writes.
    ///
    /// Another network plugin may have no bridge at all: then the missing module harms nobody.
    pub(super) fn ensure(&mut self) -> u64 {
        let mut writes = 0;
        self.problems.clear();
        for key in KEYS {
            match sysctl::set(key, "1") {
                Ok(written) => writes += u64::from(written),
                Err(error) if error.is_not_found() && !self.bridged && !has_bridge() => {}
                Err(error) => self.problems.push(self.problem(key, &error)),
            }
        }
        writes
    }

    /// The same between runs, as the kernel tells nobody of such a change. `None`: all is as it was.
    pub(super) fn tend(&mut self) -> Option<u64> {
        let before = self.problems.clone();
        let writes = self.ensure();
        (writes > 0 || self.problems != before).then_some(writes)
    }

    fn item(&self, key: &str) -> String {
        if self.bridged { super::NAME.to_owned() } else { format!("sysctl {key}") }
    }

    fn problem(&self, key: &str, error: &KernelError) -> Problem {
        let message = format!(
            "{error}; without it no policy is in force between pods of one bridge of this node; load the module br_netfilter (`modprobe br_netfilter`, and its name in /etc/modules-load.d for the next start)"
        );
        Problem { item: self.item(key), message, retry: true }
    }
}

fn has_bridge() -> bool {
    let links = Rtnl::open().and_then(|mut rtnl| rtnl.links());
    links.map_or(true, |links| links.iter().any(|link| link.kind == LinkKind::Bridge))
}
