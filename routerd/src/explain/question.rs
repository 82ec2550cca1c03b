//! What is asked: who sends, who receives, and where to.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::cluster::objects::{ObjectName, Protocol};

/// Who sends or receives, as it is written: `namespace/pod`, an address, or `svc/namespace/name`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum End {
    /// A pod.
    Pod(ObjectName),
    /// An address, whoever has it.
    Address(IpAddr),
    /// A Service: every backend of it.
    Service(ObjectName),
}

/// A question: may `from` speak to `port` of `to`?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Who sends.
    pub from: End,
    /// Who receives.
    pub to: End,
    /// The port that is dialled.
    pub port: u16,
    /// Over which protocol, as `TCP`.
    #[serde(with = "text")]
    pub protocol: Protocol,
}

impl Question {
    /// The question of a command line. The error names the flag, what it holds and what it may hold.
    pub fn parse(from: &str, to: &str, port: &str, protocol: &str) -> Result<Self, String> {
        let end =
            |flag: &str, text: &str| text.parse::<End>().map_err(|why| format!("--{flag}={text}: {why}"));
        let from = end("from", from)?;
        if let End::Service(name) = &from {
            return Err(format!("--from=svc/{name}: a Service sends nothing; name a pod or an address"));
        }
        let number = port.parse().ok().filter(|number| *number != 0);
        Ok(Self {
            from,
            to: end("to", to)?,
            port: number.ok_or_else(|| format!("--port={port}: it must be a number from 1 to 65535"))?,
            protocol: protocol
                .to_uppercase()
                .parse()
                .map_err(|_| format!("--protocol={protocol}: it must be one of tcp, udp, sctp"))?,
        })
    }
}

impl FromStr for End {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse() {
            return Ok(End::Address(address));
        }
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            ["svc", namespace, name] if !namespace.is_empty() && !name.is_empty() => {
                Ok(End::Service(ObjectName::new(*namespace, *name)))
            }
            [namespace, name] if !namespace.is_empty() && !name.is_empty() => {
                Ok(End::Pod(ObjectName::new(*namespace, *name)))
            }
            _ => Err("write namespace/pod, an IP address, or svc/namespace/name".to_owned()),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Pod(name) => name.fmt(f),
            End::Address(address) => address.fmt(f),
            End::Service(name) => write!(f, "svc/{name}"),
        }
    }
}

impl From<End> for String {
    fn from(end: End) -> Self {
        end.to_string()
    }
}

impl TryFrom<String> for End {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A protocol as its name.
mod text {
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::cluster::objects::Protocol;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
    pub(super) fn serialize<S: Serializer>(protocol: &Protocol, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(protocol)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Protocol, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_addresses_and_services_are_told_apart_and_survive_the_socket() {
        for (text, end) in [
            ("default/web", End::Pod(ObjectName::new("default", "web"))),
            ("svc/default", End::Pod(ObjectName::new("svc", "default"))),
            ("svc/default/web", End::Service(ObjectName::new("default", "web"))),
            ("10.0.0.1", End::Address("10.0.0.1".parse().unwrap())),
            ("fd00::1", End::Address("fd00::1".parse().unwrap())),
        ] {
            assert_eq!(text.parse(), Ok(end), "{text}");
            let question = Question::parse("a/b", text, "80", "udp").unwrap();
            let sent = serde_json::to_string(&question).unwrap();
            assert_eq!(serde_json::from_str::<Question>(&sent).unwrap(), question, "{sent}");
        }
    }

    #[test]
    fn a_bad_question_names_the_flag_and_what_it_may_hold() {
        for (from, to, port, protocol, said) in [
            ("web", "a/b", "80", "tcp", "--from=web: write namespace/pod"),
            ("a/b", "pod/a/b", "80", "tcp", "--to=pod/a/b: write"),
            ("svc/a/b", "a/b", "80", "tcp", "a Service sends nothing"),
            ("a/b", "a/c", "http", "tcp", "--port=http: it must be a number from 1 to 65535"),
            ("a/b", "a/c", "0", "tcp", "--port=0"),
            ("a/b", "a/c", "80", "icmp", "--protocol=icmp: it must be one of tcp, udp, sctp"),
        ] {
            let error = Question::parse(from, to, port, protocol).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }
}
