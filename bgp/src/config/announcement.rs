//! What we originate.

use std::net::IpAddr;

use crate::policy::Prepend;

/// Communities of the three kinds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Communities {
    /// RFC 1997: the AS in the upper, its own number in the lower 16 bits.
    pub standard: Vec<u32>,
    /// RFC 8092: global administrator and two local parts.
    pub large: Vec<(u32, u32, u32)>,
    /// RFC 4360: eight octets as on the wire, type first.
    pub extended: Vec<[u8; 8]>,
}

/// Which peers are told an announcement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Audience {
    /// All.
    #[default]
    Everybody,
    /// Those of our own AS.
    Internal,
    /// Those of other ASes.
    External,
}

impl Audience {
    /// True if it holds peers that are (not) of our own AS.
    pub fn holds(self, internal: bool) -> bool {
        match self {
            Audience::Everybody => true,
            Audience::Internal => internal,
            Audience::External => !internal,
        }
    }
}

/// How we announce a prefix that we originate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// The next hop that peers are to use. One of IPv6 for an IPv4 prefix reaches only peers that agreed on RFC 8950.
    pub next_hop: IpAddr,
    /// Who is told.
    pub audience: Audience,
    /// LOCAL_PREF inside the AS; 100 if not set.
    pub local_pref: Option<u32>,
    /// MULTI_EXIT_DISC.
    pub med: Option<u32>,
    /// Communities, besides those of each peer's [`ExportRules`](crate::ExportRules).
    pub communities: Communities,
    /// ASes in front of the path, for peers of other ASes, besides those of each peer's export rules.
    pub prepend: Option<Prepend>,
}

impl Announcement {
    /// A prefix reached by `next_hop`, for everybody.
    pub fn via(next_hop: IpAddr) -> Self {
        Self {
            next_hop,
            audience: Audience::Everybody,
            local_pref: None,
            med: None,
            communities: Communities::default(),
            prepend: None,
        }
    }
}
