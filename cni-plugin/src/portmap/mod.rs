//! Port mappings: ports of the node that lead to a pod (reference plugin `portmap`, v1.9.1).
//!
//! The configuration and the pod's addresses give [`Entry`] values; [`crate::netfilter`] puts them into the kernel,
//! with whatever else the pod needs there, in one transaction.

mod config;

pub use config::{Mapping, PortMapConf, Source};

use std::net::{IpAddr, SocketAddr};

use kernel::rtnl::Rtnl;
use kernel::sysctl;
use prefix::Family;

use crate::address::Cidr;
use crate::error::{CniError, Code};
use crate::netfilter::{Entry, Hidden, HostPort};
use crate::result::{AddResult, IpConfig};

/// The entries for the pod's `addresses`, of which the first of each family counts. What two mappings ask for
/// (`hostIP` empty and `0.0.0.0`) is there once.
pub fn entries(conf: &PortMapConf, addresses: &[Cidr]) -> Vec<Entry> {
    let mut entries = Vec::new();
    for family in Family::BOTH {
        let Some(address) = addresses.iter().find(|address| address.family() == family) else { continue };
        for entry in conf.mappings.iter().filter_map(|mapping| entry(conf.source, mapping, address)) {
            if !entries.contains(&entry) {
                entries.push(entry);
            }
        }
    }
    entries
}

fn entry(source: Source, mapping: &Mapping, pod: &Cidr) -> Option<Entry> {
    if mapping.host_ip.is_some_and(|ip| Family::of(ip) != pod.family()) {
        return None;
    }
    Some(Entry::HostPort(HostPort {
        address: mapping.host_ip.filter(|ip| !ip.is_unspecified()),
        transport: mapping.transport,
        port: mapping.host_port,
        target: SocketAddr::new(pod.address, mapping.container_port),
        hidden: match source {
            Source::None => Hidden::Nobody,
            Source::Near => Hidden::Near(pod.prefix()),
            Source::All => Hidden::Everybody,
        },
    }))
}

/// The addresses that mappings of the interface `ifname` may lead to: those of the interface in its pod, and those
/// that name no interface. A result may also have addresses of devices on the node.
pub fn pod_addresses(result: &AddResult, ifname: &str) -> Vec<Cidr> {
    let is_pods = |ip: &&IpConfig| {
        ip.interface
            .and_then(|index| result.interfaces.get(index))
            .is_none_or(|interface| interface.name == ifname && !interface.sandbox.is_empty())
    };
    result.ips.iter().filter(is_pods).map(|ip| ip.address).collect()
}

/// The device that leads to the pod, if a mapping must work from `127.0.0.1` of the node.
pub fn localnet_device(entries: &[Entry]) -> Result<Option<String>, CniError> {
    let hidden = entries.iter().find_map(|entry| match entry {
        Entry::HostPort(HostPort { target: SocketAddr::V4(target), hidden, .. })
            if *hidden != Hidden::Nobody =>
        {
            Some(*target.ip())
        }
        _ => None,
    });
    let Some(address) = hidden else { return Ok(None) };
    let mut rtnl = Rtnl::open()?;
    let Some(link) = rtnl.way_to(IpAddr::V4(address))?.and_then(|way| way.link) else { return Ok(None) };
    Ok(rtnl.link_by_index(link)?.map(|link| link.name))
}

/// Lets packets between `127.0.0.1` and the pod pass `device`; without it the kernel drops them as impossible before
/// any rule could give them another source. What others could do with it, a rule of ours drops.
pub fn open_localnet(device: &str) -> Result<(), CniError> {
    let opened = sysctl::write(&localnet_key(device), "1");
    opened.map(drop).map_err(|error| {
        CniError::from(error).with_details("port mappings from 127.0.0.1 need it; `snat: false` goes without")
    })
}

/// `device` still lets them pass.
pub fn check_localnet(device: &str) -> Result<(), CniError> {
    match sysctl::read(&localnet_key(device))?.as_str() {
        "1" => Ok(()),
        value => {
            let key = localnet_key(device).join(".");
            Err(CniError::new(Code::CHECK_FAILED, format!("portMappings: sysctl {key} is {value} and not 1")))
        }
    }
}

fn localnet_key(device: &str) -> [&str; 5] {
    ["net", "ipv4", "conf", device, "route_localnet"]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netfilter::Transport;
    use crate::result::Interface;

    fn result(ips: &[(&str, Option<usize>)]) -> AddResult {
        let interface = |name: &str, sandbox: &str| Interface {
            name: name.into(),
            sandbox: sandbox.into(),
            ..Interface::default()
        };
        let ip = |(address, interface): &(&str, Option<usize>)| IpConfig {
            address: address.parse().unwrap(),
            gateway: None,
            interface: *interface,
        };
        let interfaces = vec![interface("eth0", ""), interface("eth0", "/pod"), interface("eth1", "/pod")];
        AddResult { interfaces, ips: ips.iter().map(ip).collect(), ..AddResult::default() }
    }

    fn targets(ips: &[(&str, Option<usize>)], host_ip: Option<&str>) -> Vec<String> {
        let mapping = Mapping {
            host_port: 8080,
            container_port: 80,
            transport: Transport::Tcp,
            host_ip: host_ip.map(|ip| ip.parse().unwrap()),
        };
        let conf = PortMapConf { mappings: vec![mapping], source: Source::Near };
        let target = |entry| match entry {
            Entry::HostPort(port) => format!("{} {:?}", port.target, port.address),
            other => format!("{other:?}"),
        };
        entries(&conf, &pod_addresses(&result(ips), "eth0")).into_iter().map(target).collect()
    }

    #[test]
    fn a_mapping_leads_to_the_pods_interface_and_not_to_the_nodes_or_another() {
        let ips = [("192.0.2.1/24", Some(0)), ("10.7.0.2/24", Some(2)), ("10.9.0.2/24", Some(1))];
        assert_eq!(targets(&ips, None), ["10.9.0.2:80 None"]);
        assert_eq!(targets(&[("10.9.0.2/24", None), ("10.9.0.3/24", None)], None), ["10.9.0.2:80 None"]);
        assert_eq!(targets(&ips[..2], None), [""; 0]);
    }

    #[test]
    fn each_family_has_its_mapping_unless_the_nodes_address_is_of_the_other() {
        let both = [("10.9.0.2/24", Some(1)), ("fd09::2/64", Some(1))];
        assert_eq!(targets(&both, None), ["10.9.0.2:80 None", "[fd09::2]:80 None"]);
        assert_eq!(targets(&both, Some("::")), ["[fd09::2]:80 None"]);
        assert_eq!(targets(&both, Some("0.0.0.0")), ["10.9.0.2:80 None"]);
        assert_eq!(targets(&both, Some("192.0.2.1")), ["10.9.0.2:80 Some(192.0.2.1)"]);
        assert_eq!(targets(&both[1..], Some("192.0.2.1")), [""; 0]);
    }
}
