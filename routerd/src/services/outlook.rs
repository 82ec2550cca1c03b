//! The backends of one port of a Service as clients from each side get them.

use std::net::SocketAddr;

use prefix::Family;

use super::desired::Origin;
use super::endpoints::{Backends, Endpoints};
use super::gates::Gate;
use crate::cluster::Index;
use crate::cluster::objects::{Service, ServicePort};

/// Which policies say `Local`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Local {
    /// `internalTrafficPolicy`.
    pub(crate) internal: bool,
    /// `externalTrafficPolicy`.
    pub(crate) external: bool,
}

/// One port in both families; a family is looked at when it is first asked for.
pub(super) struct Outlook<'a> {
    index: &'a Index,
    service: &'a Service,
    port: &'a ServicePort,
    local: Local,
    seen: [Option<Sides>; 2],
}

/// What the two policies give.
#[derive(Clone)]
struct Sides {
    internal: Backends,
    external: Backends,
    /// Where clients of this node are led if the external policy would give them less.
    detour: Option<SocketAddr>,
    /// The endpoints there, if not those at the cluster address.
    behind: Option<Backends>,
}

impl<'a> Outlook<'a> {
    pub(super) fn of(index: &'a Index, service: &'a Service, port: &'a ServicePort, local: Local) -> Self {
        Self { index, service, port, local, seen: [None, None] }
    }

    /// The backends at an address, and what stands before it.
    pub(super) fn at(&mut self, origin: Origin, family: Family) -> (Backends, Gate) {
        let slot = usize::from(family == Family::V6);
        let sides = match self.seen[slot].take() {
            Some(sides) => sides,
            None => self.sides(family),
        };
        let (backends, detour) = match origin {
            Origin::Cluster => (sides.internal.clone(), None),
            _ => (sides.external.clone(), sides.detour),
        };
        self.seen[slot] = Some(sides);
        let sources = match (&self.service.source_ranges, origin) {
            (Some(ranges), Origin::Balancer) => Gate::admits(ranges, family),
            _ => None,
        };
        (backends, Gate { sources, detour, private: false })
    }

    /// Where clients of this node are led, if that is a place for this alone.
    pub(super) fn private(&self, family: Family) -> Option<(SocketAddr, Backends)> {
        let sides = self.seen[usize::from(family == Family::V6)].as_ref()?;
        sides.detour.zip(sides.behind.clone())
    }

    fn sides(&self, family: Family) -> Sides {
        let endpoints = Endpoints::of(self.index, self.service, self.port, family);
        let internal = endpoints.backends(self.local.internal);
        let external = if self.local.external == self.local.internal {
            internal.clone()
        } else {
            endpoints.backends(self.local.external)
        };
        // At the cluster address all endpoints serve, unless the internal policy is `Local` too.
        let both = self.local.internal && self.local.external;
        let behind = both.then(|| endpoints.backends(false));
        let useful = self.local.external && !behind.as_ref().unwrap_or(&internal).by_socket.is_empty();
        let port = if self.local.internal { self.private_port() } else { Some(self.port.port) };
        let cluster_ip = self.service.cluster_ips.iter().find(|address| Family::of(**address) == family);
        let detour = cluster_ip.zip(port).filter(|_| useful);
        let detour = detour.map(|(address, port)| SocketAddr::new(*address, port));
        Sides { internal, external, detour, behind }
    }

    /// A port of the cluster address that is none of the Service's: the last free ones, one for each port.
    fn private_port(&self) -> Option<u16> {
        let ports = &self.service.ports;
        let place = ports.iter().position(|port| port == self.port)?;
        let is_free = |number: &u16| ports.iter().all(|port| port.port != *number);
        (1..=u16::MAX).rev().filter(is_free).nth(place)
    }
}
