//! The last look at an address: it is called on the bridge, and whoever has it answers. That needs no namespace, no file
//! and no rights but those over the network, and finds the pods of any plugin.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::thread;
use std::time::{Duration, Instant};

use kernel::Rtnl;
use kernel::rtnl::{LinkKind, NeighbourState};
use prefix::Family;

use super::network::Network;

/// So many are called at once: the kernel keeps a limited number of neighbours.
const AT_ONCE: usize = 128;
/// The kernel asks three times, a second apart, before it gives up.
const MOST_WAIT: Duration = Duration::from_secs(6);
const TICK: Duration = Duration::from_millis(20);

/// Those of `addresses` that somebody on a bridge of `networks` answers for.
pub(super) fn answering(
    networks: &[Network],
    addresses: &BTreeSet<IpAddr>,
) -> kernel::Result<BTreeSet<IpAddr>> {
    let mut rtnl = Rtnl::open()?;
    let mut answered = BTreeSet::new();
    let bridges = bridges(&mut rtnl, networks)?;
    let all: Vec<IpAddr> = addresses.iter().copied().collect();
    for some in all.chunks(AT_ONCE) {
        answered.extend(call(&mut rtnl, &bridges, some)?);
    }
    Ok(answered)
}

/// A bridge that may hold an address.
struct Bridge {
    index: u32,
    named: bool,
    prefixes: Vec<prefix::Prefix>,
}

impl Bridge {
    /// By name, whatever it holds; or by the addresses that it has.
    fn may_hold(&self, address: IpAddr) -> bool {
        self.named || self.prefixes.iter().any(|prefix| prefix.contains(address))
    }
}

/// The bridges that are up: on another, nobody can have an address.
fn bridges(rtnl: &mut Rtnl, networks: &[Network]) -> kernel::Result<Vec<Bridge>> {
    let links = rtnl.links_of_kind(&LinkKind::Bridge)?;
    let addresses = rtnl.addresses(None, None)?;
    let prefixes = |index| {
        addresses.iter().filter(|one| one.link == index).filter_map(kernel::rtnl::Address::prefix).collect()
    };
    let named = |name: &String| networks.iter().any(|network| network.bridges.contains(name));
    Ok(links
        .iter()
        .map(|link| Bridge { index: link.index, named: named(&link.name), prefixes: prefixes(link.index) })
        .collect())
}

fn call(rtnl: &mut Rtnl, bridges: &[Bridge], addresses: &[IpAddr]) -> kernel::Result<BTreeSet<IpAddr>> {
    let mut asked = BTreeSet::new();
    for bridge in bridges {
        for address in addresses.iter().filter(|address| bridge.may_hold(**address)) {
            // What is remembered of it may be of a minute ago.
            match rtnl.delete_neighbour(bridge.index, *address) {
                Err(error) if !error.is_not_found() => return Err(error),
                _ => {}
            }
            match rtnl.ask_neighbour(bridge.index, *address) {
                Ok(()) => drop(asked.insert((bridge.index, *address))),
                // The bridge went, or has no such family: nobody is there to answer.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
    }
    wait(rtnl, asked)
}

/// Waits until all that were asked have answered or failed.
fn wait(rtnl: &mut Rtnl, mut asked: BTreeSet<(u32, IpAddr)>) -> kernel::Result<BTreeSet<IpAddr>> {
    let end = Instant::now() + MOST_WAIT;
    let mut answered = BTreeSet::new();
    while !asked.is_empty() && Instant::now() < end {
        thread::sleep(TICK);
        for family in Family::BOTH {
            for one in rtnl.neighbours(None, Some(family))? {
                let key = (one.link, one.address);
                match one.state {
                    NeighbourState::Reachable | NeighbourState::Permanent if asked.remove(&key) => {
                        answered.insert(one.address);
                    }
                    NeighbourState::Failed => drop(asked.remove(&key)),
                    _ => {}
                }
            }
        }
    }
    // A link that is down forgets the question: nobody can have heard it.
    Ok(answered)
}
