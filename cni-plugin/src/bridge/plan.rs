//! What the pod's addresses mean for gateways and routes. Pure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use kernel::rtnl::table;
use prefix::Family;

use crate::address::Cidr;
use crate::config::BridgeConf;
use crate::error::CniError;
use crate::request::Addresses;
use crate::result::{AddResult, IpConfig, Route};

/// RFC 8200, section 5.
const LEAST_IPV6_MTU: u32 = 1280;
/// `RT_SCOPE_LINK`.
const LINK_SCOPE: u32 = 253;

/// Gateways and routes of one attachment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// The pod's addresses, gateways filled in.
    pub(super) ips: Vec<IpConfig>,
    /// The result's routes: those of IPAM and the default ones of `isDefaultGateway`.
    pub(super) routes: Vec<Route>,
    /// The addresses the bridge must have.
    pub(super) gateways: Vec<Cidr>,
}

impl Plan {
    pub(super) fn new(conf: &BridgeConf, addresses: &Addresses) -> Self {
        let mut plan =
            Self { ips: addresses.ips.clone(), routes: addresses.routes.clone(), gateways: Vec::new() };
        if conf.is_gateway {
            for ip in &mut plan.ips {
                let gateway = *ip.gateway.get_or_insert_with(|| first_address(&ip.address));
                let wanted = Cidr::new(gateway, ip.address.length());
                plan.gateways.extend(wanted.filter(|wanted| !plan.gateways.contains(wanted)));
            }
        }
        if conf.is_default_gateway {
            plan.add_default_routes();
        }
        plan
    }

    fn add_default_routes(&mut self) {
        for family in Family::BOTH {
            let gateway = self.gateway_of(family);
            let is_default = |route: &Route| {
                let main = route.table.is_none_or(|table| table == 0 || table == table::MAIN);
                main && route.dst.is_default() && route.dst.family() == family
            };
            let there = self.routes.iter().any(is_default);
            if let (Some(gateway), false) = (gateway, there) {
                self.routes.extend(everywhere(family).map(|dst| Route::new(dst, Some(gateway))));
            }
        }
    }

    /// What prevResult says, as far as the pod's own addresses go: `interface` tells if an address is one.
    pub(super) fn of_result(conf: &BridgeConf, prev: &AddResult, interface: impl Fn(usize) -> bool) -> Self {
        let ips = prev.ips.iter().filter(|ip| ip.interface.is_none_or(&interface)).cloned().collect();
        let addresses = Addresses { ips, routes: prev.routes.clone(), ..Addresses::default() };
        Self::new(conf, &addresses)
    }

    /// What the kernel would only call an invalid argument, or what would not work although the kernel takes it.
    pub(super) fn check(&self, conf: &BridgeConf) -> Result<(), CniError> {
        for ip in &self.ips {
            let address = ip.address;
            if let Some(mtu) = conf.mtu.filter(|mtu| *mtu < LEAST_IPV6_MTU && address.family() == Family::V6)
            {
                return Err(CniError::config(format!(
                    "mtu must be at least {LEAST_IPV6_MTU} for the IPv6 address {address}, but is {mtu}"
                )));
            }
            if conf.is_gateway && ip.gateway == Some(address.address) {
                return Err(CniError::config(format!(
                    "the pod got the address {address}, which is that of its gateway, the bridge {}",
                    conf.bridge
                ))
                .with_details("change ipam, or let it name another gateway"));
            }
        }
        Ok(())
    }

    /// The first gateway of a family: where routes go that name none.
    fn gateway_of(&self, family: Family) -> Option<IpAddr> {
        self.ips.iter().filter_map(|ip| ip.gateway).find(|gateway| Family::of(*gateway) == family)
    }

    /// The routes for the kernel: each once, with its gateway filled in.
    pub(super) fn kernel_routes(&self) -> Vec<Route> {
        let mut routes: Vec<Route> = Vec::new();
        for route in &self.routes {
            let mut route = route.clone();
            // A destination that is on the link itself has no gateway.
            if route.scope.is_none_or(|scope| scope < LINK_SCOPE) {
                route.gw = route.gw.or_else(|| self.gateway_of(route.dst.family()));
            }
            if !routes.contains(&route) {
                routes.push(route);
            }
        }
        routes
    }
}

/// The network's address plus one, the gateway where nothing is said.
fn first_address(cidr: &Cidr) -> IpAddr {
    match cidr.prefix().address() {
        IpAddr::V4(network) => Ipv4Addr::from_bits(network.to_bits().wrapping_add(1)).into(),
        IpAddr::V6(network) => Ipv6Addr::from_bits(network.to_bits().wrapping_add(1)).into(),
    }
}

fn everywhere(family: Family) -> Option<Cidr> {
    let any: IpAddr = match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    Cidr::new(any, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Args;
    use crate::config::NetConf;

    fn plan(body: &str, ips: &[(&str, Option<&str>)], routes: &[(&str, Option<&str>)]) -> Plan {
        let text = format!(r#"{{"name":"n","cniVersion":"1.0.0",{body}}}"#);
        let conf = NetConf::parse(text.as_bytes()).unwrap();
        let conf = BridgeConf::parse(&conf, &Args::default(), "cni0").unwrap();
        let ip = |(address, gateway): &(&str, Option<&str>)| IpConfig {
            address: address.parse().unwrap(),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            interface: None,
        };
        let route = |(dst, gw): &(&str, Option<&str>)| {
            Route::new(dst.parse().unwrap(), gw.map(|gw| gw.parse().unwrap()))
        };
        let addresses = Addresses {
            ips: ips.iter().map(ip).collect(),
            routes: routes.iter().map(route).collect(),
            ..Addresses::default()
        };
        Plan::new(&conf, &addresses)
    }

    fn shown(routes: &[Route]) -> Vec<String> {
        let gateway = |route: &Route| route.gw.map_or("-".to_owned(), |gw| gw.to_string());
        routes.iter().map(|route| format!("{} {}", route.dst, gateway(route))).collect()
    }

    #[test]
    fn the_default_gateway_gives_one_default_route_a_family() {
        let ips = [("10.1.0.5/24", Some("10.1.0.1")), ("fd01::5/64", None)];
        let plan = plan(r#""isDefaultGateway":true"#, &ips, &[]);
        assert_eq!(shown(&plan.routes), ["0.0.0.0/0 10.1.0.1", "::/0 fd01::1"]);
        let gateways: Vec<String> = plan.gateways.iter().map(ToString::to_string).collect();
        assert_eq!(gateways, ["10.1.0.1/24", "fd01::1/64"]);
    }

    #[test]
    fn a_default_route_of_ipam_is_not_doubled_and_gets_the_gateway() {
        let ips = [("10.1.0.5/24", Some("10.1.0.1"))];
        let plan = plan(r#""isDefaultGateway":true"#, &ips, &[("0.0.0.0/0", None), ("0.0.0.0/0", None)]);
        assert_eq!(shown(&plan.kernel_routes()), ["0.0.0.0/0 10.1.0.1"]);
    }

    #[test]
    fn a_default_route_of_another_table_is_not_the_pods_default() {
        let mut addresses =
            Addresses { ips: plan(r#""x":1"#, &[("10.1.0.5/24", None)], &[]).ips, ..Addresses::default() };
        addresses.routes.push(Route { table: Some(100), ..Route::new("0.0.0.0/0".parse().unwrap(), None) });
        let conf = NetConf::parse(br#"{"name":"n","isDefaultGateway":true}"#).unwrap();
        let conf = BridgeConf::parse(&conf, &Args::default(), "cni0").unwrap();
        assert_eq!(Plan::new(&conf, &addresses).routes.len(), 2);
    }

    #[test]
    fn a_pod_with_its_gateways_address_is_refused() {
        let conf = NetConf::parse(br#"{"name":"n","isGateway":true}"#).unwrap();
        let conf = BridgeConf::parse(&conf, &Args::default(), "cni0").unwrap();
        let addresses =
            Addresses { ips: plan(r#""x":1"#, &[("10.1.0.1/24", None)], &[]).ips, ..Addresses::default() };
        let error = Plan::new(&conf, &addresses).check(&conf).unwrap_err();
        assert!(error.msg.contains("10.1.0.1/24"), "{error}");
    }

    #[test]
    fn without_gateway_nothing_is_added() {
        let plan = plan(r#""bridge":"b""#, &[("10.1.0.5/24", None)], &[("10.9.0.0/16", None)]);
        assert!(plan.gateways.is_empty());
        assert_eq!(shown(&plan.kernel_routes()), ["10.9.0.0/16 -"]);
    }

    #[test]
    fn a_route_to_what_is_on_the_link_gets_no_gateway() {
        let mut plan = plan(r#""isGateway":true"#, &[("10.1.0.5/24", None)], &[("10.9.0.0/16", None)]);
        plan.routes[0].scope = Some(253);
        assert_eq!(shown(&plan.kernel_routes()), ["10.9.0.0/16 -"]);
    }

    #[test]
    fn a_link_too_small_for_ipv6_is_refused_where_there_is_an_ipv6_address() {
        let conf = NetConf::parse(br#"{"name":"n","mtu":1279}"#).unwrap();
        let conf = BridgeConf::parse(&conf, &Args::default(), "cni0").unwrap();
        assert!(plan(r#""x":1"#, &[("10.1.0.5/24", None)], &[]).check(&conf).is_ok());
        let error = plan(r#""x":1"#, &[("fd00::5/64", None)], &[]).check(&conf).unwrap_err();
        assert!(error.msg.contains("mtu") && error.msg.contains("1279"), "{error}");
    }

    #[test]
    fn a_route_with_its_own_gateway_keeps_it() {
        let ips = [("10.1.0.5/24", Some("10.1.0.1"))];
        let plan =
            plan(r#""isGateway":true"#, &ips, &[("10.9.0.0/16", Some("10.1.0.9")), ("10.8.0.0/16", None)]);
        assert_eq!(shown(&plan.kernel_routes()), ["10.9.0.0/16 10.1.0.9", "10.8.0.0/16 10.1.0.1"]);
    }
}
