//! OPEN messages and capabilities (RFC 4271 §4.2, RFC 5492), and ROUTE-REFRESH.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::capabilities::{
    BgpCapability, ExtendedNextHopEncoding, ExtendedNextHopEncodingCapability, FourOctetAsCapability,
    GracefulRestartAddressFamily, GracefulRestartCapability, LongLivedGracefulRestartAddressFamily,
    LongLivedGracefulRestartCapability, MultiProtocolExtensionsCapability,
};
use netgauze_bgp_pkt::iana::RouteRefreshSubcode;
use netgauze_bgp_pkt::open::{BgpOpenMessage, BgpOpenMessageParameter};
use netgauze_bgp_pkt::route_refresh::BgpRouteRefreshMessage;
use netgauze_iana::address_family::{AddressFamily, AddressType};
use netgauze_parse_utils::WritablePdu;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFrom;
use prefix::Family;

use super::notification::{Notification, open as code, route_refresh};
use super::reader::{Reader, Short};

/// The AS number that stands for one of four octets where there is room for two (RFC 6793).
pub const AS_TRANS: u16 = 23456;

/// The graceful restart capability (RFC 4724).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestartCapability {
    /// The speaker has just restarted (R bit).
    pub restarting: bool,
    /// Notifications do not end what is kept (N bit, RFC 8538).
    pub notification: bool,
    /// Seconds for which its routes are to be kept, at most 4095.
    pub seconds: u16,
    /// Families, and whether their forwarding state outlived the restart (F bit).
    pub families: Vec<(Family, bool)>,
}

/// A family of the long-lived graceful restart capability (RFC 9494 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongLived {
    /// The family.
    pub family: Family,
    /// Its forwarding state outlived the restart (F bit).
    pub forwarding: bool,
    /// Seconds for which its routes are to be kept after the restart time; 24 bits.
    pub seconds: u32,
}

/// What a speaker can do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capabilities {
    /// Families of routes (RFC 4760). A speaker that names none speaks IPv4.
    pub families: BTreeSet<Family>,
    /// Four-octet AS numbers (RFC 6793).
    pub four_octet_as: bool,
    /// Route refresh (RFC 2918).
    pub route_refresh: bool,
    /// Route refresh with marks where it begins and ends (RFC 7313).
    pub enhanced_refresh: bool,
    /// Graceful restart.
    pub graceful_restart: Option<RestartCapability>,
    /// Long-lived graceful restart (RFC 9494): its families; empty for a speaker that does not know it.
    pub long_lived: Vec<LongLived>,
    /// IPv4 prefixes over IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
}

impl Capabilities {
    /// The start is over for this peer: what ends its next sessions is no restart of ours (RFC 4724 §4.1), and what it has learnt
    /// since is in our forwarding state.
    pub fn start_is_over(&mut self) {
        if let Some(restart) = &mut self.graceful_restart {
            restart.restarting = false;
            restart.families.iter_mut().for_each(|(_, forwarding)| *forwarding = true);
        }
        self.long_lived.iter_mut().for_each(|one| one.forwarding = true);
    }
}

/// An OPEN message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The sender's AS, all four octets of it.
    pub asn: u32,
    /// Seconds without a message after which it gives the session up; 0 for never.
    pub hold_time: u16,
    /// The sender's identifier.
    pub router_id: Ipv4Addr,
    /// What it can do.
    pub capabilities: Capabilities,
}

fn address_type(family: Family) -> AddressType {
    match family {
        Family::V4 => AddressType::Ipv4Unicast,
        Family::V6 => AddressType::Ipv6Unicast,
    }
}

fn family(address_type: AddressType) -> Option<Family> {
    match address_type {
        AddressType::Ipv4Unicast => Some(Family::V4),
        AddressType::Ipv6Unicast => Some(Family::V6),
        _ => None,
    }
}

impl Open {
    /// Reads the part after the header.
    pub(super) fn decode(body: &[u8]) -> Result<Self, Notification> {
        Self::read(body).map_err(|Short| Notification::new(code::CODE, code::UNSPECIFIC))?
    }

    fn read(body: &[u8]) -> Result<Result<Self, Notification>, Short> {
        let mut reader = Reader::new(body);
        if reader.u8()? != 4 {
            return Ok(Err(Notification::with_data(code::CODE, code::UNSUPPORTED_VERSION, vec![0, 4])));
        }
        let asn = reader.u16()?;
        let hold_time = reader.u16()?;
        if matches!(hold_time, 1 | 2) {
            return Ok(Err(Notification::new(code::CODE, code::UNACCEPTABLE_HOLD_TIME)));
        }
        let router_id = reader.ipv4()?;
        if router_id.is_unspecified() || router_id.is_multicast() || router_id.is_broadcast() {
            return Ok(Err(Notification::new(code::CODE, code::BAD_IDENTIFIER)));
        }
        let mut capabilities = Capabilities::default();
        let mut asn4 = None;
        for parameter in parameters(&mut reader)? {
            match parameter {
                (2, value) => capabilities.read(value, &mut asn4)?,
                (unknown, _) => {
                    let data = vec![unknown];
                    return Ok(Err(Notification::with_data(code::CODE, code::UNSUPPORTED_PARAMETER, data)));
                }
            }
        }
        if capabilities.families.is_empty() {
            capabilities.families.insert(Family::V4);
        }
        let asn = asn4.unwrap_or(u32::from(asn));
        Ok(Ok(Self { asn, hold_time, router_id, capabilities }))
    }

    /// The message on the wire.
    pub fn encode(&self) -> Vec<u8> {
        let mut all: Vec<BgpCapability> = self
            .capabilities
            .families
            .iter()
            .map(|family| MultiProtocolExtensionsCapability::new(address_type(*family)))
            .map(BgpCapability::MultiProtocolExtensions)
            .collect();
        if self.capabilities.route_refresh {
            all.push(BgpCapability::RouteRefresh);
        }
        if self.capabilities.enhanced_refresh {
            all.push(BgpCapability::EnhancedRouteRefresh);
        }
        if self.capabilities.four_octet_as {
            all.push(BgpCapability::FourOctetAs(FourOctetAsCapability::new(self.asn)));
        }
        if let Some(restart) = &self.capabilities.graceful_restart {
            all.push(restart.encode());
        }
        if !self.capabilities.long_lived.is_empty() {
            all.push(encode_long_lived(&self.capabilities.long_lived));
        }
        if self.capabilities.extended_next_hop {
            let encoding = ExtendedNextHopEncoding::new(AddressType::Ipv4Unicast, AddressFamily::IPv6);
            let encodings = ExtendedNextHopEncodingCapability::new(vec![encoding]);
            all.push(BgpCapability::ExtendedNextHopEncoding(encodings));
        }
        let parameters =
            if all.is_empty() { Vec::new() } else { vec![BgpOpenMessageParameter::new_capabilities(all)] };
        let asn = u16::try_from(self.asn).unwrap_or(AS_TRANS);
        write(&BgpMessage::Open(BgpOpenMessage::new(asn, self.hold_time, self.router_id, parameters)))
    }
}

/// Writes a message whose size is bounded by its kind, so that writing to memory cannot fail.
fn write(message: &BgpMessage) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(message.len());
    if let Err(error) = message.write(&mut bytes) {
        tracing::error!(%error, "cannot write a BGP message");
    }
    bytes
}

/// Optional parameters by type, in the short and the extended form (RFC 9072).
fn parameters<'a>(reader: &mut Reader<'a>) -> Result<Vec<(u8, &'a [u8])>, Short> {
    let short = reader.u8()?;
    let mut rest = *reader;
    let extended = short == 255 && rest.u8() == Ok(255);
    let length = if extended {
        *reader = rest;
        usize::from(reader.u16()?)
    } else {
        usize::from(short)
    };
    let mut field = Reader::new(reader.take(length)?);
    let mut parameters = Vec::new();
    while !field.is_empty() {
        let kind = field.u8()?;
        let length = if extended { usize::from(field.u16()?) } else { usize::from(field.u8()?) };
        parameters.push((kind, field.take(length)?));
    }
    Ok(parameters)
}

impl Capabilities {
    /// Reads one capabilities parameter. One that cannot be read counts as not there (RFC 5492 §3), so each is given
    /// to the codec alone.
    fn read(&mut self, value: &[u8], asn4: &mut Option<u32>) -> Result<(), Short> {
        let mut reader = Reader::new(value);
        while !reader.is_empty() {
            let start = reader.rest();
            reader.u8()?;
            let length = reader.u8()?;
            reader.take(usize::from(length))?;
            let one = start.get(..usize::from(length) + 2).ok_or(Short)?;
            match BgpCapability::parse(&mut SliceReader::new(one)) {
                Ok(capability) => self.take_in(&capability, asn4),
                Err(error) => tracing::debug!(%error, "a capability that cannot be read is ignored"),
            }
        }
        Ok(())
    }

    fn take_in(&mut self, capability: &BgpCapability, asn4: &mut Option<u32>) {
        match capability {
            BgpCapability::MultiProtocolExtensions(one) => {
                self.families.extend(family(one.address_type()));
            }
            BgpCapability::RouteRefresh => self.route_refresh = true,
            BgpCapability::EnhancedRouteRefresh => self.enhanced_refresh = true,
            BgpCapability::FourOctetAs(one) => {
                self.four_octet_as = true;
                *asn4 = Some(one.asn4());
            }
            BgpCapability::GracefulRestartCapability(one) => {
                self.graceful_restart = Some(RestartCapability::from_codec(one));
            }
            BgpCapability::LongLivedGracefulRestart(one) => {
                self.long_lived = one.address_families().iter().filter_map(long_lived).collect();
            }
            BgpCapability::ExtendedNextHopEncoding(one) => {
                self.extended_next_hop |= one.encodings().iter().any(|encoding| {
                    (encoding.address_type(), encoding.next_hop_afi())
                        == (AddressType::Ipv4Unicast, AddressFamily::IPv6)
                });
            }
            _ => {}
        }
    }
}

fn long_lived(one: &LongLivedGracefulRestartAddressFamily) -> Option<LongLived> {
    let family = family(one.address_type())?;
    Some(LongLived { family, forwarding: one.forwarding_state(), seconds: one.stale_time() })
}

fn encode_long_lived(all: &[LongLived]) -> BgpCapability {
    let codec = |one: &LongLived| {
        let seconds = one.seconds.min(LongLivedGracefulRestartAddressFamily::MAX_STALE_TIME);
        LongLivedGracefulRestartAddressFamily::new(one.forwarding, address_type(one.family), seconds)
    };
    let families: Vec<_> = all.iter().map(codec).collect();
    BgpCapability::LongLivedGracefulRestart(LongLivedGracefulRestartCapability::new(families))
}

impl RestartCapability {
    fn from_codec(codec: &GracefulRestartCapability) -> Self {
        let families = codec
            .address_families()
            .iter()
            .filter_map(|one| Some((family(one.address_type())?, one.forwarding_state())))
            .collect();
        Self {
            restarting: codec.restart(),
            notification: codec.graceful_notification(),
            seconds: codec.time(),
            families,
        }
    }

    fn encode(&self) -> BgpCapability {
        let families: Vec<_> = self
            .families
            .iter()
            .map(|(family, forwarding)| GracefulRestartAddressFamily::new(*forwarding, address_type(*family)))
            .collect();
        BgpCapability::GracefulRestartCapability(GracefulRestartCapability::new(
            self.restarting,
            self.notification,
            self.seconds.min(4095),
            families,
        ))
    }
}

/// What a ROUTE-REFRESH says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// All routes are wanted again (RFC 2918).
    Request,
    /// They are told again from here (RFC 7313).
    Begin,
    /// To here.
    End,
}

/// Reads a ROUTE-REFRESH; `None` for a family or a subtype we do not speak.
pub(super) fn decode_route_refresh(body: &[u8]) -> Result<Option<(Family, Refresh)>, Notification> {
    if body.len() != 4 {
        return Err(Notification::new(route_refresh::CODE, route_refresh::INVALID_LENGTH));
    }
    let message = BgpRouteRefreshMessage::parse(&mut SliceReader::new(body)).ok();
    Ok(message.and_then(|message| {
        let what = match message.operation_type() {
            RouteRefreshSubcode::NormalRequest => Refresh::Request,
            RouteRefreshSubcode::BeginningOfRouteRefresh => Refresh::Begin,
            RouteRefreshSubcode::EndOfRouteRefresh => Refresh::End,
        };
        Some((family(message.address_type())?, what))
    }))
}

/// The message that asks for all routes of `family` again, or marks where they are told again.
pub fn encode_route_refresh(family: Family, what: Refresh) -> Vec<u8> {
    let subcode = match what {
        Refresh::Request => RouteRefreshSubcode::NormalRequest,
        Refresh::Begin => RouteRefreshSubcode::BeginningOfRouteRefresh,
        Refresh::End => RouteRefreshSubcode::EndOfRouteRefresh,
    };
    let message = BgpRouteRefreshMessage::new(address_type(family), subcode);
    write(&BgpMessage::RouteRefresh(message))
}

/// The KEEPALIVE message.
pub fn encode_keepalive() -> Vec<u8> {
    write(&BgpMessage::KeepAlive)
}
