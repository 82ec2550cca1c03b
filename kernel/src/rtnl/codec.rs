//! What all objects share: message numbers, serialising, and reading an answer's messages.

use std::net::IpAddr;

use netlink_packet_core::{DecodeError, Emitable};
use netlink_packet_route::AddressFamily;
use nix::errno::Errno;
use prefix::{Family, Prefix};

use crate::error::{KernelError, Result};
use crate::netlink::Message;

/// Message numbers (`include/uapi/linux/rtnetlink.h`).
pub(crate) mod kinds {
    pub(crate) const NEW_LINK: u16 = 16;
    pub(crate) const DELETE_LINK: u16 = 17;
    pub(crate) const GET_LINK: u16 = 18;
    pub(crate) const SET_LINK: u16 = 19;
    pub(crate) const NEW_ADDRESS: u16 = 20;
    pub(crate) const DELETE_ADDRESS: u16 = 21;
    pub(crate) const GET_ADDRESS: u16 = 22;
    pub(crate) const NEW_ROUTE: u16 = 24;
    pub(crate) const DELETE_ROUTE: u16 = 25;
    pub(crate) const GET_ROUTE: u16 = 26;
    pub(crate) const NEW_NEIGHBOUR: u16 = 28;
    pub(crate) const DELETE_NEIGHBOUR: u16 = 29;
    pub(crate) const GET_NEIGHBOUR: u16 = 30;
    pub(crate) const NEW_RULE: u16 = 32;
    pub(crate) const DELETE_RULE: u16 = 33;
    pub(crate) const GET_RULE: u16 = 34;
    pub(crate) const NEW_NETCONF: u16 = 80;
    pub(crate) const GET_NETCONF: u16 = 82;
}

/// The bytes of a message after its netlink header.
pub(super) fn bytes(message: &impl Emitable) -> Vec<u8> {
    let mut out = vec![0; message.buffer_len()];
    message.emit(&mut out);
    out
}

/// Reads the messages of one kind. What this codec does not understand is some program's unusual object: it is
/// left out and logged, because one strange link must not blind us to all others.
pub(super) fn decode_all<M, T>(
    messages: &[Message],
    kind: u16,
    parse: impl Fn(&[u8]) -> std::result::Result<M, DecodeError>,
    convert: impl Fn(M) -> Option<T>,
) -> Vec<T> {
    let wanted = messages.iter().filter(|message| message.kind == kind);
    wanted.filter_map(|message| decode_event(message, &parse).and_then(&convert)).collect()
}

/// Reads one message; `None` if it is not understood, which is logged.
pub(crate) fn decode_event<M>(
    message: &Message,
    parse: impl Fn(&[u8]) -> std::result::Result<M, DecodeError>,
) -> Option<M> {
    match parse(&message.payload) {
        Ok(parsed) => Some(parsed),
        Err(error) => {
            tracing::warn!(kind = message.kind, %error, "the kernel sent an object that is not understood");
            None
        }
    }
}

/// The kernel's number of a family.
pub(super) fn address_family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// The family of a kernel's number, if it is IP.
pub(super) fn ip_family(family: AddressFamily) -> Option<Family> {
    match family {
        AddressFamily::Inet => Some(Family::V4),
        AddressFamily::Inet6 => Some(Family::V6),
        _ => None,
    }
}

/// `0.0.0.0/0` or `::/0`.
pub(super) fn any(family: Family) -> Option<Prefix> {
    let address = match family {
        Family::V4 => IpAddr::from([0u8; 4]),
        Family::V6 => IpAddr::from([0u8; 16]),
    };
    Prefix::new(address, 0).ok()
}

/// Interface names are one to fifteen bytes without `/`, `:` and white space (`dev_valid_name`); said here because
/// the kernel only answers "numerical result out of range" or cuts.
pub(super) fn check_name(operation: &str, name: &str) -> Result<()> {
    let bad = name.is_empty()
        || name.len() > 15
        || name == "."
        || name == ".."
        || name.bytes().any(|byte| byte == b'/' || byte == b':' || byte == 0 || byte.is_ascii_whitespace());
    if bad {
        return Err(KernelError::new(operation, Errno::EINVAL).with_detail(format!(
            "{name:?} is not an interface name (1 to 15 bytes, no '/', ':' or space)"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::Parseable;
    use netlink_packet_route::address::AddressMessage;
    use netlink_packet_route::link::LinkMessage;
    use netlink_packet_route::neighbour::NeighbourMessage;
    use netlink_packet_route::route::RouteMessage;
    use netlink_packet_route::rule::RuleMessage;
    use proptest::prelude::*;

    use super::super::{Address, Link, Route, Rule};
    use super::{check_name, decode_event};
    use crate::netlink::{Attributes, Message};

    fn decode_as_everything(payload: Vec<u8>) {
        let message = Message { kind: 0, flags: 0, sequence: 0, port: 0, payload };
        let _ = (Link::read(&message), decode_event(&message, LinkMessage::parse));
        let _ = decode_event(&message, AddressMessage::parse).and_then(Address::from_message);
        let _ = decode_event(&message, RouteMessage::parse).and_then(Route::from_message);
        let _ = decode_event(&message, RuleMessage::parse).and_then(Rule::from_message);
        let _ = decode_event(&message, NeighbourMessage::parse);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoders_panic(payload in proptest::collection::vec(any::<u8>(), 0..300)) {
            decode_as_everything(payload);
        }

        /// Attributes with right lengths and any content get further into the decoders than noise does.
        #[test]
        fn no_attributes_make_the_decoders_panic(
            header in proptest::collection::vec(any::<u8>(), 16),
            family in prop_oneof![Just(0u8), Just(2), Just(7), Just(10)],
            header_length in prop_oneof![Just(8usize), Just(12), Just(16)],
            attributes in proptest::collection::vec(
                (0u16..70, proptest::collection::vec(any::<u8>(), 0..40)), 0..12),
        ) {
            let mut payload = header[..header_length].to_vec();
            payload[0] = family;
            let mut encoded = Attributes::new();
            for (kind, content) in attributes {
                encoded.bytes(kind, &content);
            }
            payload.extend(encoded.as_bytes());
            decode_as_everything(payload);
        }
    }

    #[test]
    fn interface_names_are_judged_as_the_kernel_does() {
        for name in ["eth0", "eth0.100", "a23456789012345"] {
            assert!(check_name("try", name).is_ok(), "{name}");
        }
        for name in ["", ".", "..", "a/b", "a:b", "a b", "a234567890123456", "a\0b"] {
            assert!(check_name("try", name).is_err(), "{name:?}");
        }
    }
}
