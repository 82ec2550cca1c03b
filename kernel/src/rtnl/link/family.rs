//! Settings of a link that belong to an address family (`IFLA_AF_SPEC`).
//!
//! The same are in `/proc/sys/net`, where finding one takes longer the more namespaces were looked at: the kernel
//! keeps all of them under the same names and compares one after the other.

use netlink_packet_route::AddressFamily;

use crate::netlink::Attributes;

/// `IFLA_AF_SPEC`.
const AF_SPEC: u16 = 26;
/// `IFLA_INET_CONF`: numbers by the place of a setting in `IPV4_DEVCONF_*`.
const INET_CONF: u16 = 1;
/// `IPV4_DEVCONF_ARP_NOTIFY`.
const ARP_NOTIFY: u16 = 22;
/// `IFLA_INET6_ADDR_GEN_MODE`.
const INET6_ADDRESS_GENERATION: u16 = 8;
/// `IN6_ADDR_GEN_MODE_EUI64` and `IN6_ADDR_GEN_MODE_NONE`.
const BY_EUI64: u8 = 0;
const NONE: u8 = 1;

/// The attribute that sets what is `Some`; empty if nothing is.
pub(super) fn settings(link_local: Option<bool>, arp_notify: Option<bool>) -> Attributes {
    let mut out = Attributes::new();
    if link_local.is_none() && arp_notify.is_none() {
        return out;
    }
    out.nested(AF_SPEC, |families| {
        if let Some(on) = arp_notify {
            families.nested(number(AddressFamily::Inet), |inet| {
                inet.nested(INET_CONF, |conf| {
                    conf.u32(ARP_NOTIFY, u32::from(on));
                });
            });
        }
        if let Some(on) = link_local {
            families.nested(number(AddressFamily::Inet6), |inet6| {
                inet6.u8(INET6_ADDRESS_GENERATION, if on { BY_EUI64 } else { NONE });
            });
        }
    });
    out
}

fn number(family: AddressFamily) -> u16 {
    u8::from(family).into()
}
