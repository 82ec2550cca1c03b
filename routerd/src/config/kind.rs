//! What values a flag takes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use prefix::Prefix;

use super::duration;

/// The type of a flag, with what of it is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// True or false, in the spellings of Go's `ParseBool`; the flag alone means true.
    Bool,
    /// A whole number between the first and the second, both included.
    Number(u64, u64),
    /// An autonomous system number out of the private ranges, or 0 for the default.
    PrivateAsn,
    /// A duration (`5m0s`, `90s`) between the first and the second number of milliseconds.
    Duration(u64, u64),
    /// Any text.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An IP address, or nothing for all of them.
    Address,
    /// An IP address and a port, or nothing.
    Socket,
    /// A BGP router ID (dotted like an IPv4 address), `generate`, or nothing.
    RouterId,
    /// `unix://` and a path, or nothing.
    UnixEndpoint,
    /// Two ports `a-b` or `a:b`, the first below the second.
    PortRange,
    /// A list of any text.
    Texts,
    /// A list of IP addresses.
    Addresses,
    /// A list of prefixes as `10.0.0.0/8`.
    Prefixes,
    /// A list of whole numbers between the first and the second.
    Numbers(u64, u64),
}

impl Kind {
    /// True if the flag may be repeated and holds commas between items.
    pub fn is_list(self) -> bool {
        matches!(self, Kind::Texts | Kind::Addresses | Kind::Prefixes | Kind::Numbers(..))
    }

    /// The type's name in help and documents.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Bool => "bool",
            Kind::Number(..) | Kind::PrivateAsn => "number",
            Kind::Duration(..) => "duration",
            Kind::Text | Kind::Choice(_) | Kind::RouterId | Kind::UnixEndpoint | Kind::PortRange => "string",
            Kind::Address => "address",
            Kind::Socket => "address:port",
            Kind::Texts => "strings",
            Kind::Addresses => "addresses",
            Kind::Prefixes => "prefixes",
            Kind::Numbers(..) => "numbers",
        }
    }

    /// What is allowed, for messages and documents.
    pub fn allowed(self) -> String {
        match self {
            Kind::Bool => "true or false".to_owned(),
            Kind::Number(low, high) => format!("a whole number from {low} to {high}"),
            Kind::PrivateAsn => "0, 64512 to 65535, or 4200000000 to 4294967294".to_owned(),
            Kind::Duration(low, high) => format!(
                "a duration as 90s or 5m0s, from {} to {}",
                duration::format(Duration::from_millis(low)),
                duration::format(Duration::from_millis(high))
            ),
            Kind::Text => "any text".to_owned(),
            Kind::Choice(words) => words.join(" or "),
            Kind::Address => "an IP address, or nothing for every address".to_owned(),
            Kind::Socket => "an address and a port as 0.0.0.0:10256 or [::]:10256, or nothing".to_owned(),
            Kind::RouterId => "an IPv4 address, or `generate`".to_owned(),
            Kind::UnixEndpoint => "unix:// and an absolute path".to_owned(),
            Kind::PortRange => {
                "two ports as 30000-32767 or 30000:32767, the first below the second".to_owned()
            }
            Kind::Texts => "texts with commas between them".to_owned(),
            Kind::Addresses => "IP addresses with commas between them".to_owned(),
            Kind::Prefixes => "prefixes as 10.0.0.0/8 or fd00::/8 with commas between them".to_owned(),
            Kind::Numbers(low, high) => {
                format!("whole numbers from {low} to {high} with commas between them")
            }
        }
    }

    /// Reads one value (of a list: one item). The error says why it is refused, without the flag's name.
    pub fn parse(self, text: &str) -> Result<Value, String> {
        match self {
            Kind::Bool => boolean(text).map(Value::Bool),
            Kind::Number(low, high) | Kind::Numbers(low, high) => number(text, low, high).map(Value::Number),
            Kind::PrivateAsn => private_asn(text).map(Value::Number),
            Kind::Duration(low, high) => bounded_duration(text, low, high).map(Value::Duration),
            Kind::Text | Kind::Texts => Ok(Value::Text(text.to_owned())),
            Kind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Kind::Choice(_) => Err("it is none of the allowed words".to_owned()),
            Kind::Address | Kind::Socket if text.is_empty() => Ok(Value::Text(String::new())),
            Kind::Address | Kind::Addresses => address(text).map(Value::Address),
            Kind::Socket => socket(text).map(Value::Socket),
            Kind::RouterId => router_id(text).map(Value::Text),
            Kind::UnixEndpoint if text.is_empty() || text.starts_with("unix:///") => {
                Ok(Value::Text(text.to_owned()))
            }
            Kind::UnixEndpoint => Err("it does not begin with unix:///".to_owned()),
            Kind::PortRange => port_range(text).map(|(low, high)| Value::PortRange(low, high)),
            Kind::Prefixes => text.parse().map(Value::Prefix).map_err(|_| "it is not a prefix".to_owned()),
        }
    }
}

/// A flag's value (of a list: one item).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Of a [`Kind::Bool`].
    Bool(bool),
    /// Of the number kinds.
    Number(u64),
    /// Of a [`Kind::Duration`].
    Duration(Duration),
    /// Of the text kinds.
    Text(String),
    /// Of the address kinds; an empty [`Kind::Address`] is an empty `Text`.
    Address(IpAddr),
    /// Of [`Kind::Socket`]; an empty one is an empty `Text`.
    Socket(SocketAddr),
    /// Of [`Kind::Prefixes`].
    Prefix(Prefix),
    /// Of [`Kind::PortRange`].
    PortRange(u16, u16),
}

fn boolean(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err("it is neither true nor false".to_owned()),
    }
}

fn number(text: &str, low: u64, high: u64) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    match parsed {
        Ok(number) if (low..=high).contains(&number) => Ok(number),
        Ok(_) => Err("it is out of range".to_owned()),
        Err(_) => Err("it is not a whole number".to_owned()),
    }
}

fn private_asn(text: &str) -> Result<u64, String> {
    let asn = number(text, 0, u64::from(u32::MAX))?;
    if asn == 0 || (64_512..=65_535).contains(&asn) || (4_200_000_000..=4_294_967_294).contains(&asn) {
        return Ok(asn);
    }
    Err("it is not a private autonomous system number".to_owned())
}

fn bounded_duration(text: &str, low: u64, high: u64) -> Result<Duration, String> {
    let value = duration::parse(text)?;
    if value < Duration::from_millis(low) || value > Duration::from_millis(high) {
        return Err("it is out of range".to_owned());
    }
    Ok(value)
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "it is not an IP address".to_owned())
}

fn socket(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "it is not an address with a port".to_owned())
}

fn router_id(text: &str) -> Result<String, String> {
    if text.is_empty() || text == "generate" || text.parse::<Ipv4Addr>().is_ok() {
        return Ok(text.to_owned());
    }
    Err("it is not an IPv4 address".to_owned())
}

fn port_range(text: &str) -> Result<(u16, u16), String> {
    let wrong = || "it is not two ports".to_owned();
    let (low, high) = text.split_once(['-', ':']).ok_or_else(wrong)?;
    let low: u16 = low.trim().parse().map_err(|_| wrong())?;
    let high: u16 = high.trim().parse().map_err(|_| wrong())?;
    if low == 0 || low >= high {
        return Err("the first port is not below the second".to_owned());
    }
    Ok((low, high))
}
