//! Reading UPDATE messages (RFC 4271 §4.3, RFC 4760, RFC 7606).
//!
//! A mistake in one attribute must not cost the session and with it the routes of all other prefixes. So the three
//! parts and each attribute are framed here, attributes are read one by one, and a bad one makes the routes of this
//! message count as withdrawn. Only where prefixes themselves cannot be found the session ends.

use std::net::{IpAddr, Ipv6Addr};

use prefix::{Family, Prefix};

use super::Context;
use super::attribute::{Collected, Fault, Raw, code};
use super::nlri;
use super::notification::{Notification, update as error};
use super::reader::{Reader, Short};
use super::types::Attributes;

/// Prefixes that are reached by a next hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The next hop.
    pub next_hop: IpAddr,
    /// The prefixes, all of one family.
    pub prefixes: Vec<Prefix>,
}

/// What an UPDATE says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// Prefixes that are no longer reachable; to be read before `reach`.
    pub withdrawn: Vec<Prefix>,
    /// Prefixes that are reachable with `attributes`.
    pub reach: Vec<Reach>,
    /// The attributes of all of `reach`.
    pub attributes: Attributes,
    /// The peer has sent all it has of this family (RFC 4724 §2).
    pub end_of_rib: Option<Family>,
    /// Mistakes that were tolerated, for log and status.
    pub faults: Vec<String>,
}

/// A message in which even the prefixes cannot be found.
fn malformed() -> Notification {
    Notification::new(error::CODE, error::MALFORMED_ATTRIBUTE_LIST)
}

fn bad_prefixes() -> Notification {
    Notification::new(error::CODE, error::INVALID_NETWORK)
}

fn bad_multiprotocol() -> Notification {
    Notification::new(error::CODE, error::OPTIONAL_ATTRIBUTE)
}

/// The three parts of the body.
fn parts(body: &[u8]) -> Result<[&[u8]; 3], Short> {
    let mut reader = Reader::new(body);
    let length = reader.u16()?;
    let withdrawn = reader.take(usize::from(length))?;
    let length = reader.u16()?;
    let attributes = reader.take(usize::from(length))?;
    Ok([withdrawn, attributes, reader.rest()])
}

/// Reads the part after the header.
pub(super) fn decode(body: &[u8], context: Context) -> Result<Update, Notification> {
    let [withdrawn, attributes, announced] = parts(body).map_err(|Short| malformed())?;
    let mut update = Update {
        withdrawn: nlri::decode(withdrawn, Family::V4).map_err(|_| bad_prefixes())?,
        ..Update::default()
    };
    let announced = nlri::decode(announced, Family::V4).map_err(|_| bad_prefixes())?;
    let mut parsed = Parsed { context, ..Parsed::default() };
    parsed.read_all(attributes)?;
    // RFC 7606 §5.2: the prefixes may be in what could not be read, so nobody knows whose routes to withdraw.
    if parsed.withdraw && !parsed.tells_routes(&announced) {
        return Err(malformed());
    }
    if body == [0; 4] {
        update.end_of_rib = Some(Family::V4);
    } else if parsed.is_end_of_rib(&update, &announced) {
        update.end_of_rib = parsed.unreach_family;
    }
    Ok(parsed.finish(update, announced))
}

/// A set of type codes.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen([u128; 2]);

impl Seen {
    fn only(code: u8) -> Self {
        let mut only = Self::default();
        only.insert(code);
        only
    }

    fn has(&self, code: u8) -> bool {
        self.0[usize::from(code / 128)] & (1 << (code % 128)) != 0
    }

    /// False if it was there already.
    fn insert(&mut self, code: u8) -> bool {
        let is_new = !self.has(code);
        self.0[usize::from(code / 128)] |= 1 << (code % 128);
        is_new
    }
}

/// The attributes of one message while they are read.
#[derive(Debug, Default)]
struct Parsed {
    context: Context,
    collected: Collected,
    seen: Seen,
    reach: Option<Reach>,
    unreach: Vec<Prefix>,
    unreach_family: Option<Family>,
    withdraw: bool,
    faults: Vec<String>,
}

impl Parsed {
    fn read_all(&mut self, attributes: &[u8]) -> Result<(), Notification> {
        let mut reader = Reader::new(attributes);
        while !reader.is_empty() {
            let Ok(raw) = Raw::next(&mut reader) else {
                // RFC 7606 §4: where the prefixes were found, the session can live.
                self.fault(Fault::Withdraw("the attributes end in the middle of one".to_owned()));
                return Ok(());
            };
            let again = !self.seen.insert(raw.code);
            match raw.code {
                code::MP_REACH | code::MP_UNREACH if again => return Err(malformed()),
                code::MP_REACH => self.read_reach(raw.value)?,
                code::MP_UNREACH => self.read_unreach(raw.value)?,
                // RFC 7606 §3g: all but the first are dropped.
                _ if again => self.faults.push(format!("attribute {} is there twice", raw.code)),
                _ => {
                    if let Err(fault) = self.collected.read(raw, self.context) {
                        self.fault(fault);
                    }
                }
            }
        }
        Ok(())
    }

    fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Withdraw(text) => {
                self.withdraw = true;
                self.faults.push(text);
            }
            Fault::Discard(text) => self.faults.push(text),
        }
    }

    /// MP_REACH_NLRI (RFC 4760 §3). Families we do not speak are passed over.
    fn read_reach(&mut self, value: &[u8]) -> Result<(), Notification> {
        let mut reader = Reader::new(value);
        let Some(family) = read_family(&mut reader)? else { return Ok(()) };
        let length = reader.u8().map_err(|Short| bad_multiprotocol())?;
        let next_hop = reader.take(usize::from(length)).map_err(|Short| bad_multiprotocol())?;
        reader.u8().map_err(|Short| bad_multiprotocol())?;
        let prefixes = nlri::decode(reader.rest(), family).map_err(|_| bad_prefixes())?;
        // RFC 7606 §7.11: a next hop of an impossible length makes the rest of the attribute doubtful.
        let next_hop = read_next_hop(next_hop, family, self.context).ok_or_else(bad_multiprotocol)?;
        self.reach = Some(Reach { next_hop, prefixes });
        Ok(())
    }

    /// MP_UNREACH_NLRI (RFC 4760 §4).
    fn read_unreach(&mut self, value: &[u8]) -> Result<(), Notification> {
        let mut reader = Reader::new(value);
        let Some(family) = read_family(&mut reader)? else { return Ok(()) };
        self.unreach = nlri::decode(reader.rest(), family).map_err(|_| bad_prefixes())?;
        if reader.is_empty() {
            self.unreach_family = Some(family);
        }
        Ok(())
    }

    /// True if there are prefixes that are reachable, perhaps of a family we do not speak.
    fn tells_routes(&self, announced: &[Prefix]) -> bool {
        let of_another_family = self.reach.is_none() && self.seen.has(code::MP_REACH);
        let ours = self.reach.as_ref().is_some_and(|reach| !reach.prefixes.is_empty());
        !announced.is_empty() || ours || of_another_family
    }

    /// RFC 4724 §2: nothing but an MP_UNREACH_NLRI without prefixes.
    fn is_end_of_rib(&self, update: &Update, announced: &[Prefix]) -> bool {
        self.seen == Seen::only(code::MP_UNREACH) && update.withdrawn.is_empty() && announced.is_empty()
    }

    fn finish(mut self, mut update: Update, announced: Vec<Prefix>) -> Update {
        update.withdrawn.append(&mut self.unreach);
        let mut reach: Vec<Reach> = self.reach.take().into_iter().collect();
        if !announced.is_empty() {
            let next_hop = self.collected.next_hop;
            if next_hop.is_none() && !self.withdraw {
                self.fault(Fault::Withdraw("NEXT_HOP is missing".to_owned()));
            }
            let next_hop = next_hop.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED).into();
            reach.push(Reach { next_hop, prefixes: announced });
        }
        reach.retain(|one| !one.prefixes.is_empty());
        if !reach.is_empty() {
            for (there, name) in
                [(self.collected.has_origin, "ORIGIN"), (self.collected.has_as_path, "AS_PATH")]
            {
                if !there && !self.withdraw {
                    self.fault(Fault::Withdraw(format!("{name} is missing")));
                }
            }
        }
        if self.withdraw {
            update.withdrawn.extend(reach.drain(..).flat_map(|one| one.prefixes));
        } else {
            update.attributes = self.collected.finish();
        }
        update.reach = reach;
        update.faults = self.faults;
        update
    }
}

/// AFI and SAFI; `None` for a pair we do not speak.
fn read_family(reader: &mut Reader<'_>) -> Result<Option<Family>, Notification> {
    let read = |reader: &mut Reader<'_>| Ok((reader.u16()?, reader.u8()?));
    let pair = read(reader).map_err(|Short| bad_multiprotocol())?;
    Ok(match pair {
        (1, 1) => Some(Family::V4),
        (2, 1) => Some(Family::V6),
        _ => None,
    })
}

/// A next hop of 4 octets, or 16, or 32 with a link-local one behind it (RFC 2545 §3, RFC 8950 §4).
fn read_next_hop(bytes: &[u8], family: Family, context: Context) -> Option<IpAddr> {
    let mut reader = Reader::new(bytes);
    match (family, bytes.len()) {
        (Family::V4, 4) => reader.ipv4().ok().map(IpAddr::V4),
        (Family::V4, 16 | 32) if !context.extended_next_hop => None,
        (_, 16 | 32) => {
            let first = reader.ipv6().ok()?;
            let second = reader.ipv6().ok();
            // Some speakers put nothing into the global part on a link without global addresses.
            Some(IpAddr::V6(if first == Ipv6Addr::UNSPECIFIED { second.unwrap_or(first) } else { first }))
        }
        _ => None,
    }
}
