//! IPVS, the load balancer of the kernel, over generic netlink.
//!
//! Own code, because no published crate decodes what a comparison needs (flags, netmask, thresholds). It speaks to
//! the tables of the network namespace that the socket was opened in.

mod census;
mod command;
mod decode;
mod encode;
mod model;
mod table;
#[cfg(test)]
mod tests;
mod wire;

pub use census::{Census, Heading};
pub use command::Command;
pub use model::{
    Destination, DestinationEntry, Forwarding, Info, Netmask, Service, ServiceEntry, ServiceFlags,
    ServiceKey, Stats, Timeouts, Tunnel,
};
pub use table::{Table, read_table};

use crate::error::{KernelError, Result};
use crate::genl::Family;
use crate::netlink::Attributes;
use crate::netns::NetNs;

/// What to do about a kernel without IPVS.
const REMEDY: &str = "this kernel has no IPVS: load it with `modprobe ip_vs` and a scheduler with \
                      `modprobe ip_vs_rr`, or use a kernel built with CONFIG_IP_VS";

/// A connection to IPVS.
#[derive(Debug)]
pub struct Ipvs {
    family: Family,
}

impl Ipvs {
    /// Opens a socket in the calling thread's network namespace.
    ///
    /// On a kernel without IPVS the error has [`KernelError::is_not_found`] and its text says what to do.
    pub fn open() -> Result<Self> {
        match Family::open(wire::NAME, wire::VERSION) {
            Ok(family) => Ok(Self { family }),
            Err(error) if error.is_not_found() => Err(error.named("use IPVS").with_detail(REMEDY)),
            Err(error) => Err(error),
        }
    }

    /// Opens a socket in another network namespace; see [`Ipvs::open`].
    pub fn open_in(namespace: &NetNs) -> Result<Self> {
        namespace.run_in(Self::open)?
    }

    /// Version and table size.
    pub fn info(&mut self) -> Result<Info> {
        decode::info(&self.one("ask for IPVS' version", wire::command::GET_INFO, &Attributes::new())?)
    }

    /// The timeouts of connections.
    pub fn timeouts(&mut self) -> Result<Timeouts> {
        decode::timeouts(&self.one(
            "ask for the IPVS timeouts",
            wire::command::GET_CONFIG,
            &Attributes::new(),
        )?)
    }

    /// The payload of the one message that answers a request.
    fn one(&mut self, operation: &str, command: u8, attributes: &Attributes) -> Result<Vec<u8>> {
        let answers = self.family.request(operation, command, 0, attributes)?;
        let first = answers.into_iter().next();
        first
            .map(|answer| answer.payload)
            .ok_or_else(|| KernelError::malformed(operation, "the kernel sent no answer"))
    }

    /// All virtual services.
    pub fn services(&mut self) -> Result<Vec<ServiceEntry>> {
        let answers =
            self.family.dump("list IPVS services", wire::command::GET_SERVICE, &Attributes::new())?;
        answers.iter().map(|answer| decode::service(&answer.payload)).collect()
    }

    /// One virtual service; the error has `errno` ESRCH if it is not there.
    pub fn service(&mut self, key: &ServiceKey) -> Result<ServiceEntry> {
        let mut attributes = Attributes::new();
        encode::put_key(&mut attributes, key);
        let operation = format!("read IPVS service {key}");
        decode::service(&self.one(&operation, wire::command::GET_SERVICE, &attributes)?)
    }

    /// The destinations of a virtual service; none if the service is not there.
    pub fn destinations(&mut self, key: &ServiceKey) -> Result<Vec<DestinationEntry>> {
        let mut attributes = Attributes::new();
        encode::put_key(&mut attributes, key);
        let operation = format!("list destinations of IPVS service {key}");
        let answers = self.family.dump(&operation, wire::command::GET_DESTINATION, &attributes)?;
        answers.iter().map(|answer| decode::destination(&answer.payload, key.family())).collect()
    }

    /// Makes one change.
    pub fn change(&mut self, command: &Command) -> Result<()> {
        self.change_all(std::slice::from_ref(command)).into_iter().next().unwrap_or(Ok(()))
    }

    /// Makes changes in their order with few system calls; the outcome of each. One that is refused does not keep the
    /// later ones back.
    pub fn change_all(&mut self, commands: &[Command]) -> Vec<Result<()>> {
        let outcomes = self.family.submit(commands.iter().map(encode::encode)).into_iter().zip(commands);
        outcomes
            .map(|(outcome, command)| outcome.map_err(|(errno, words)| command.failed(errno, words)))
            .collect()
    }
}
