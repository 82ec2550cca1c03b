//! The real kernel: IPVS, the dummy device, nf_tables, conntrack.

mod flows;
mod packets;
mod settings;
mod vips;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use kernel::KernelError;
use kernel::conntrack::Conntrack;
use kernel::ipvs::{Census, Command, Destination, DestinationEntry, Ipvs, Service, Table, read_table};
use kernel::nft::{Identity, Nft};
use kernel::rtnl::{LinkKind, Rtnl};

use super::apply::{Headings, Hindrance, Kernel};
use super::plan::{PacketChange, StaleFlows, VipStep};
use super::scheduling::Scheduling;
use super::state::{Balanced, State, Tuple, weight_of};
use super::wanted::LocalAddresses;
use super::{DUMMY_DEVICE, Settings};

type Result<T> = std::result::Result<T, KernelError>;

/// The tuples of the virtual services that are ours, as our nft table tells.
pub(crate) fn own_tuples(nft: &mut Nft) -> Result<BTreeSet<Tuple>> {
    Ok(packets::observe(nft)?.tuples)
}

/// What stands around the virtual services of an earlier run, or of kube-router's, which notes nowhere which are its own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Around {
    /// The addresses on the dummy device.
    pub(crate) virtual_addresses: BTreeSet<IpAddr>,
    /// The node's own addresses, at which node ports are; none if they may be kube-proxy's.
    pub(crate) node_addresses: BTreeSet<IpAddr>,
}

/// What there is of it; `None` without the dummy device, or if there is only another of its name.
pub(crate) fn around(rtnl: &mut Rtnl) -> Result<Option<Around>> {
    let Some(link) = rtnl.link_by_name(DUMMY_DEVICE)?.filter(|link| link.kind == LinkKind::Dummy) else {
        return Ok(None);
    };
    let virtual_addresses = vips::observe(rtnl, link.index)?.into_keys().collect();
    let node_addresses = match rtnl.link_by_name(vips::KUBE_PROXYS_DEVICE)? {
        Some(_) => BTreeSet::new(),
        None => vips::local_addresses(rtnl, link.index)?.for_node_ports,
    };
    Ok(Some(Around { virtual_addresses, node_addresses }))
}

/// The kernel of the namespace that the plane's thread runs in. Sockets are opened when they are first needed, and anew
/// after an error, so that a module that is loaded later is found.
#[derive(Debug, Default)]
pub struct Linux {
    identity: Identity,
    open: Option<Sockets>,
}

#[derive(Debug)]
struct Sockets {
    ipvs: Ipvs,
    census: Census,
    rtnl: Rtnl,
    nft: Nft,
    conntrack: Conntrack,
    /// The dummy device's index.
    dummy: u32,
}

impl Linux {
    /// A kernel not yet looked at.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, whose changes of nf_tables are known as `identity`'s.
    pub fn known_as(identity: Identity) -> Self {
        Self { identity, open: None }
    }

    fn sockets(&mut self) -> Result<&mut Sockets> {
        match &mut self.open {
            Some(sockets) => Ok(sockets),
            None => Err(KernelError::new("use IPVS", nix::errno::Errno::ENOTCONN)),
        }
    }
}

impl Kernel for Linux {
    fn prepare(&mut self, settings: &Settings) -> Result<(u64, Vec<Hindrance>)> {
        self.open = None;
        let (mut ipvs, census) = (Ipvs::open()?, Census::open()?);
        let mut rtnl = Rtnl::open()?;
        let (dummy, made) = vips::device(&mut rtnl)?;
        let (set, mut hindrances) = settings::apply();
        let timed = match settings::timeouts(&mut ipvs, &settings.timeouts) {
            Ok(written) => u64::from(written),
            Err(error) => {
                hindrances.push(Hindrance { message: error.to_string(), retry: true });
                0
            }
        };
        let (nft, conntrack) = (Nft::open_as(self.identity)?, Conntrack::open()?);
        self.open = Some(Sockets { ipvs, census, rtnl, nft, conntrack, dummy });
        Ok((made + set + timed, hindrances))
    }

    fn observe(&mut self) -> Result<State> {
        let sockets = self.sockets()?;
        let mut state = State {
            vips: vips::observe(&mut sockets.rtnl, sockets.dummy)?,
            packets: packets::observe(&mut sockets.nft)?,
            ..State::default()
        };
        let entries = sockets.ipvs.services()?;
        // Where it cannot be read, each service is asked for by itself.
        let mut table = if entries.is_empty() { Table::new() } else { read_table().unwrap_or_default() };
        for entry in entries {
            let key = entry.service.key;
            let Some(tuple) = Tuple::of(&key) else { continue };
            let destinations = match table.remove(&key) {
                Some(destinations) => destinations,
                None => sockets.ipvs.destinations(&key)?.iter().map(|found| found.destination).collect(),
            };
            let destinations = destinations.iter().map(|found| (found.socket(), weight_of(found))).collect();
            let balanced = Balanced { destinations, ..Balanced::of(&entry.service) };
            state.services.insert(tuple, Arc::new(balanced));
        }
        Ok(state)
    }

    fn local_addresses(&mut self) -> Result<LocalAddresses> {
        let sockets = self.sockets()?;
        vips::local_addresses(&mut sockets.rtnl, sockets.dummy)
    }

    fn services(&mut self) -> Result<Vec<Service>> {
        let entries = self.sockets()?.ipvs.services()?;
        Ok(entries.into_iter().map(|entry| entry.service).collect())
    }

    fn headings(&mut self, tell: &mut Headings<'_>) -> Result<()> {
        let census = &mut self.sockets()?.census;
        census.read()?;
        for heading in census.headings() {
            let backends = usize::try_from(heading.destinations).unwrap_or(usize::MAX);
            if let Some(tuple) = Tuple::of(&heading.key) {
                tell(tuple, Scheduling::of_heading(&heading), backends);
            }
        }
        Ok(())
    }

    fn backends(&mut self, tuple: &Tuple) -> Result<Vec<(Destination, u32)>> {
        let entries = self.sockets()?.ipvs.destinations(&tuple.key())?;
        let connections = |entry: &DestinationEntry| entry.active_connections + entry.inactive_connections;
        Ok(entries.into_iter().map(|entry| (entry.destination, connections(&entry))).collect())
    }

    fn balance(&mut self, commands: &[Command]) -> Vec<Result<()>> {
        match self.sockets() {
            Ok(sockets) => sockets.ipvs.change_all(commands),
            Err(error) => vec![Err(error); commands.len()],
        }
    }

    fn vips(&mut self, steps: &[VipStep]) -> Vec<Result<()>> {
        match self.sockets() {
            Ok(sockets) => vips::take(&mut sockets.rtnl, sockets.dummy, steps),
            Err(error) => vec![Err(error); steps.len()],
        }
    }

    fn packets(&mut self, change: &PacketChange) -> Result<()> {
        packets::change(&mut self.sockets()?.nft, change)
    }

    fn forget(&mut self, flows: &[StaleFlows]) -> Result<u64> {
        flows::forget(&mut self.sockets()?.conntrack, flows)
    }
}
