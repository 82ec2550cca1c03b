//! The wire format. The codec crate is known inside this module only.

mod attribute;
pub mod frame;
mod nlri;
pub mod notification;
pub mod open;
mod reader;
pub mod types;
mod update;
mod write;

#[cfg(test)]
mod tests;

pub use notification::Notification;
pub use open::{Capabilities, LongLived, Open, Refresh, RestartCapability};
pub use types::{AsPath, Attributes, Origin, Segment};
pub use update::{Reach, Update};
pub use write::{Template, encode_update, encode_withdrawals, end_of_rib, is_valid_next_hop};

use prefix::Family;

use frame::{Frame, Kind};

/// What two speakers have agreed on that changes how messages are read and written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Context {
    /// AS numbers in AS_PATH have four octets (RFC 6793).
    pub four_octet_as: bool,
    /// IPv4 prefixes may have IPv6 next hops (RFC 8950).
    pub extended_next_hop: bool,
    /// The peer is of our own AS; some malformed attributes are judged by it (RFC 7606).
    pub internal: bool,
}

/// A BGP message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Begins a session.
    Open(Open),
    /// Routes and withdrawals.
    Update(Box<Update>),
    /// Ends a session with the reason.
    Notification(Notification),
    /// Says that the speaker is alive.
    Keepalive,
    /// Asks for all routes of a family again, or marks where they begin and end; `None` for what we do not speak, to be
    /// ignored.
    RouteRefresh(Option<(Family, Refresh)>),
}

impl Message {
    /// Its name, as the RFCs write it.
    pub fn name(&self) -> &'static str {
        match self {
            Message::Open(_) => "OPEN",
            Message::Update(_) => "UPDATE",
            Message::Notification(_) => "NOTIFICATION",
            Message::Keepalive => "KEEPALIVE",
            Message::RouteRefresh(_) => "ROUTE-REFRESH",
        }
    }

    /// Reads a message from its frame. The error is the notification that ends the session.
    pub fn decode(frame: Frame<'_>, context: Context) -> Result<Self, Notification> {
        match frame.kind {
            Kind::Open => Open::decode(frame.body).map(Message::Open),
            Kind::Update => {
                update::decode(frame.body, context).map(|update| Message::Update(Box::new(update)))
            }
            Kind::Notification => Ok(Message::Notification(Notification::decode(frame.body))),
            Kind::Keepalive => Ok(Message::Keepalive),
            Kind::RouteRefresh => open::decode_route_refresh(frame.body).map(Message::RouteRefresh),
        }
    }
}
