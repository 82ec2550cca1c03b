//! Address ranges: what a configuration allows to be handed out, and in which order.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use prefix::{Family, Prefix};

use crate::address::Cidr;
use crate::error::CniError;
use crate::json::Fields;

/// An address as a number, so that the next one is one more.
fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u32::from(v4).into(),
        IpAddr::V6(v6) => v6.into(),
    }
}

/// The address of `family` that is `number`. IPv4 numbers come from IPv4 addresses only, so the low 32 bits are all.
fn address(family: Family, number: u128) -> IpAddr {
    match family {
        #[expect(clippy::cast_possible_truncation, reason = "the number came from 32 bits")]
        Family::V4 => Ipv4Addr::from(number as u32).into(),
        Family::V6 => Ipv6Addr::from(number).into(),
    }
}

/// Part of one subnet, both ends inclusive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Range {
    /// The subnet; the pod's address gets its length.
    pub subnet: Prefix,
    /// The first address that may be handed out.
    pub start: IpAddr,
    /// The last address that may be handed out.
    pub end: IpAddr,
    /// The gateway, which is never handed out.
    pub gateway: IpAddr,
}

impl Range {
    /// Reads `{subnet, rangeStart, rangeEnd, gateway}`. Missing ones are, as in the reference plugin: the gateway and
    /// the start the first address after the network's, the end the last before the broadcast address (IPv4) or the
    /// very last (IPv6).
    pub fn parse(fields: &Fields<'_>) -> Result<Self, CniError> {
        let given: Cidr = fields
            .parsed("subnet")?
            .ok_or_else(|| CniError::config(format!("{} is missing", fields.path_of("subnet"))))?;
        let subnet = checked_subnet(given)?;
        let (network, last) = subnet.range();
        let family = subnet.family();
        let first = address(family, number(network) + 1);
        let end = if family == Family::V4 { address(family, number(last) - 1) } else { last };
        let range = Self {
            subnet,
            start: fields.parsed("rangeStart")?.unwrap_or(first),
            end: fields.parsed("rangeEnd")?.unwrap_or(end),
            gateway: fields.parsed("gateway")?.unwrap_or(first),
        };
        range.validate()?;
        Ok(range)
    }

    fn validate(&self) -> Result<(), CniError> {
        let outside = |what: &str, address: IpAddr| {
            Err(CniError::config(format!("{what} {address} not in network {}", self.subnet)))
        };
        if !self.subnet.contains(self.start) {
            return outside("RangeStart", self.start);
        }
        if !self.subnet.contains(self.end) {
            return outside("RangeEnd", self.end);
        }
        if self.end < self.start {
            return Err(CniError::config(format!(
                "RangeEnd {} is before RangeStart {}",
                self.end, self.start
            )));
        }
        if Family::of(self.gateway) != self.subnet.family() {
            return Err(CniError::config(format!(
                "gateway {} is not of {}'s family",
                self.gateway, self.subnet
            )));
        }
        Ok(())
    }

    /// True if `address` may be handed out from here, the gateway aside.
    pub fn contains(&self, address: IpAddr) -> bool {
        Family::of(address) == self.subnet.family() && (self.start..=self.end).contains(&address)
    }

    /// How many addresses may be handed out.
    fn size(&self) -> u128 {
        let span = number(self.end) - number(self.start);
        // All addresses of IPv6 are one more than the number holds; one more or less of them is the same to anybody.
        span.saturating_add(1) - u128::from(self.contains(self.gateway))
    }

    /// `address` with the length of this subnet.
    pub fn with_length(&self, address: IpAddr) -> Option<Cidr> {
        Cidr::new(address, self.subnet.length())
    }

    fn overlaps(&self, other: &Range) -> bool {
        self.subnet.family() == other.subnet.family() && self.start <= other.end && other.start <= self.end
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.start, self.end)
    }
}

fn checked_subnet(given: Cidr) -> Result<Prefix, CniError> {
    let subnet = given.prefix();
    if subnet.address() != given.address {
        return Err(CniError::config(format!(
            "Network has host bits set. For a subnet mask of length {} the network address is {}",
            given.length(),
            subnet.address()
        )));
    }
    if given.address.to_canonical() != given.address {
        let msg = format!("Network {given} is of IPv4 in the notation of IPv6; write it as IPv4");
        return Err(CniError::config(msg));
    }
    // Network, gateway, one pod and (IPv4) broadcast are the least that make sense.
    if given.length() > given.family().bits() - 2 {
        return Err(CniError::config(format!("Network {given} too small to allocate from")));
    }
    Ok(subnet)
}

/// A pool: ranges of one family, of which a pod gets one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeSet(Vec<Range>);

impl RangeSet {
    /// A pool of `ranges`, at least one, of one family, no address twice.
    pub fn new(ranges: Vec<Range>) -> Result<Self, CniError> {
        let Some(first) = ranges.first() else { return Err(CniError::config("empty range set")) };
        if ranges.iter().any(|range| range.subnet.family() != first.subnet.family()) {
            return Err(CniError::config("mixed address families in one range set"));
        }
        for (index, range) in ranges.iter().enumerate() {
            if let Some(other) = ranges[index + 1..].iter().find(|other| range.overlaps(other)) {
                return Err(CniError::config(format!("subnets {range} and {other} overlap")));
            }
        }
        Ok(Self(ranges))
    }

    /// The family of its addresses.
    pub fn family(&self) -> Family {
        self.0.first().map_or(Family::V4, |range| range.subnet.family())
    }

    /// The range that `address` lies in.
    pub fn range_of(&self, address: IpAddr) -> Option<&Range> {
        self.0.iter().find(|range| range.contains(address))
    }

    /// True if `address` may be handed out from here.
    pub fn hands_out(&self, address: IpAddr) -> bool {
        self.range_of(address).is_some_and(|range| range.gateway != address)
    }

    /// How many addresses may be handed out.
    pub fn size(&self) -> u128 {
        self.0.iter().map(Range::size).fold(0, u128::saturating_add)
    }

    /// True if some address is in both.
    pub fn overlaps(&self, other: &RangeSet) -> bool {
        self.0.iter().any(|range| other.0.iter().any(|peer| range.overlaps(peer)))
    }

    /// Every address that may be handed out, each once: round robin from the one after `last`, so that `last` itself
    /// comes last; from the first range's start if `last` is unknown or of another pool.
    pub fn candidates(&self, last: Option<IpAddr>) -> impl Iterator<Item = (IpAddr, &Range)> + '_ {
        let position =
            last.and_then(|last| Some((self.0.iter().position(|range| range.contains(last))?, last)));
        let (first, after) = match position {
            Some((index, last)) => (index, Some(number(last))),
            None => (0, None),
        };
        let count = self.0.len();
        let mut segments = Vec::with_capacity(count + 1);
        for step in 0..count {
            let range = &self.0[(first + step) % count];
            let end = number(range.end);
            match after {
                // The last one handed out ends its range: nothing of it comes before the other ranges.
                Some(after) if step == 0 && after >= end => {}
                Some(after) if step == 0 => segments.push((range, after + 1, end)),
                _ => segments.push((range, number(range.start), end)),
            }
        }
        if let Some(after) = after {
            segments.push((&self.0[first], number(self.0[first].start), after));
        }
        segments.into_iter().flat_map(|(range, from, to)| {
            let gateway = number(range.gateway);
            let numbers = (from..=to).filter(move |number| *number != gateway);
            numbers.map(move |number| (address(range.subnet.family(), number), range))
        })
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            write!(f, "{}{range}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn range(value: &serde_json::Value) -> Result<Range, CniError> {
        Range::parse(&Fields::of(value, "ipam").unwrap())
    }

    fn set(subnets: &[&str]) -> RangeSet {
        RangeSet::new(subnets.iter().map(|subnet| range(&json!({ "subnet": subnet })).unwrap()).collect())
            .unwrap()
    }

    fn order(set: &RangeSet, last: Option<&str>) -> Vec<String> {
        set.candidates(last.map(|last| last.parse().unwrap())).map(|(ip, _)| ip.to_string()).collect()
    }

    #[test]
    fn defaults_leave_out_network_gateway_and_broadcast_and_use_the_last_of_ipv6() {
        let v4 = range(&json!({"subnet": "10.1.0.0/24"})).unwrap();
        assert_eq!(
            (v4.to_string(), v4.gateway.to_string()),
            ("10.1.0.1-10.1.0.254".into(), "10.1.0.1".into())
        );
        let v6 = range(&json!({"Subnet": "fd00::/126"})).unwrap();
        assert_eq!((v6.to_string(), v6.gateway.to_string()), ("fd00::1-fd00::3".into(), "fd00::1".into()));
    }

    #[test]
    fn wrong_subnets_and_ranges_are_refused_with_the_texts_people_know() {
        for (value, text) in [
            (json!({"subnet": "10.1.0.0/31"}), "Network 10.1.0.0/31 too small to allocate from"),
            (json!({"subnet": "10.1.0.1/32"}), "Network 10.1.0.1/32 too small to allocate from"),
            (json!({"subnet": "fd00::/127"}), "Network fd00::/127 too small to allocate from"),
            (
                json!({"subnet": "10.1.0.1/24"}),
                "Network has host bits set. For a subnet mask of length 24 the",
            ),
            (json!({"subnet": "fd00::1/64"}), "Network has host bits set."),
            (json!({"subnet": "::ffff:10.1.2.0/120"}), "write it as IPv4"),
            (
                json!({"subnet": "10.1.0.0/24", "rangeStart": "10.2.0.1"}),
                "RangeStart 10.2.0.1 not in network",
            ),
            (json!({"subnet": "10.1.0.0/24", "rangeEnd": "10.2.0.1"}), "RangeEnd 10.2.0.1 not in network"),
            (json!({"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.8"}), "is before"),
            (json!({"subnet": "10.1.0.0/24", "gateway": "fd00::1"}), "family"),
            (json!({"rangeStart": "10.1.0.9"}), "ipam.subnet is missing"),
            (json!({"subnet": "10.1.0.0"}), "ipam.subnet"),
        ] {
            let error = range(&value).unwrap_err();
            assert!(error.msg.contains(text), "{value}: {error}");
        }
    }

    #[test]
    fn a_set_has_one_family_and_no_address_twice() {
        let a = range(&json!({"subnet": "10.1.0.0/24"})).unwrap();
        let b = range(&json!({"subnet": "10.1.0.128/25"})).unwrap();
        let c = range(&json!({"subnet": "fd00::/64"})).unwrap();
        assert!(RangeSet::new(vec![a.clone(), b]).unwrap_err().msg.contains("overlap"));
        assert!(RangeSet::new(vec![a, c]).unwrap_err().msg.contains("mixed"));
        assert!(RangeSet::new(vec![]).is_err());
    }

    #[test]
    fn the_order_is_round_robin_from_the_last_through_all_ranges() {
        let one = set(&["10.1.2.0/29"]);
        assert_eq!(order(&one, None), ["10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.2.6"]);
        assert_eq!(
            order(&one, Some("10.1.2.5")),
            ["10.1.2.6", "10.1.2.2", "10.1.2.3", "10.1.2.4", "10.1.2.5"]
        );
        assert_eq!(order(&one, Some("10.9.9.9")), order(&one, None));
        let three = set(&["10.0.0.0/30", "10.0.1.0/30", "10.0.2.0/30"]);
        assert_eq!(order(&three, Some("10.0.0.2")), ["10.0.1.2", "10.0.2.2", "10.0.0.2"]);
        assert_eq!(order(&three, Some("10.0.2.2")), ["10.0.0.2", "10.0.1.2", "10.0.2.2"]);
        assert_eq!(order(&set(&["fd00::/126"]), None), ["fd00::2", "fd00::3"]);
    }

    #[test]
    fn the_ends_of_the_address_space_do_not_overflow() {
        let top = set(&["ffff:ffff:ffff:ffff:ffff:ffff:ffff:fff0/124"]);
        let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        assert_eq!(order(&top, Some(last)).len(), 14);
        assert_eq!(set(&["255.255.255.0/24"]).candidates(None).count(), 253);
        assert_eq!(set(&["0.0.0.0/1"]).candidates(None).take(5).count(), 5);
    }

    proptest! {
        /// Against the definition: every usable address once, cyclic, the last one at the end.
        #[test]
        fn the_order_is_a_rotation_of_all_usable_addresses(
            lengths in prop::collection::vec(26u8..=30, 1..4), start in 0usize..400
        ) {
            let subnets: Vec<String> =
                lengths.iter().enumerate().map(|(index, length)| format!("10.0.{index}.0/{length}")).collect();
            let texts: Vec<&str> = subnets.iter().map(String::as_str).collect();
            let set = set(&texts);
            let all = order(&set, None);
            let pivot = start % all.len();
            let mut expected = all[pivot + 1..].to_vec();
            expected.extend_from_slice(&all[..=pivot]);
            prop_assert_eq!(order(&set, Some(&all[pivot])), expected);
        }
    }
}
