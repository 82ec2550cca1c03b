//! The virtual addresses that the plane wants, for whoever hears that one is gone: what the plane took away itself is no
//! news, and after what somebody else took away it reads everything back.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tokio::sync::watch;

use super::state::State;
use super::wanted::Touched;

/// The addresses. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Roll(watch::Sender<Option<BTreeSet<IpAddr>>>);

impl Default for Roll {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Roll {
    /// True if the address is wanted, or if nobody has said yet which ones are.
    pub fn wants(&self, address: IpAddr) -> bool {
        self.0.borrow().as_ref().is_none_or(|wanted| wanted.contains(&address))
    }

    /// All that are wanted. It is said before what is not wanted is taken away.
    pub(crate) fn say(&self, wanted: &State) {
        self.0.send_replace(Some(wanted.vips.keys().copied().collect()));
    }

    /// The same for those that a change touches.
    pub(super) fn say_touched(&self, touched: &Touched, wanted: &State) {
        self.0.send_modify(|said| {
            let Some(said) = said else { return };
            for address in touched.tuples.iter().map(|tuple| tuple.address) {
                if wanted.vips.contains_key(&address) {
                    said.insert(address);
                } else {
                    said.remove(&address);
                }
            }
        });
    }
}
