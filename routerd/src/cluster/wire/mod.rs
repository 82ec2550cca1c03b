//! Objects as they are written in the API and in YAML, with only the fields that are read, and their conversion to
//! what the index holds. Both sources use it.
//!
//! An object that is wrong in one field is taken in without that field where this cannot open anything, and the field
//! is reported; a NetworkPolicy that is wrong isolates its pods.

mod node;
mod pod;
mod policy;
mod selector;
mod service;
mod slice;
#[cfg(test)]
mod tests;

pub(in crate::cluster) use node::namespace;
pub use node::{WireNamespace, WireNode};
pub use pod::WirePod;
pub use policy::WirePolicy;
pub use service::WireService;
pub use slice::WireSlice;

use std::fmt;
use std::net::IpAddr;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer};

use super::objects::ObjectName;
use super::{Kind, Object};

/// Something wrong in a field of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldProblem {
    /// The field's path, as `spec.ports[0].port`.
    pub field: String,
    /// What is wrong with it and what becomes of it.
    pub message: String,
}

impl fmt::Display for FieldProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// An object and what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// The object; `None` if it cannot be used at all.
    pub object: Option<Object>,
    /// What is wrong.
    pub problems: Vec<FieldProblem>,
}

/// An object as it is written.
pub trait Wire {
    /// Its kind.
    const KIND: Kind;

    /// What the index holds of it.
    fn convert(self) -> Converted;
}

/// Gathers problems while an object is converted.
#[derive(Debug, Default)]
struct Problems(Vec<FieldProblem>);

impl Problems {
    fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(FieldProblem { field: field.into(), message: message.into() });
    }

    /// The addresses that are addresses; the others are reported by their place in `field`.
    fn addresses<'a>(&mut self, field: &str, texts: impl IntoIterator<Item = &'a String>) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for (index, text) in texts.into_iter().enumerate() {
            match text.parse() {
                Ok(address) => addresses.push(address),
                Err(_) => {
                    self.add(format!("{field}[{index}]"), format!("{text:?} is not an IP address; ignored"));
                }
            }
        }
        // Most lists have one, and there are many lists.
        addresses.shrink_to_fit();
        addresses
    }

    /// A port's number; one that is none is reported. The API server has numbers of 32 bits, and lets through what a port
    /// cannot be (of an EndpointSlice it asks nothing): a narrower type would refuse the whole list that the object is in.
    fn port(&mut self, field: impl FnOnce() -> String, number: i32) -> Option<u16> {
        let port = u16::try_from(number).ok().filter(|port| *port != 0);
        if port.is_none() {
            self.add(field(), format!("{number} is not a port (1 to 65535); it is ignored"));
        }
        port
    }

    /// The outcome with `object`.
    fn with(self, object: Object) -> Converted {
        Converted { object: Some(object), problems: self.0 }
    }

    /// The outcome without an object.
    fn without_object(self) -> Converted {
        Converted { object: None, problems: self.0 }
    }
}

fn object_name(metadata: &ObjectMeta) -> ObjectName {
    ObjectName::new(
        metadata.namespace.as_deref().unwrap_or("default"),
        metadata.name.as_deref().unwrap_or_default(),
    )
}

/// For fields that may be written as `null`, which means the same as leaving them out.
fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The default of `protocol` everywhere in the API.
fn tcp() -> String {
    "TCP".to_owned()
}
