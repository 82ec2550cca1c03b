//! One invocation: environment and configuration together, and the seams between its parts.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::address::Mac;
use crate::args::Args;
use crate::bridge::Announcement;
use crate::config::{BridgeConf, NetConf};
use crate::env::Environment;
use crate::error::CniError;
use crate::ipam::Owner;
use crate::result::{AddResult, Dns, IpConfig, Route};
use crate::tag::Tag;
use crate::undo::Undo;

/// One invocation, validated as far as every role needs it.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to do, for which attachment.
    pub env: Environment,
    /// The network.
    pub conf: NetConf,
    /// What `CNI_ARGS` says.
    pub args: Args,
}

/// The addresses reserved for an attachment. An IPAM result has no interfaces.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// The addresses with their gateways; [`IpConfig::interface`] is `None`.
    pub ips: Vec<IpConfig>,
    /// Routes for the pod, as the configuration has them.
    pub routes: Vec<Route>,
    /// Name service settings.
    pub dns: Dns,
}

/// A pod that is wired.
#[derive(Debug)]
pub struct Wired {
    /// The result so far: interfaces as bridge, host end, pod end (with its sandbox); every address with the index of
    /// the pod end and its gateway; the routes, with the default ones that `isDefaultGateway` added.
    pub result: AddResult,
    /// The host end's name.
    pub host_interface: String,
    /// The pod end's link address.
    pub mac: Mac,
    /// What is left to tell the neighbours, when all else is done.
    pub announcement: Option<Announcement>,
}

/// Where addresses come from.
pub trait Ipam {
    /// Reserves addresses for the request's attachment. Nothing stays reserved when it fails; when it succeeds, the
    /// release is on `undo`.
    fn reserve(&self, request: &Request, undo: &mut Undo) -> Result<Addresses, CniError>;

    /// Releases what the attachment holds; nothing held is success.
    fn release(&self, request: &Request) -> Result<(), CniError>;

    /// The attachment still holds its addresses.
    fn check(&self, request: &Request) -> Result<(), CniError>;

    /// A reservation would work.
    fn status(&self, request: &Request) -> Result<(), CniError>;

    /// GC: releases everything of this network that none of `valid` holds, and tells whose that were.
    fn collect(&self, conf: &NetConf, valid: &BTreeSet<Owner>) -> Result<Vec<Owner>, CniError>;
}

/// What makes devices, addresses and routes. `bridge::Bridge` implements it.
pub trait Wiring {
    /// Makes the devices and configures them with `addresses` (which may be empty: layer 2 only).
    ///
    /// What it makes is on `undo`, also when it fails in the middle: unwound, nothing stays that no other pod uses.
    /// A device named as the request's interface in the pod already: [`crate::Code::EXISTS`], and it is not touched.
    fn add(
        &self,
        request: &Request,
        bridge: &BridgeConf,
        addresses: &Addresses,
        undo: &mut Undo,
    ) -> Result<Wired, CniError>;

    /// The last step of an ADD, when all else is done: what the node needs for pods like the one of `result`, and what
    /// an ADD that fails could not take back exactly. It may be said more than once.
    fn open(&self, bridge: &BridgeConf, result: &AddResult) -> Result<(), CniError>;

    /// Takes the attachment away, by what the environment, the kernel and `known` (addresses from the lease store)
    /// say. A missing namespace or device is success. `bridge` is `None` if its configuration cannot be read.
    fn del(&self, request: &Request, bridge: Option<&BridgeConf>, known: &[IpAddr]) -> Result<(), CniError>;

    /// GC: takes away every attachment to `network` that is none of `valid`, and tells whose they were.
    fn collect(&self, network: &str, valid: &BTreeSet<Owner>) -> Result<Vec<Tag>, CniError>;

    /// The kernel still holds what `prev` says.
    fn check(&self, request: &Request, bridge: &BridgeConf, prev: &AddResult) -> Result<(), CniError>;

    /// An ADD would work.
    fn status(&self, request: &Request, bridge: &BridgeConf) -> Result<(), CniError>;
}
