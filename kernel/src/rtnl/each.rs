//! Many addresses and routes at once, each for itself.

use std::fmt;
use std::net::IpAddr;

use super::address::key_message;
use super::codec::{bytes, kinds};
use super::{NewAddress, Route, Rtnl};
use crate::error::{KernelError, Result};
use crate::netlink::{Order, flags};

/// One of many changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// As [`Rtnl::add_address`].
    AddAddress(NewAddress),
    /// As [`Rtnl::delete_address`]: link, address and length of its prefix.
    DeleteAddress(u32, IpAddr, u8),
    /// As [`Rtnl::add_route`].
    AddRoute(Route),
    /// As [`Rtnl::replace_route`].
    ReplaceRoute(Route),
    /// As [`Rtnl::delete_route`].
    DeleteRoute(Route),
}

impl Change {
    fn order(&self) -> Order {
        let (kind, flags, payload) = match self {
            Change::AddAddress(address) => {
                (kinds::NEW_ADDRESS, flags::CREATE | flags::EXCLUSIVE, bytes(&address.message()))
            }
            Change::DeleteAddress(link, address, length) => {
                (kinds::DELETE_ADDRESS, 0, bytes(&key_message(*link, *address, *length)))
            }
            Change::AddRoute(route) => {
                (kinds::NEW_ROUTE, flags::CREATE | flags::EXCLUSIVE, bytes(&route.message()))
            }
            Change::ReplaceRoute(route) => {
                (kinds::NEW_ROUTE, flags::CREATE | flags::REPLACE, bytes(&route.message()))
            }
            Change::DeleteRoute(route) => (kinds::DELETE_ROUTE, 0, bytes(&route.message())),
        };
        Order { kind, flags, payload }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::AddAddress(address) => write!(f, "add address {address}"),
            Change::DeleteAddress(link, address, length) => {
                write!(f, "delete address {address}/{length} of link {link}")
            }
            Change::AddRoute(route) => write!(f, "add route {route}"),
            Change::ReplaceRoute(route) => write!(f, "replace route {route}"),
            Change::DeleteRoute(route) => write!(f, "delete route {route}"),
        }
    }
}

impl Rtnl {
    /// Makes changes in their order with few system calls; the outcome of each. One that is refused does not keep the
    /// later ones back.
    pub fn change_each(&mut self, changes: &[Change]) -> Vec<Result<()>> {
        let outcomes = self.socket.submit(changes.iter().map(Change::order));
        let told = |(change, outcome): (&Change, _)| match outcome {
            Ok(()) => Ok(()),
            Err((errno, detail)) => Err(KernelError { operation: change.to_string(), errno, detail }),
        };
        changes.iter().zip(outcomes).map(told).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestNs;

    fn address(number: u32) -> NewAddress {
        NewAddress {
            no_prefix_route: true,
            ..NewAddress::new(1, IpAddr::from((0x0a60_0000 + number).to_be_bytes()), 32)
        }
    }

    #[test]
    fn of_many_changes_each_has_its_own_outcome_and_the_others_are_made() {
        let namespace = TestNs::new("rtnl-each");
        let mut rtnl = Rtnl::open_in(namespace.namespace()).unwrap();
        // More than fit into one datagram, and one of each datagram is refused.
        let mut changes: Vec<Change> = (1..300).map(|number| Change::AddAddress(address(number))).collect();
        for at in [0, 127, 200] {
            changes.insert(at, Change::DeleteAddress(1, "192.0.2.77".parse().unwrap(), 32));
        }
        let outcomes = rtnl.change_each(&changes);
        let refused: Vec<usize> = (0..outcomes.len()).filter(|at| outcomes[*at].is_err()).collect();
        assert_eq!(refused, [0, 127, 200]);
        let error = outcomes[127].as_ref().unwrap_err();
        assert!(
            error.is_not_found() && error.to_string().contains("delete address 192.0.2.77/32"),
            "{error}"
        );
        let made =
            rtnl.addresses(Some(1), None).unwrap().into_iter().filter(|found| found.prefix_length == 32);
        assert_eq!(made.count(), 299);
    }
}
