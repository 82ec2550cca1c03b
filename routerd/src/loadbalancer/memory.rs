//! What is at the API server and the watch does not show yet.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Settings;
use super::desired::{Claim, Standing};
use crate::cluster::objects::{ObjectName, Service};

/// A watch is not behind for longer than this; who still shows what was before has it so again.
const BELIEVED: Duration = Duration::from_mins(1);

/// What we know better than the watch.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    /// What the watch showed; `None` if it did not show the Service.
    shown: Option<Vec<IpAddr>>,
    /// What the Service has.
    has: Vec<IpAddr>,
    until: Instant,
}

/// Addresses of Services that are newer than the watch.
#[derive(Debug, Default)]
pub(super) struct Memory(BTreeMap<ObjectName, Known>);

impl Memory {
    /// What the API server tells now.
    pub(super) fn of(
        services: &[Service],
        claims: &BTreeMap<ObjectName, Claim>,
        settings: &Settings,
        now: Instant,
    ) -> Self {
        let mut memory = Self::default();
        for service in services {
            let has = settings.claim(service).map(|claim| claim.held).unwrap_or_default();
            let shown = claims.get(&service.name).map(|claim| claim.held.clone());
            if has != shown.as_deref().unwrap_or_default() {
                memory.learn(&service.name, shown, has, now);
            }
        }
        memory
    }

    /// A Service has other addresses than the watch shows.
    pub(super) fn learn(
        &mut self,
        name: &ObjectName,
        shown: Option<Vec<IpAddr>>,
        has: Vec<IpAddr>,
        now: Instant,
    ) {
        self.0.insert(name.clone(), Known { shown, has, until: now + BELIEVED });
    }

    /// Corrects what the watch shows. As soon as it shows something new of a Service it is right again.
    pub(super) fn correct(&mut self, claims: &mut BTreeMap<ObjectName, Claim>, now: Instant) {
        self.0.retain(|name, known| {
            known.shown.as_ref() == claims.get(name).map(|claim| &claim.held) && now < known.until
        });
        for (name, known) in &self.0 {
            // One that the watch does not show at all still uses what it has.
            let claim = claims
                .entry(name.clone())
                .or_insert_with(|| Claim { standing: Standing::Has, ..Claim::default() });
            claim.held.clone_from(&known.has);
        }
    }
}
