//! What the kernel answers, to values. A malformed answer is an error and never a panic.

use std::net::Ipv4Addr;

use prefix::Family;

use super::model::{
    Destination, DestinationEntry, Forwarding, Info, Netmask, Service, ServiceEntry, ServiceFlags,
    ServiceKey, Stats, Timeouts, Tunnel, address_from,
};
use super::wire::{destination, family_of, info, service, top};
use crate::error::{KernelError, Result};
use crate::genl;
use crate::netlink::{Attribute, AttributeReader};

const READ_SERVICE: &str = "read an IPVS service";
const READ_DESTINATION: &str = "read an IPVS destination";

/// The attribute `kind`, which every kernel writes.
fn need<'a>(reader: &AttributeReader<'a>, kind: u16, operation: &str, name: &str) -> Result<Attribute<'a>> {
    reader
        .find(kind)
        .ok_or_else(|| KernelError::malformed(operation, format!("the kernel's answer lacks its {name}")))
}

fn body<'a>(payload: &'a [u8], kind: u16, operation: &str, name: &str) -> Result<AttributeReader<'a>> {
    let (_, reader) =
        genl::parse(payload).ok_or_else(|| KernelError::malformed(operation, "the message is too short"))?;
    Ok(need(&reader, kind, operation, name)?.nested())
}

/// A service of a dump.
pub(super) fn service(payload: &[u8]) -> Result<ServiceEntry> {
    let reader = body(payload, top::SERVICE, READ_SERVICE, "service")?;
    let number = need(&reader, service::FAMILY, READ_SERVICE, "address family")?.u16()?;
    let family = family_of(number)
        .ok_or_else(|| KernelError::malformed(READ_SERVICE, format!("address family {number}")))?;
    let flags = need(&reader, service::FLAGS, READ_SERVICE, "flags")?;
    let bits = flags
        .payload
        .first_chunk::<4>()
        .map(|bytes| u32::from_ne_bytes(*bytes))
        .ok_or_else(|| KernelError::malformed(READ_SERVICE, "its flags are too short"))?;
    Ok(ServiceEntry {
        service: Service {
            key: key(&reader, family)?,
            scheduler: need(&reader, service::SCHEDULER, READ_SERVICE, "scheduler")?.string(),
            flags: ServiceFlags::from_bits(bits),
            persistence_seconds: need(&reader, service::TIMEOUT, READ_SERVICE, "timeout")?.u32()?,
            netmask: netmask(need(&reader, service::NETMASK, READ_SERVICE, "netmask")?, family)?,
            persistence_engine: reader.find(service::ENGINE).map(|attribute| attribute.string()),
        },
        stats: stats(&reader, service::STATS64, service::STATS),
    })
}

fn key(reader: &AttributeReader<'_>, family: Family) -> Result<ServiceKey> {
    if let Some(mark) = reader.find(service::MARK) {
        return Ok(ServiceKey::Mark { family, mark: mark.u32()? });
    }
    let protocol = need(reader, service::PROTOCOL, READ_SERVICE, "protocol")?.u16()?;
    let address = need(reader, service::ADDRESS, READ_SERVICE, "address")?.payload;
    Ok(ServiceKey::Address {
        protocol: u8::try_from(protocol)
            .map_err(|_| KernelError::malformed(READ_SERVICE, format!("protocol {protocol}")))?,
        address: address_from(family, address)
            .ok_or_else(|| KernelError::malformed(READ_SERVICE, "its address is too short"))?,
        port: need(reader, service::PORT, READ_SERVICE, "port")?.u16_be()?,
    })
}

fn netmask(attribute: Attribute<'_>, family: Family) -> Result<Netmask> {
    Ok(match family {
        Family::V4 => Netmask::V4(Ipv4Addr::from(attribute.u32_be()?)),
        Family::V6 => Netmask::V6(attribute.u32()?),
    })
}

/// A destination of a dump; `family` is that of the service, for kernels that do not say it.
pub(super) fn destination(payload: &[u8], family: Family) -> Result<DestinationEntry> {
    let reader = body(payload, top::DESTINATION, READ_DESTINATION, "destination")?;
    let family = match reader.find(destination::FAMILY) {
        Some(attribute) => family_of(attribute.u16()?).unwrap_or(family),
        None => family,
    };
    let number = |kind, name| need(&reader, kind, READ_DESTINATION, name)?.u32();
    let address = need(&reader, destination::ADDRESS, READ_DESTINATION, "address")?.payload;
    Ok(DestinationEntry {
        destination: Destination {
            address: address_from(family, address)
                .ok_or_else(|| KernelError::malformed(READ_DESTINATION, "its address is too short"))?,
            port: need(&reader, destination::PORT, READ_DESTINATION, "port")?.u16_be()?,
            forwarding: Forwarding::from_number(number(destination::FORWARDING, "forwarding method")?),
            weight: number(destination::WEIGHT, "weight")?,
            upper_threshold: number(destination::UPPER_THRESHOLD, "upper threshold")?,
            lower_threshold: number(destination::LOWER_THRESHOLD, "lower threshold")?,
            tunnel: tunnel(&reader)?,
        },
        active_connections: number(destination::ACTIVE, "number of active connections")?,
        inactive_connections: number(destination::INACTIVE, "number of inactive connections")?,
        persistent_connections: number(destination::PERSISTENT, "number of persistent connections")?,
        stats: stats(&reader, destination::STATS64, destination::STATS),
    })
}

/// Kernels before 5.3 have no tunnel types and write none.
fn tunnel(reader: &AttributeReader<'_>) -> Result<Tunnel> {
    let mut tunnel = Tunnel::default();
    if let Some(attribute) = reader.find(destination::TUNNEL_KIND) {
        tunnel.kind = attribute.u8()?;
    }
    if let Some(attribute) = reader.find(destination::TUNNEL_PORT) {
        tunnel.port = attribute.u16_be()?;
    }
    if let Some(attribute) = reader.find(destination::TUNNEL_FLAGS) {
        tunnel.flags = attribute.u16()?;
    }
    Ok(tunnel)
}

/// The counters, from the 64-bit attribute where there is one. A counter that is missing or of another width is 0:
/// no decision rests on it.
fn stats(reader: &AttributeReader<'_>, wide: u16, narrow: u16) -> Stats {
    let Some(inner) = reader.find(wide).or_else(|| reader.find(narrow)).map(|attribute| attribute.nested())
    else {
        return Stats::default();
    };
    // The numbers are `IPVS_STATS_ATTR_*`.
    let read = |kind| {
        inner.find(kind).map_or(0, |attribute: Attribute<'_>| {
            attribute.u64().or_else(|_| attribute.u32().map(u64::from)).unwrap_or(0)
        })
    };
    Stats {
        connections: read(1),
        packets_in: read(2),
        packets_out: read(3),
        bytes_in: read(4),
        bytes_out: read(5),
        connection_rate: read(6),
        packet_rate_in: read(7),
        packet_rate_out: read(8),
        byte_rate_in: read(9),
        byte_rate_out: read(10),
    }
}

/// The answer to `GET_CONFIG`; a protocol the kernel was built without has timeout 0.
pub(super) fn timeouts(payload: &[u8]) -> Result<Timeouts> {
    let (_, reader) = genl::parse(payload)
        .ok_or_else(|| KernelError::malformed("read the IPVS timeouts", "the message is too short"))?;
    let read = |kind| reader.find(kind).map_or(Ok(0), |attribute| attribute.u32());
    Ok(Timeouts {
        tcp: read(top::TIMEOUT_TCP)?,
        tcp_fin: read(top::TIMEOUT_TCP_FIN)?,
        udp: read(top::TIMEOUT_UDP)?,
    })
}

/// The answer to `GET_INFO`.
pub(super) fn info(payload: &[u8]) -> Result<Info> {
    let operation = "read IPVS' version";
    let (_, reader) =
        genl::parse(payload).ok_or_else(|| KernelError::malformed(operation, "the message is too short"))?;
    Ok(Info {
        version: need(&reader, info::VERSION, operation, "version")?.u32()?,
        connection_table_size: need(&reader, info::TABLE_SIZE, operation, "table size")?.u32()?,
    })
}
