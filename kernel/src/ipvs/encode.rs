//! Commands to the bytes the kernel takes.
//!
//! Attributes come in the order in which `ipvsadm` writes them, so that its messages are the golden bytes of ours.

use std::net::IpAddr;

use prefix::Family;

use super::command::Command;
use super::model::{Destination, Netmask, Service, ServiceKey, Timeouts, address_bytes};
use super::wire::{command, destination, family_number, service, top};
use crate::netlink::Attributes;

/// The kernel's command number and the attributes of `change`.
pub(super) fn encode(change: &Command) -> (u8, Attributes) {
    let mut out = Attributes::new();
    let number = match change {
        Command::AddService(value) => {
            put_service(&mut out, value);
            command::NEW_SERVICE
        }
        Command::SetService(value) => {
            put_service(&mut out, value);
            command::SET_SERVICE
        }
        Command::DeleteService(key) => {
            put_key(&mut out, key);
            command::DELETE_SERVICE
        }
        Command::AddDestination(key, value) => {
            put_key(&mut out, key);
            put_destination(&mut out, value);
            command::NEW_DESTINATION
        }
        Command::SetDestination(key, value) => {
            put_key(&mut out, key);
            put_destination(&mut out, value);
            command::SET_DESTINATION
        }
        Command::DeleteDestination(key, socket) => {
            put_key(&mut out, key);
            out.nested(top::DESTINATION, |inner| destination_key(inner, socket.ip(), socket.port()));
            command::DELETE_DESTINATION
        }
        Command::SetTimeouts(timeouts) => {
            put_timeouts(&mut out, timeouts);
            command::SET_CONFIG
        }
    };
    (number, out)
}

/// The attribute that names a service.
pub(super) fn put_key(out: &mut Attributes, key: &ServiceKey) {
    out.nested(top::SERVICE, |inner| service_key(inner, key));
}

fn service_key(out: &mut Attributes, key: &ServiceKey) {
    out.u16(service::FAMILY, family_number(key.family()));
    match key {
        ServiceKey::Address { protocol, address, port } => out
            .u16(service::PROTOCOL, u16::from(*protocol))
            .bytes(service::ADDRESS, &address_bytes(*address))
            .u16_be(service::PORT, *port),
        ServiceKey::Mark { mark, .. } => out.u32(service::MARK, *mark),
    };
}

fn put_service(out: &mut Attributes, value: &Service) {
    out.nested(top::SERVICE, |inner| {
        service_key(inner, &value.key);
        inner.string(service::SCHEDULER, &value.scheduler);
        if let Some(engine) = &value.persistence_engine {
            inner.string(service::ENGINE, engine);
        }
        // `struct ip_vs_flags`: the flags and the mask of those that are meant, which is all of them: a flag that
        // is not wanted must go away. The kernel adds its own HASHED bit by itself.
        let mut flags = [0; 8];
        flags[..4].copy_from_slice(&value.flags.bits().to_ne_bytes());
        flags[4..].copy_from_slice(&u32::MAX.to_ne_bytes());
        inner.bytes(service::FLAGS, &flags).u32(service::TIMEOUT, value.persistence_seconds);
        match value.netmask {
            Netmask::V4(mask) => inner.bytes(service::NETMASK, &mask.octets()),
            Netmask::V6(length) => inner.u32(service::NETMASK, length),
        };
    });
}

fn destination_key(out: &mut Attributes, address: IpAddr, port: u16) {
    out.u16(destination::FAMILY, family_number(Family::of(address)))
        .bytes(destination::ADDRESS, &address_bytes(address))
        .u16_be(destination::PORT, port);
}

fn put_destination(out: &mut Attributes, value: &Destination) {
    out.nested(top::DESTINATION, |inner| {
        destination_key(inner, value.address, value.port);
        inner
            .u32(destination::FORWARDING, value.forwarding.number())
            .u32(destination::WEIGHT, value.weight)
            .u8(destination::TUNNEL_KIND, value.tunnel.kind)
            .u16_be(destination::TUNNEL_PORT, value.tunnel.port)
            .u16(destination::TUNNEL_FLAGS, value.tunnel.flags)
            .u32(destination::UPPER_THRESHOLD, value.upper_threshold)
            .u32(destination::LOWER_THRESHOLD, value.lower_threshold);
    });
}

fn put_timeouts(out: &mut Attributes, timeouts: &Timeouts) {
    for (kind, seconds) in [
        (top::TIMEOUT_TCP, timeouts.tcp),
        (top::TIMEOUT_TCP_FIN, timeouts.tcp_fin),
        (top::TIMEOUT_UDP, timeouts.udp),
    ] {
        if seconds != 0 {
            out.u32(kind, seconds);
        }
    }
}
