//! Changes of the IPVS tables, and how the error of one is told.

use std::fmt;
use std::net::SocketAddr;

use nix::errno::Errno;

use super::model::{Destination, Service, ServiceKey, Timeouts};
use crate::error::KernelError;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Adds a service that is not there.
    AddService(Service),
    /// Gives a service that is there another configuration; its connections stay.
    SetService(Service),
    /// Deletes a service with its destinations.
    DeleteService(ServiceKey),
    /// Adds a destination that is not there.
    AddDestination(ServiceKey, Destination),
    /// Gives a destination that is there another configuration; its connections stay.
    SetDestination(ServiceKey, Destination),
    /// Deletes a destination.
    DeleteDestination(ServiceKey, SocketAddr),
    /// Sets the timeouts that are not 0.
    SetTimeouts(Timeouts),
}

impl Command {
    /// The virtual service it is about.
    pub fn service(&self) -> Option<ServiceKey> {
        match self {
            Command::AddService(service) | Command::SetService(service) => Some(service.key),
            Command::DeleteService(key)
            | Command::AddDestination(key, _)
            | Command::SetDestination(key, _)
            | Command::DeleteDestination(key, _) => Some(*key),
            Command::SetTimeouts(_) => None,
        }
    }

    /// The error of this command, with what to do where the kernel's number alone does not say it.
    pub(super) fn failed(&self, errno: Errno, words: Option<String>) -> KernelError {
        let mut error = KernelError::new(self.to_string(), errno);
        error.detail = words.or_else(|| self.explain(errno));
        error
    }

    fn explain(&self, errno: Errno) -> Option<String> {
        match (self, errno) {
            (Command::AddService(service) | Command::SetService(service), Errno::ENOENT) => {
                let name = &service.scheduler;
                Some(match &service.persistence_engine {
                    None => format!("the kernel has no scheduler {name}: `modprobe ip_vs_{name}`"),
                    Some(engine) => format!(
                        "the kernel has no scheduler {name} (`modprobe ip_vs_{name}`) or no persistence engine \
                         {engine} (`modprobe ip_vs_pe_{engine}`)"
                    ),
                })
            }
            (_, Errno::EAFNOSUPPORT) => {
                Some("this kernel's IPVS has no IPv6 (CONFIG_IP_VS_IPV6), or IPv6 is disabled".into())
            }
            (Command::AddDestination(..) | Command::SetDestination(..), Errno::ERANGE) => {
                Some("the lower threshold is above the upper one, or the weight above 2147483647".into())
            }
            (Command::AddDestination(..), Errno::EINVAL) => Some(
                "the address is no unicast address, its family needs tunnel forwarding, or GUE has no port"
                    .into(),
            ),
            _ => None,
        }
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::AddService(s) => write!(f, "add IPVS service {} scheduler {}", s.key, s.scheduler),
            Command::SetService(s) => write!(f, "change IPVS service {} scheduler {}", s.key, s.scheduler),
            Command::DeleteService(key) => write!(f, "delete IPVS service {key}"),
            Command::AddDestination(key, d) => {
                write!(f, "add destination {} to IPVS service {key}", d.socket())
            }
            Command::SetDestination(key, d) => {
                write!(f, "change destination {} of IPVS service {key}", d.socket())
            }
            Command::DeleteDestination(key, socket) => {
                write!(f, "delete destination {socket} of IPVS service {key}")
            }
            Command::SetTimeouts(t) => {
                write!(f, "set IPVS timeouts tcp {} s, tcpfin {} s, udp {} s", t.tcp, t.tcp_fin, t.udp)
            }
        }
    }
}
