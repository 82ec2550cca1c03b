//! The result of an ADD, in the form of version 1.1.0. [`crate::convert`] turns it into the older ones and back.

use std::net::IpAddr;

use crate::address::Cidr;

/// What an ADD made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddResult {
    /// Every interface that belongs to the attachment, on the node and in the pod.
    pub interfaces: Vec<Interface>,
    /// The pod's addresses.
    pub ips: Vec<IpConfig>,
    /// The pod's routes.
    pub routes: Vec<Route>,
    /// Name service settings.
    pub dns: Dns,
}

/// An interface of a result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its link address as text, because not every kind has an Ethernet address; may be empty.
    pub mac: String,
    /// Its MTU in bytes (1.1.0 only).
    pub mtu: Option<u32>,
    /// The path of the namespace it is in; empty on the node.
    pub sandbox: String,
    /// A vhost-user socket (1.1.0 only); passed through.
    pub socket_path: String,
    /// A PCI address (1.1.0 only); passed through.
    pub pci_id: String,
}

/// An address of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpConfig {
    /// The address with the length of its subnet.
    pub address: Cidr,
    /// The gateway of its subnet.
    pub gateway: Option<IpAddr>,
    /// The index of its interface in [`AddResult::interfaces`], if known.
    pub interface: Option<usize>,
}

/// A route of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The destination, host bits as they were written.
    pub dst: Cidr,
    /// The next hop; without one the interface's gateway is used.
    pub gw: Option<IpAddr>,
    /// Path MTU in bytes (1.1.0).
    pub mtu: Option<u32>,
    /// Advertised TCP maximum segment size in bytes (1.1.0).
    pub advmss: Option<u32>,
    /// Metric (1.1.0).
    pub priority: Option<u32>,
    /// Routing table (1.1.0).
    pub table: Option<u32>,
    /// Scope: 0 global, 253 link, 254 host (1.1.0).
    pub scope: Option<u32>,
}

impl Route {
    /// A route to `dst` through `gw` with nothing else said.
    pub fn new(dst: Cidr, gw: Option<IpAddr>) -> Self {
        Self { dst, gw, mtu: None, advmss: None, priority: None, table: None, scope: None }
    }
}

/// Name service settings of a result.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Dns {
    /// Addresses of name servers, in order of preference.
    pub nameservers: Vec<String>,
    /// The local domain.
    pub domain: String,
    /// Search domains.
    pub search: Vec<String>,
    /// Resolver options.
    pub options: Vec<String>,
}

impl Dns {
    /// Nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Dns::default()
    }
}
