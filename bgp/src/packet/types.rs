//! Path attributes as the rest of the speaker sees them.

use std::fmt;
use std::net::Ipv4Addr;

/// How a route came into BGP (RFC 4271 §5.1.1). The order is that of preference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Origin {
    /// From the AS itself.
    #[default]
    Igp,
    /// From EGP.
    Egp,
    /// Otherwise.
    Incomplete,
}

/// A part of an AS_PATH (RFC 4271 §5.1.2).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// ASes in the order in which the route passed them, the last first.
    Sequence(Vec<u32>),
    /// ASes without order, from aggregation.
    Set(Vec<u32>),
}

impl Segment {
    /// Its AS numbers.
    pub fn asns(&self) -> &[u32] {
        match self {
            Segment::Sequence(asns) | Segment::Set(asns) => asns,
        }
    }
}

/// The ASes a route has passed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AsPath(pub Vec<Segment>);

impl AsPath {
    /// The length that counts in the choice of paths: a set is one (RFC 4271 §9.1.2.2).
    pub fn length(&self) -> usize {
        self.0
            .iter()
            .map(|segment| match segment {
                Segment::Sequence(asns) => asns.len(),
                Segment::Set(_) => 1,
            })
            .sum()
    }

    /// True if the route has passed `asn`.
    pub fn contains(&self, asn: u32) -> bool {
        self.0.iter().any(|segment| segment.asns().contains(&asn))
    }

    /// The AS the route came from; `None` if it is of our own AS or starts with a set.
    pub fn neighbour(&self) -> Option<u32> {
        match self.0.first() {
            Some(Segment::Sequence(asns)) => asns.first().copied(),
            _ => None,
        }
    }

    /// Puts `asn` in front.
    pub fn prepend(&mut self, asn: u32) {
        match self.0.first_mut() {
            // A segment's count is one octet.
            Some(Segment::Sequence(asns)) if asns.len() < 255 => asns.insert(0, asn),
            _ => self.0.insert(0, Segment::Sequence(vec![asn])),
        }
    }
}

impl fmt::Display for AsPath {
    /// As routers write it: `64512 65001 {65002 65003}`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |asns: &[u32]| asns.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
        for (place, segment) in self.0.iter().enumerate() {
            let space = if place == 0 { "" } else { " " };
            match segment {
                Segment::Sequence(asns) => write!(f, "{space}{}", words(asns))?,
                Segment::Set(asns) => write!(f, "{space}{{{}}}", words(asns))?,
            }
        }
        Ok(())
    }
}

/// An attribute that we do not read but must pass on (optional transitive).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RawAttribute {
    /// Its type code.
    pub code: u8,
    /// A speaker on the way did not know it.
    pub partial: bool,
    /// Its value.
    pub value: Vec<u8>,
}

/// The path attributes of a route, without the next hop, which depends on the family of its prefix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Attributes {
    /// ORIGIN.
    pub origin: Origin,
    /// AS_PATH, with AS4_PATH merged in.
    pub as_path: AsPath,
    /// MULTI_EXIT_DISC; lower is better.
    pub med: Option<u32>,
    /// LOCAL_PREF; higher is better. Only inside an AS.
    pub local_pref: Option<u32>,
    /// COMMUNITIES (RFC 1997).
    pub communities: Vec<u32>,
    /// LARGE_COMMUNITY (RFC 8092): global administrator and two local parts.
    pub large_communities: Vec<(u32, u32, u32)>,
    /// EXTENDED COMMUNITIES (RFC 4360), eight octets each as on the wire.
    pub extended_communities: Vec<[u8; 8]>,
    /// ORIGINATOR_ID (RFC 4456).
    pub originator_id: Option<Ipv4Addr>,
    /// CLUSTER_LIST (RFC 4456).
    pub cluster_list: Vec<Ipv4Addr>,
    /// ATOMIC_AGGREGATE.
    pub atomic_aggregate: bool,
    /// What is passed on unread, by type code.
    pub others: Vec<RawAttribute>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_counts_as_one_as_and_a_full_segment_is_not_overfilled() {
        let path = AsPath(vec![Segment::Sequence(vec![1, 2]), Segment::Set(vec![3, 4, 5])]);
        assert_eq!((path.length(), path.to_string()), (3, "1 2 {3 4 5}".to_owned()));
        let mut longer = AsPath(vec![Segment::Sequence(vec![7; 255])]);
        longer.prepend(9);
        assert_eq!(longer.0.len(), 2);
        assert_eq!((longer.length(), longer.neighbour()), (256, Some(9)));
    }
}
