//! Routes to and from the kernel's messages.

use std::net::IpAddr;

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop, RouteNextHopFlags,
    RouteType, RouteVia,
};
use prefix::{Family, Prefix};

use super::super::codec::{address_family, any, ip_family};
use super::{NextHop, Route, RouteFilter, RouteKind, Scope};

/// What IPv6 writes for "no metric said" (`IP6_RT_PRIO_USER`).
const IPV6_DEFAULT_METRIC: u32 = 1024;

impl From<RouteType> for RouteKind {
    fn from(kind: RouteType) -> Self {
        match kind {
            RouteType::Unicast => Self::Unicast,
            RouteType::Local => Self::Local,
            RouteType::BlackHole => Self::Blackhole,
            RouteType::Unreachable => Self::Unreachable,
            RouteType::Prohibit => Self::Prohibit,
            other => Self::Other(other.into()),
        }
    }
}

impl From<RouteKind> for RouteType {
    fn from(kind: RouteKind) -> Self {
        match kind {
            RouteKind::Unicast => Self::Unicast,
            RouteKind::Local => Self::Local,
            RouteKind::Blackhole => Self::BlackHole,
            RouteKind::Unreachable => Self::Unreachable,
            RouteKind::Prohibit => Self::Prohibit,
            RouteKind::Other(number) => number.into(),
        }
    }
}

fn address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(v4) => Some((*v4).into()),
        RouteAddress::Inet6(v6) => Some((*v6).into()),
        _ => None,
    }
}

/// The router of a next hop, which for IPv4 may be an IPv6 address (RFC 8950).
fn gateway_of(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(gateway) => address(gateway),
        RouteAttribute::Via(RouteVia::Inet(v4)) => Some((*v4).into()),
        RouteAttribute::Via(RouteVia::Inet6(v6)) => Some((*v6).into()),
        _ => None,
    }
}

fn gateway_attribute(family: Family, gateway: IpAddr) -> RouteAttribute {
    if Family::of(gateway) == family {
        RouteAttribute::Gateway(gateway.into())
    } else {
        RouteAttribute::Via(gateway.into())
    }
}

impl NextHop {
    fn from_wire(hop: &RouteNextHop) -> Self {
        Self {
            gateway: hop.attributes.iter().find_map(gateway_of),
            link: (hop.interface_index != 0).then_some(hop.interface_index),
            weight: u16::from(hop.hops) + 1,
            on_link: hop.flags.contains(RouteNextHopFlags::Onlink),
        }
    }

    fn to_wire(self, family: Family) -> RouteNextHop {
        let mut hop = RouteNextHop::default();
        hop.interface_index = self.link.unwrap_or(0);
        hop.hops = u8::try_from(self.weight.saturating_sub(1)).unwrap_or(u8::MAX);
        hop.flags.set(RouteNextHopFlags::Onlink, self.on_link);
        hop.attributes.extend(self.gateway.map(|gateway| gateway_attribute(family, gateway)));
        hop
    }
}

impl Route {
    /// How far it reaches: what is said, or what the rest of it implies.
    pub fn effective_scope(&self) -> Scope {
        self.scope.unwrap_or_else(|| self.implied_scope())
    }

    /// The scope that `ip route add` would choose.
    fn implied_scope(&self) -> Scope {
        if self.family() == Family::V6 {
            return Scope::Universe;
        }
        match self.kind {
            RouteKind::Local => Scope::Host,
            RouteKind::Unicast if self.next_hops.iter().all(|hop| hop.gateway.is_none()) => Scope::Link,
            _ => Scope::Universe,
        }
    }

    /// The route in a message; `None` if it is not IP, or only a copy the kernel keeps of one (IPv6 exceptions).
    pub(crate) fn from_message(message: RouteMessage) -> Option<Self> {
        let header = message.header;
        let family = ip_family(header.address_family)?;
        if header.flags.contains(RouteFlags::Cloned) {
            return None;
        }
        let mut route = Self::new(any(family)?)
            .table(u32::from(header.table))
            .protocol(header.protocol.into())
            .kind(header.kind.into());
        let mut single = NextHop { gateway: None, link: None, weight: 1, on_link: false };
        single.on_link = header.flags.contains(RouteFlags::Onlink);
        for attribute in message.attributes {
            match attribute {
                RouteAttribute::Destination(to) => {
                    route.destination = Prefix::new(address(&to)?, header.destination_prefix_length).ok()?;
                }
                RouteAttribute::Table(table) => route.table = table,
                RouteAttribute::Priority(metric) => route.metric = Some(metric),
                RouteAttribute::PrefSource(source) => route.source = address(&source),
                RouteAttribute::Oif(link) => single.link = Some(link),
                RouteAttribute::MultiPath(hops) => {
                    route.next_hops = hops.iter().map(NextHop::from_wire).collect();
                }
                RouteAttribute::Metrics(metrics) => route.take_metrics(&metrics),
                other => single.gateway = gateway_of(&other).or(single.gateway),
            }
        }
        if route.next_hops.is_empty() && (single.gateway.is_some() || single.link.is_some()) {
            route.next_hops.push(single);
        }
        route.normalise(u8::from(header.scope).into());
        Some(route)
    }

    fn take_metrics(&mut self, metrics: &[RouteMetric]) {
        for metric in metrics {
            match metric {
                RouteMetric::Mtu(mtu) => self.mtu = Some(*mtu),
                RouteMetric::Advmss(advmss) => self.advmss = Some(*advmss),
                _ => {}
            }
        }
    }

    fn normalise(&mut self, scope: Scope) {
        let default = if self.family() == Family::V6 { IPV6_DEFAULT_METRIC } else { 0 };
        self.metric = self.metric.filter(|metric| *metric != default && *metric != 0);
        self.scope = (scope != self.implied_scope()).then_some(scope);
        // The kernel puts dropping IPv6 routes on `lo`, which says nothing.
        if matches!(self.kind, RouteKind::Blackhole | RouteKind::Unreachable | RouteKind::Prohibit) {
            self.next_hops.clear();
        }
    }

    pub(in crate::rtnl) fn message(&self) -> RouteMessage {
        let family = self.family();
        let mut message = RouteMessage::default();
        let header = &mut message.header;
        header.address_family = address_family(family);
        header.destination_prefix_length = self.destination.length();
        header.protocol = self.protocol.into();
        header.kind = self.kind.into();
        header.scope = u8::from(self.effective_scope()).into();
        // Tables above 255 are only in the attribute; it wins over the header.
        header.table = u8::try_from(self.table).unwrap_or(0);
        let attributes = &mut message.attributes;
        attributes.push(RouteAttribute::Table(self.table));
        attributes.push(RouteAttribute::Destination(self.destination.address().into()));
        attributes.extend(self.metric.map(RouteAttribute::Priority));
        attributes.extend(self.source.map(|source| RouteAttribute::PrefSource(source.into())));
        match self.next_hops.as_slice() {
            [hop] => {
                header.flags.set(RouteFlags::Onlink, hop.on_link);
                attributes.extend(hop.gateway.map(|gateway| gateway_attribute(family, gateway)));
                attributes.extend(hop.link.map(RouteAttribute::Oif));
            }
            [] => {}
            hops => attributes
                .push(RouteAttribute::MultiPath(hops.iter().map(|hop| hop.to_wire(family)).collect())),
        }
        let metrics: Vec<RouteMetric> =
            self.mtu.map(RouteMetric::Mtu).into_iter().chain(self.advmss.map(RouteMetric::Advmss)).collect();
        if !metrics.is_empty() {
            attributes.push(RouteAttribute::Metrics(metrics));
        }
        message
    }
}

/// The request for a dump that the kernel filters.
pub(super) fn filter_message(family: Family, filter: &RouteFilter) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = address_family(family);
    message.header.protocol = filter.protocol.unwrap_or(0).into();
    message.attributes.extend(filter.table.map(RouteAttribute::Table));
    message
}
