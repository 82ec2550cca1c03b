//! Whether the namespace forwards packets (`RTM_GETNETCONF`).

use prefix::Family;

use super::Rtnl;
use super::codec::{address_family, kinds};
use crate::error::{KernelError, Result};
use crate::netlink::{AttributeReader, Attributes, Request};

/// `NETCONFA_IFINDEX`, and the index that means all links (`NETCONFA_IFINDEX_ALL`).
const IFINDEX: u16 = 1;
const ALL: i32 = -1;
/// `NETCONFA_FORWARDING`.
const FORWARDING: u16 = 2;
/// `struct netconfmsg` is the family and is padded.
const HEADER: usize = 4;

impl Rtnl {
    /// Whether the namespace forwards packets of a family between its links, as `net.ipv4.ip_forward` and
    /// `net.ipv6.conf.all.forwarding` say. A family that the kernel lacks is an error.
    pub fn forwards(&mut self, family: Family) -> Result<bool> {
        let operation = format!("ask whether {family} is forwarded");
        let mut payload = vec![0; HEADER];
        payload[0] = address_family(family).into();
        payload.extend_from_slice(Attributes::new().bytes(IFINDEX, &ALL.to_ne_bytes()).as_bytes());
        let request = Request { operation, kind: kinds::GET_NETCONF, flags: 0, payload };
        let answers = self.ask(&request)?;
        answers
            .iter()
            .filter(|message| message.kind == kinds::NEW_NETCONF)
            .filter_map(|message| AttributeReader::new(message.payload.get(HEADER..)?).find(FORWARDING))
            .find_map(|attribute| attribute.u32().ok())
            .map(|number| number != 0)
            .ok_or_else(|| KernelError::malformed(&request.operation, "the kernel's answer does not say"))
    }
}
