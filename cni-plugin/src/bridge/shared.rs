//! What pods have in common (the bridge, its gateway addresses) and how a failed ADD takes back its share of it.
//!
//! An ADD that made the bridge and fails should leave no bridge. But another pod may be using it by then, and one more
//! may be about to. So each ADD is [present](Presence) in the node's namespace while it works, and only one that is
//! alone and sees no other port takes back what is shared.

use std::path::Path;
use std::rc::Rc;

use kernel::Presence;
use kernel::rtnl::{Among, Link, Rtnl};

use crate::error::CniError;
use crate::undo::Undo;

/// Holds the lock by which ADDs know of each other. The plugin works without routerd, so it is not in routerd's folder;
/// the reference plugins have theirs beside it.
const FOLDER: &str = "/run/cni/routerd-cni";

/// This ADD's part in what pods share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    presence: Rc<Presence>,
}

impl Shared {
    pub(super) fn enter() -> Self {
        Self { presence: Rc::new(Presence::enter(Path::new(FOLDER))) }
    }

    /// `back` takes back something that pods on `bridge` share, if no other pod is there; `own` is a port that goes
    /// with it.
    pub(super) fn push(
        &self,
        undo: &mut Undo,
        what: String,
        bridge: u32,
        own: Option<u32>,
        back: impl FnOnce(&mut Rtnl) -> Result<(), CniError> + 'static,
    ) {
        let presence = Rc::clone(&self.presence);
        undo.push(what, move || {
            if !presence.is_alone() {
                return Ok(());
            }
            let mut host = Rtnl::open()?;
            let is_other = |link: &Link| Some(link.index) != own;
            match host.find_link(Among::PortsOf(bridge), is_other)? {
                Some(_) => Ok(()),
                None => back(&mut host),
            }
        });
    }
}
