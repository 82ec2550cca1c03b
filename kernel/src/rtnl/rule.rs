//! Policy rules: which routing table is asked, in which order.

use std::fmt;

use netlink_packet_core::Parseable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::route::RouteProtocol;
use netlink_packet_route::rule::{RuleAction as WireAction, RuleAttribute, RuleFlags, RuleMessage};
use prefix::{Family, Prefix};

use super::Rtnl;
use super::codec::{address_family, bytes, decode_all, ip_family, kinds};
use crate::error::Result;
use crate::netlink::flags;

/// What a rule does with the packets it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuleAction {
    /// Look in that table; if it has no route, go on.
    Table(u32),
    /// Drop without a word.
    Blackhole,
    /// Drop and answer "unreachable".
    Unreachable,
    /// Drop and answer "prohibited".
    Prohibit,
    /// Another action (`FR_ACT_*`), by number.
    Other(u8),
}

/// A policy rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Which packets it is for.
    pub family: Family,
    /// Its place: smaller is asked first.
    pub priority: u32,
    /// Source of the packet; `None` is any.
    pub from: Option<Prefix>,
    /// Destination of the packet; `None` is any.
    pub to: Option<Prefix>,
    /// Mark of the packet: value and mask.
    pub mark: Option<(u32, u32)>,
    /// The link it came in by.
    pub input: Option<String>,
    /// The link the socket is bound to.
    pub output: Option<String>,
    /// It holds for packets that do *not* match.
    pub inverted: bool,
    /// What happens.
    pub action: RuleAction,
    /// Who made it, a number as of routes; 0 is nobody known.
    pub protocol: u8,
}

impl Rule {
    /// A rule for all packets of a family to look in `table`.
    pub fn lookup(family: Family, priority: u32, table: u32) -> Self {
        Self {
            family,
            priority,
            from: None,
            to: None,
            mark: None,
            input: None,
            output: None,
            inverted: false,
            action: RuleAction::Table(table),
            protocol: 0,
        }
    }

    /// The rule in a message; `None` if it is not IP.
    pub(crate) fn from_message(message: RuleMessage) -> Option<Self> {
        let header = message.header;
        let mut rule = Self::lookup(ip_family(header.family)?, 0, u32::from(header.table));
        rule.inverted = header.flags.contains(RuleFlags::Invert);
        let (mut table, mut mark, mut mask) = (u32::from(header.table), None, None);
        for attribute in message.attributes {
            match attribute {
                RuleAttribute::Priority(value) => rule.priority = value,
                RuleAttribute::Source(address) => rule.from = Prefix::new(address, header.src_len).ok(),
                RuleAttribute::Destination(address) => rule.to = Prefix::new(address, header.dst_len).ok(),
                RuleAttribute::FwMark(value) => mark = Some(value),
                RuleAttribute::FwMask(value) => mask = Some(value),
                RuleAttribute::Iifname(name) => rule.input = Some(name),
                RuleAttribute::Oifname(name) => rule.output = Some(name),
                RuleAttribute::Table(value) => table = value,
                RuleAttribute::Protocol(value) => rule.protocol = value.into(),
                _ => {}
            }
        }
        // Mark 0 with a mask is "not marked", so either attribute alone speaks of marks.
        if mark.is_some() || mask.is_some() {
            rule.mark = Some((mark.unwrap_or(0), mask.unwrap_or(u32::MAX)));
        }
        rule.action = match header.action {
            WireAction::ToTable => RuleAction::Table(table),
            WireAction::Blackhole => RuleAction::Blackhole,
            WireAction::Unreachable => RuleAction::Unreachable,
            WireAction::Prohibit => RuleAction::Prohibit,
            other => RuleAction::Other(other.into()),
        };
        Some(rule)
    }

    fn message(&self) -> RuleMessage {
        let mut message = RuleMessage::default();
        message.header.family = address_family(self.family);
        message.header.flags.set(RuleFlags::Invert, self.inverted);
        message.attributes.push(RuleAttribute::Priority(self.priority));
        message.header.action = match self.action {
            RuleAction::Table(table) => {
                // Tables above 255 are only in the attribute; it wins over the header.
                message.header.table = u8::try_from(table).unwrap_or(0);
                message.attributes.push(RuleAttribute::Table(table));
                WireAction::ToTable
            }
            RuleAction::Blackhole => WireAction::Blackhole,
            RuleAction::Unreachable => WireAction::Unreachable,
            RuleAction::Prohibit => WireAction::Prohibit,
            RuleAction::Other(number) => number.into(),
        };
        if let Some(from) = self.from {
            message.header.src_len = from.length();
            message.attributes.push(RuleAttribute::Source(from.address()));
        }
        if let Some(to) = self.to {
            message.header.dst_len = to.length();
            message.attributes.push(RuleAttribute::Destination(to.address()));
        }
        if let Some((value, mask)) = self.mark {
            message.attributes.extend([RuleAttribute::FwMark(value), RuleAttribute::FwMask(mask)]);
        }
        message.attributes.extend(self.input.clone().map(RuleAttribute::Iifname));
        message.attributes.extend(self.output.clone().map(RuleAttribute::Oifname));
        if self.protocol != 0 {
            message.attributes.push(RuleAttribute::Protocol(RouteProtocol::from(self.protocol)));
        }
        message
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rule {}", self.family, self.priority)?;
        f.write_str(if self.inverted { " not" } else { "" })?;
        if let Some(from) = self.from {
            write!(f, " from {from}")?;
        }
        if let Some(to) = self.to {
            write!(f, " to {to}")?;
        }
        if let Some((value, mask)) = self.mark {
            write!(f, " fwmark {value:#x}/{mask:#x}")?;
        }
        if let Some(name) = &self.input {
            write!(f, " iif {name}")?;
        }
        if let Some(name) = &self.output {
            write!(f, " oif {name}")?;
        }
        match self.action {
            RuleAction::Table(table) => write!(f, " lookup {table}"),
            other => write!(f, " {other:?}"),
        }
    }
}

impl Rtnl {
    /// The rules of a family, in the kernel's order; none if the kernel has no rules of it (`ipv6.disable=1`).
    pub fn rules(&mut self, family: Family) -> Result<Vec<Rule>> {
        self.rules_of(address_family(family), &format!("list {family} rules"))
    }

    fn rules_of(&mut self, family: AddressFamily, operation: &str) -> Result<Vec<Rule>> {
        let mut message = RuleMessage::default();
        message.header.family = family;
        let answers = match self.socket.dump(operation, kinds::GET_RULE, &bytes(&message)) {
            Err(error) if error.is_unsupported() => return Ok(Vec::new()),
            answers => answers?,
        };
        Ok(decode_all(&answers, kinds::NEW_RULE, RuleMessage::parse, Rule::from_message))
    }

    /// Adds a rule; the very same rule is an error with `is_exists()`.
    pub fn add_rule(&mut self, rule: &Rule) -> Result<()> {
        let bytes = bytes(&rule.message());
        let how = flags::CREATE | flags::EXCLUSIVE;
        self.socket.request(&format!("add {rule}"), kinds::NEW_RULE, how, &bytes).map(drop)
    }

    /// Deletes a rule.
    pub fn delete_rule(&mut self, rule: &Rule) -> Result<()> {
        let bytes = bytes(&rule.message());
        self.socket.request(&format!("delete {rule}"), kinds::DELETE_RULE, 0, &bytes).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_that_the_kernel_has_no_rules_of_has_none() {
        let mut rtnl = Rtnl::open().unwrap();
        let found = rtnl.rules_of(AddressFamily::Appletalk, "list AppleTalk rules");
        assert_eq!(found, Ok(Vec::new()));
    }
}
