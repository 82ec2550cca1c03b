//! The netlink socket and the attribute encoding that links, nf_tables and IPVS share.

mod attributes;
mod filter;
mod message;
mod socket;
mod submit;
mod together;

pub use attributes::{Attribute, AttributeReader, Attributes};
pub(crate) use filter::Is;
pub use message::{Message, flags};
pub use socket::{Protocol, Socket, Verdict};
pub use submit::{Order, Outcome};
pub use together::Request;
