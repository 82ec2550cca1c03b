//! Families and the names of tables, chains and sets.

use std::fmt;

/// The family of a table: which packets its chains see (`NFPROTO_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableFamily {
    /// IPv4 and IPv6 together.
    Inet,
    /// IPv4 only.
    Ip4,
    /// IPv6 only.
    Ip6,
    /// Frames that a bridge forwards.
    Bridge,
    /// Frames of one device.
    Netdev,
    /// ARP.
    Arp,
}

impl TableFamily {
    /// The kernel's number.
    pub(super) fn number(self) -> u8 {
        match self {
            TableFamily::Inet => 1,
            TableFamily::Ip4 => 2,
            TableFamily::Arp => 3,
            TableFamily::Netdev => 5,
            TableFamily::Bridge => 7,
            TableFamily::Ip6 => 10,
        }
    }

    pub(super) fn from_number(number: u8) -> Option<Self> {
        [Self::Inet, Self::Ip4, Self::Arp, Self::Netdev, Self::Bridge, Self::Ip6]
            .into_iter()
            .find(|family| family.number() == number)
    }
}

impl fmt::Display for TableFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TableFamily::Inet => "inet",
            TableFamily::Ip4 => "ip",
            TableFamily::Ip6 => "ip6",
            TableFamily::Bridge => "bridge",
            TableFamily::Netdev => "netdev",
            TableFamily::Arp => "arp",
        })
    }
}

/// Family and name of a table.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableName {
    /// The family.
    pub family: TableFamily,
    /// The name, at most 255 bytes.
    pub name: String,
}

impl TableName {
    /// The table `name` of `family`.
    pub fn new(family: TableFamily, name: impl Into<String>) -> Self {
        Self { family, name: name.into() }
    }

    /// The chain `name` of this table.
    pub fn chain(&self, name: impl Into<String>) -> ChainName {
        ChainName { table: self.clone(), name: name.into() }
    }

    /// The set or map `name` of this table.
    pub fn set(&self, name: impl Into<String>) -> SetName {
        SetName { table: self.clone(), name: name.into() }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.family, self.name)
    }
}

/// A chain and the table it is in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainName {
    /// The table.
    pub table: TableName,
    /// The name, at most 255 bytes.
    pub name: String,
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.table, self.name)
    }
}

/// A set or map and the table it is in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetName {
    /// The table.
    pub table: TableName,
    /// The name, at most 255 bytes.
    pub name: String,
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.table, self.name)
    }
}
