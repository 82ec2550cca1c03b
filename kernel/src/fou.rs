//! Ports that take tunnel packets out of UDP (Foo over UDP, Generic UDP Encapsulation).
//!
//! A tunnel's device only sends; what arrives needs a port that unwraps it. Source: `include/uapi/linux/fou.h`.

use std::fmt;

use prefix::Family;

use crate::error::{KernelError, Result};
use crate::genl;
use crate::netlink::{Attributes, Message};

const NAME: &str = "fou";
const VERSION: u8 = 1;
/// `FOU_CMD_*`.
const ADD: u8 = 1;
const DELETE: u8 = 2;
const GET: u8 = 3;
/// `FOU_ATTR_*`.
const PORT: u16 = 1;
const FAMILY: u16 = 2;
const PROTOCOL: u16 = 3;
const TYPE: u16 = 4;
/// `FOU_ENCAP_*`.
const DIRECT: u8 = 1;
const GUE: u8 = 2;
/// `AF_INET`, `AF_INET6`.
const INET: u8 = 2;
const INET6: u8 = 10;

/// What is inside of the UDP packets of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Inside {
    /// Packets of this protocol with nothing before them.
    Direct(u8),
    /// A header that says what follows.
    Gue,
}

/// A port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Port {
    /// The family of the outer packets.
    pub family: Family,
    /// The UDP port.
    pub number: u16,
    /// What is inside.
    pub inside: Inside,
}

impl Port {
    /// A port for packets with a header that says what they hold.
    pub fn gue(family: Family, number: u16) -> Self {
        Self { family, number, inside: Inside::Gue }
    }

    fn address(self) -> Attributes {
        let mut attributes = Attributes::new();
        let family = if self.family == Family::V4 { INET } else { INET6 };
        attributes.u16_be(PORT, self.number).u8(FAMILY, family);
        attributes
    }

    /// The port in an answer; `None` for what is not understood.
    fn from_message(message: &Message) -> Option<Self> {
        let (_, reader) = genl::parse(&message.payload)?;
        let family = match reader.find(FAMILY)?.u8().ok()? {
            INET => Family::V4,
            INET6 => Family::V6,
            _ => return None,
        };
        let inside = match reader.find(TYPE)?.u8().ok()? {
            GUE => Inside::Gue,
            DIRECT => Inside::Direct(reader.find(PROTOCOL)?.u8().ok()?),
            _ => return None,
        };
        Some(Self { family, number: reader.find(PORT)?.u16_be().ok()?, inside })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inside = match self.inside {
            Inside::Gue => "gue".to_owned(),
            Inside::Direct(protocol) => format!("protocol {protocol}"),
        };
        write!(f, "{} port {} for {inside}", self.family, self.number)
    }
}

/// A handle on the ports of one network namespace.
#[derive(Debug)]
pub struct Fou {
    family: genl::Family,
}

impl Fou {
    /// Opens it in the calling thread's namespace. A kernel without it gives an error with
    /// [`KernelError::is_not_found`].
    pub fn open() -> Result<Self> {
        Ok(Self { family: genl::Family::open(NAME, VERSION)? })
    }

    /// The ports.
    pub fn ports(&mut self) -> Result<Vec<Port>> {
        let answers = self.family.dump("list fou ports", GET, &Attributes::new())?;
        Ok(answers.iter().filter_map(Port::from_message).collect())
    }

    /// Opens a port. One that a socket has already is an error with `EADDRINUSE`.
    pub fn add(&mut self, port: &Port) -> Result<()> {
        let mut attributes = port.address();
        match port.inside {
            Inside::Gue => _ = attributes.u8(TYPE, GUE),
            Inside::Direct(protocol) => _ = attributes.u8(TYPE, DIRECT).u8(PROTOCOL, protocol),
        }
        self.change(&format!("open {port}"), ADD, &attributes)
    }

    /// Closes a port.
    pub fn delete(&mut self, port: &Port) -> Result<()> {
        self.change(&format!("close {port}"), DELETE, &port.address())
    }

    fn change(&mut self, operation: &str, command: u8, attributes: &Attributes) -> Result<()> {
        self.family.request(operation, command, 0, attributes).map(drop)
    }
}

impl Port {
    /// True if `error` says that somebody has the port.
    pub fn is_taken(error: &KernelError) -> bool {
        error.errno == nix::errno::Errno::EADDRINUSE
    }
}
