//! How much was refused, from the counters in the kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use kernel::nft::{Datum, Nft};

use super::names::{Name, Names};
use crate::cluster::objects::ObjectName;
use crate::policy::{self, Direction};

/// Packets and their bytes, from the IP header on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Count {
    fn add(&mut self, other: Count) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// What was refused since each pod came, which a restart of the daemon does not change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    /// By pod of this node and direction; pods of which nothing was refused are there with zeros.
    pub pods: BTreeMap<(ObjectName, &'static str), Count>,
    /// Of addresses in the pod networks that had no verdict, by direction.
    pub without_verdict: BTreeMap<&'static str, Count>,
}

/// The counters as they stand in the kernel.
#[derive(Debug, Default)]
pub(super) struct Counters {
    addresses: Vec<(Direction, IpAddr, Count)>,
    without_verdict: BTreeMap<&'static str, Count>,
}

impl Counters {
    /// Reads them: some short lists, whatever the number of rules and policies.
    pub(super) fn read() -> kernel::Result<Self> {
        let mut nft = Nft::open()?;
        let mut counters = Self::default();
        for (direction, set) in policy::all_counters() {
            for (key, packets, bytes) in nft.list_counters(&set)? {
                let address = match key.0.first() {
                    Some(Datum::Ip4(address)) => IpAddr::from(*address),
                    Some(Datum::Ip6(address)) => IpAddr::from(*address),
                    _ => continue,
                };
                counters.addresses.push((direction, address, Count { packets, bytes }));
            }
        }
        for direction in Direction::BOTH {
            let sum = counters.without_verdict.entry(direction.word()).or_default();
            for rule in nft.list_rules_of(&policy::orphans(direction))? {
                let (packets, bytes) = rule.counter.unwrap_or_default();
                sum.add(Count { packets, bytes });
            }
        }
        Ok(counters)
    }

    /// The addresses that are counted.
    pub(super) fn addresses(&self) -> BTreeSet<IpAddr> {
        self.addresses.iter().map(|(_, address, _)| *address).collect()
    }

    /// The sums by pod. An address that has no pod any more is left out: its counter goes in a moment.
    pub(super) fn sum(self, names: &Names) -> Totals {
        let mut totals = Totals { without_verdict: self.without_verdict, ..Totals::default() };
        for (direction, address, count) in self.addresses {
            let Some(Name::Pod { namespace, name }) = names.get(&address) else { continue };
            let pod = ObjectName::new(namespace, name);
            totals.pods.entry((pod, direction.word())).or_default().add(count);
        }
        totals
    }
}
