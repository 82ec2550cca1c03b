//! Generic netlink: a family has a name, the kernel gives it a number when its module is there.
//!
//! Source: `include/uapi/linux/genetlink.h`.

use crate::error::{KernelError, Result};
use crate::netlink::{AttributeReader, Attributes, Message, Order, Outcome, Protocol, Socket};

/// `GENL_ID_CTRL`: the family that knows the others.
const CONTROLLER: u16 = 16;
/// `CTRL_CMD_GETFAMILY`.
const GET_FAMILY: u8 = 3;
/// `CTRL_ATTR_FAMILY_ID`.
const FAMILY_ID: u16 = 1;
/// `CTRL_ATTR_FAMILY_NAME`.
const FAMILY_NAME: u16 = 2;
/// Length of `struct genlmsghdr`.
pub const HEADER: usize = 4;

/// The payload of a message of a generic netlink family: `struct genlmsghdr` and attributes.
pub fn message(command: u8, version: u8, attributes: &Attributes) -> Vec<u8> {
    let mut payload = Vec::with_capacity(HEADER + attributes.len());
    payload.extend_from_slice(&[command, version, 0, 0]);
    payload.extend_from_slice(attributes.as_bytes());
    payload
}

/// The command and the attributes of a generic netlink message; `None` if it is too short to have any.
pub fn parse(payload: &[u8]) -> Option<(u8, AttributeReader<'_>)> {
    Some((*payload.first()?, AttributeReader::new(payload.get(HEADER..)?)))
}

/// A socket that speaks to one generic netlink family.
#[derive(Debug)]
pub struct Family {
    socket: Socket,
    number: u16,
    version: u8,
}

impl Family {
    /// Opens a socket in the calling thread's network namespace and asks for the family called `name`.
    ///
    /// Asking makes the kernel load the family's module where modules can be loaded. A kernel that has no such
    /// family gives an error with [`KernelError::is_not_found`].
    pub fn open(name: &str, version: u8) -> Result<Self> {
        let operation = format!("find the generic netlink family {name}");
        let mut socket = Socket::open(Protocol::Generic)?;
        let mut attributes = Attributes::new();
        attributes.string(FAMILY_NAME, name);
        let answers = socket.request(&operation, CONTROLLER, 0, &message(GET_FAMILY, 1, &attributes))?;
        let number = answers
            .iter()
            .filter_map(|answer| parse(&answer.payload)?.1.find(FAMILY_ID))
            .find_map(|attribute| attribute.u16().ok())
            .ok_or_else(|| KernelError::malformed(operation, "the answer holds no number"))?;
        Ok(Self { socket, number, version })
    }

    /// Sends one command and waits for its acknowledgement; what the kernel answered before it is returned.
    pub fn request(
        &mut self,
        operation: &str,
        command: u8,
        flag_bits: u16,
        attributes: &Attributes,
    ) -> Result<Vec<Message>> {
        let payload = message(command, self.version, attributes);
        self.socket.request(operation, self.number, flag_bits, &payload)
    }

    /// Asks for all objects of a kind.
    pub fn dump(&mut self, operation: &str, command: u8, attributes: &Attributes) -> Result<Vec<Message>> {
        let payload = message(command, self.version, attributes);
        self.socket.dump(operation, self.number, &payload)
    }

    /// Gives many commands with their attributes; see [`Socket::submit`].
    pub fn submit(&mut self, commands: impl IntoIterator<Item = (u8, Attributes)>) -> Vec<Outcome> {
        let (kind, version) = (self.number, self.version);
        let orders = commands.into_iter().map(|(command, attributes)| Order {
            kind,
            flags: 0,
            payload: message(command, version, &attributes),
        });
        self.socket.submit(orders)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_controller_is_found_under_its_own_name() {
        let family = Family::open("nlctrl", 1).unwrap();
        assert_eq!(family.number, CONTROLLER);
    }

    #[test]
    fn a_family_that_is_not_there_is_not_found() {
        let error = Family::open("routerd-none", 1).unwrap_err();
        assert!(error.is_not_found(), "{error}");
        assert!(error.to_string().contains("routerd-none"), "{error}");
    }

    #[test]
    fn a_message_too_short_for_its_header_has_no_content() {
        assert!(parse(&[]).is_none());
        assert!(parse(&[1, 2, 3]).is_none());
        assert_eq!(parse(&[7, 1, 0, 0]).unwrap().0, 7);
    }
}
