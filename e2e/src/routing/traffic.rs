//! Datagrams that never stop, each of which must be answered, whatever is done meanwhile.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context, Result, ensure};

use super::world::{PORT, World};
use crate::guest::client::{Cmd, Running};
use crate::tool::Pulse;

/// Clients that send a datagram every 10 ms.
pub(super) struct Pulses(Vec<(String, Running)>);

impl Pulses {
    /// Clients in the pods of some nodes, each of which asks the pods of another in both families.
    pub(super) fn between(world: &World, pairs: &[(u8, u8)]) -> Result<Self> {
        let mut clients = Vec::new();
        for (from, to) in pairs {
            let pod = world.pod(*from)?;
            for address in world.pod(*to)?.ips() {
                let server = SocketAddr::new(address, PORT);
                let client = world.lab.node(*from)?.spawn(pod.tool(&format!("pulse {server}"))?)?;
                clients.push((format!("pod {from} to {server}"), client));
            }
        }
        Ok(Self(clients))
    }

    /// With the machine outside, which asks these addresses.
    pub(super) fn and_outside(mut self, world: &World, addresses: &[IpAddr]) -> Result<Self> {
        for address in addresses {
            let server = SocketAddr::new(*address, PORT);
            let client = world.outside()?.spawn(Cmd::tool(&format!("pulse {server}"))?)?;
            self.0.push((format!("outside to {server}"), client));
        }
        Ok(self)
    }

    /// Waits until it is known of each datagram whether it was answered.
    pub(super) fn end(self) -> Result<Vec<(String, Pulse)>> {
        std::thread::sleep(Pulse::settles_after());
        let ended = self.0.into_iter().map(|(who, client)| {
            let last = client.lines.try_iter().last().with_context(|| format!("{who}: it said nothing"))?.1;
            let counted = Pulse::parse(&last).with_context(|| format!("{who}: it said {last:?}"))?;
            Ok((who, counted))
        });
        ended.collect()
    }

    /// The same; an error if one was lost. How many were sent, and the longest time between two answers in ms.
    pub(super) fn none_lost(self) -> Result<(u64, u128)> {
        let counted = self.end()?;
        let lost: Vec<String> = counted
            .iter()
            .filter(|(_, pulse)| pulse.lost > 0)
            .map(|(who, pulse)| format!("{who}: {} of {} lost, {} ms", pulse.lost, pulse.sent, pulse.longest))
            .collect();
        ensure!(lost.is_empty(), "{}", lost.join("; "));
        let sent = counted.iter().map(|(_, pulse)| pulse.sent).sum();
        Ok((sent, counted.iter().map(|(_, pulse)| pulse.longest).max().unwrap_or(0)))
    }
}
