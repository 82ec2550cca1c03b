//! Chains: base chains, where packets enter, and regular ones, where rules send them.

use super::name::{ChainName, TableName};
use super::{userdata, wire};
use crate::netlink::{AttributeReader, Attributes};

/// Where in a packet's way a base chain looks (`NF_INET_*`, `NF_NETDEV_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// On arrival, before the routing decision.
    Prerouting,
    /// To this machine itself.
    Input,
    /// Through this machine.
    Forward,
    /// From this machine.
    Output,
    /// On leaving, after the routing decision.
    Postrouting,
    /// On arrival at a device, before anything else; netdev tables.
    Ingress,
}

impl Hook {
    const ALL: [Hook; 5] = [Hook::Prerouting, Hook::Input, Hook::Forward, Hook::Output, Hook::Postrouting];

    fn number(self) -> u32 {
        match self {
            Hook::Prerouting | Hook::Ingress => 0,
            Hook::Input => 1,
            Hook::Forward => 2,
            Hook::Output => 3,
            Hook::Postrouting => 4,
        }
    }
}

/// What a base chain may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChainType {
    /// Judge packets.
    Filter,
    /// Translate addresses; sees the first packet of a connection only.
    Nat,
    /// Judge, and route anew if a mark or address changed; output only.
    Route,
}

impl ChainType {
    const ALL: [ChainType; 3] = [ChainType::Filter, ChainType::Nat, ChainType::Route];

    fn name(self) -> &'static str {
        match self {
            ChainType::Filter => "filter",
            ChainType::Nat => "nat",
            ChainType::Route => "route",
        }
    }
}

/// Usual priorities (`enum nf_ip_hook_priorities`); a lower number is asked first.
pub mod priority {
    /// Before connection tracking.
    pub const RAW: i32 = -300;
    /// Connection tracking itself.
    pub const CONNTRACK: i32 = -200;
    /// Marks.
    pub const MANGLE: i32 = -150;
    /// Destination NAT.
    pub const DSTNAT: i32 = -100;
    /// Filtering.
    pub const FILTER: i32 = 0;
    /// Source NAT.
    pub const SRCNAT: i32 = 100;
}

/// What happens to a packet that no rule of a base chain decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// It passes.
    Accept,
    /// It is thrown away.
    Drop,
}

/// What makes a chain a base chain.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BaseChain {
    /// What it may do.
    pub kind: ChainType,
    /// Where it looks.
    pub hook: Hook,
    /// In which order among the base chains of the hook.
    pub priority: i32,
    /// What happens at its end.
    pub policy: Policy,
    /// The device, for [`Hook::Ingress`].
    pub device: Option<String>,
}

/// A chain without its rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// Table and name.
    pub name: ChainName,
    /// What makes it a base chain; `None` for a regular chain.
    pub base: Option<BaseChain>,
    /// A comment that `nft list` shows; at most 127 bytes.
    pub comment: Option<String>,
}

impl Chain {
    /// A regular chain.
    pub fn new(name: ChainName) -> Self {
        Self { name, base: None, comment: None }
    }

    /// A base chain whose policy is to accept.
    pub fn base(name: ChainName, kind: ChainType, hook: Hook, priority: i32) -> Self {
        let base = BaseChain { kind, hook, priority, policy: Policy::Accept, device: None };
        Self { name, base: Some(base), comment: None }
    }

    /// The same with another policy; nothing changes for a regular chain.
    #[must_use]
    pub fn policy(mut self, policy: Policy) -> Self {
        if let Some(base) = &mut self.base {
            base.policy = policy;
        }
        self
    }

    /// The same for one device; nothing changes for a regular chain.
    #[must_use]
    pub fn device(mut self, device: impl Into<String>) -> Self {
        if let Some(base) = &mut self.base {
            base.device = Some(device.into());
        }
        self
    }

    /// The same with a comment.
    #[must_use]
    pub fn comment(mut self, comment: &str) -> Self {
        self.comment = Some(userdata::fit(comment).to_owned());
        self
    }

    pub(super) fn write(&self, out: &mut Attributes) {
        out.string(wire::chain::TABLE, &self.name.table.name).string(wire::chain::NAME, &self.name.name);
        if let Some(base) = &self.base {
            base.write(out);
        }
        if let Some(comment) = &self.comment {
            out.bytes(wire::chain::USERDATA, &userdata::comment(comment));
        }
    }

    /// Reads a chain, its handle, and how many rules and verdicts refer to it.
    pub(super) fn read(table: &TableName, attributes: &AttributeReader<'_>) -> Option<(Self, u64, u32)> {
        let name = table.chain(attributes.find(wire::chain::NAME)?.string());
        let handle = attributes.find(wire::chain::HANDLE)?.u64_be().ok()?;
        let users = attributes.find(wire::chain::USE).and_then(|users| users.u32_be().ok()).unwrap_or(0);
        let base = attributes.find(wire::chain::HOOK).and_then(|hook| {
            let netdev = name.table.family == super::TableFamily::Netdev;
            BaseChain::read(attributes, &hook.nested(), netdev)
        });
        let comment = attributes
            .find(wire::chain::USERDATA)
            .and_then(|userdata| userdata::text(userdata.payload, userdata::COMMENT));
        Some((Self { name, base, comment }, handle, users))
    }
}

impl BaseChain {
    fn write(&self, out: &mut Attributes) {
        out.nested(wire::chain::HOOK, |out| {
            out.u32_be(wire::hook::NUMBER, self.hook.number());
            out.u32_be(wire::hook::PRIORITY, self.priority.cast_unsigned());
            if let Some(device) = &self.device {
                out.string(wire::hook::DEVICE, device);
            }
        });
        out.u32_be(wire::chain::POLICY, u32::from(self.policy == Policy::Accept));
        out.string(wire::chain::TYPE, self.kind.name());
    }

    fn read(chain: &AttributeReader<'_>, hook: &AttributeReader<'_>, netdev: bool) -> Option<Self> {
        let number = hook.find(wire::hook::NUMBER)?.u32_be().ok()?;
        let kind = chain.find(wire::chain::TYPE)?.string();
        let device = hook.find(wire::hook::DEVICE).or_else(|| {
            hook.find(wire::hook::DEVICES).and_then(|list| list.nested().find(wire::hook::DEVICE_NAME))
        });
        Some(Self {
            kind: ChainType::ALL.into_iter().find(|known| known.name() == kind)?,
            hook: if netdev {
                Hook::Ingress
            } else {
                Hook::ALL.into_iter().find(|known| known.number() == number)?
            },
            priority: hook.find(wire::hook::PRIORITY)?.u32_be().ok()?.cast_signed(),
            policy: match chain.find(wire::chain::POLICY)?.u32_be().ok()? {
                0 => Policy::Drop,
                _ => Policy::Accept,
            },
            device: device.map(|device| device.string()),
        })
    }
}
