//! The configuration on stdin.
//!
//! What every role needs is read at once ([`NetConf`]); what only one role needs is read by that role from
//! [`NetConf::fields`], because DEL must work with a configuration whose other half is broken.

mod bridge;
mod routerd;

pub use bridge::{BridgeConf, MasqueradeBackend, VlanRange};
pub use routerd::{DEFAULT_SOCKET, RouterdConf};

use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::address::{Mac, why_unusable};
use crate::args::{Args, parse_requested_ip};
use crate::convert;
use crate::env::is_identifier;
use crate::error::{CniError, Code};
use crate::json::Fields;
use crate::result::AddResult;
use crate::version::Version;

/// The configuration of one network for one plugin.
#[derive(Debug, Clone, PartialEq)]
pub struct NetConf {
    /// `cniVersion`.
    pub version: Version,
    /// `name`: the network's name, valid as a file's name.
    pub name: String,
    /// `type`: the plugin's name; may be empty.
    pub plugin_type: String,
    raw: Map<String, Value>,
    text: Vec<u8>,
}

impl NetConf {
    /// Reads a configuration.
    pub fn parse(stdin: &[u8]) -> Result<Self, CniError> {
        let raw = decode(stdin)?;
        let fields = Fields::root(&raw);
        let version = Version::parse(fields.text_or_empty("cniVersion")?)?;
        let name = fields.text_or_empty("name")?.to_owned();
        if name.is_empty() {
            return Err(CniError::config("missing network name").with_details("set the key `name`"));
        }
        if !is_identifier(&name) {
            return Err(CniError::config("invalid characters found in network name")
                .with_details(format!("name is {name:?}, allowed are letters, digits, `_`, `.` and `-`")));
        }
        let plugin_type = fields.text_or_empty("type")?.to_owned();
        Ok(Self { version, name, plugin_type, raw, text: stdin.to_vec() })
    }

    /// All keys.
    pub fn fields(&self) -> Fields<'_> {
        Fields::root(&self.raw)
    }

    /// The text it was read from: a delegated IPAM plugin gets the same.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// `prevResult`: what the plugins before this one in the chain made.
    pub fn prev_result(&self) -> Result<Option<AddResult>, CniError> {
        let Some(fields) = self.fields().object("prevResult")? else { return Ok(None) };
        convert::from_json(&fields, self.version)
            .map(Some)
            .map_err(|error| error.context("could not parse prevResult"))
    }

    /// An object that a runtime fills in: `runtimeConfig`.
    pub fn runtime(&self) -> Result<Option<Fields<'_>>, CniError> {
        self.fields().object("runtimeConfig")
    }

    /// An object that a runtime fills in: `args.cni`.
    pub fn args_cni(&self) -> Result<Option<Fields<'_>>, CniError> {
        match self.fields().object("args")? {
            Some(args) => args.object("cni"),
            None => Ok(None),
        }
    }

    /// The link address asked for, by `runtimeConfig.mac`, `args.cni.mac` or `CNI_ARGS`, the first that is set.
    pub fn requested_mac(&self, args: &Args) -> Result<Option<Mac>, CniError> {
        let mut asked = None;
        for source in [self.runtime()?, self.args_cni()?].into_iter().flatten() {
            // All are read, so that a wrong one is told wherever it stands.
            let Some(mac) = source.parsed("mac")? else { continue };
            if let Some(reason) = why_unusable(mac) {
                return Err(CniError::config(format!("{}: {reason}", source.path_of("mac"))));
            }
            asked = asked.or(Some(mac));
        }
        Ok(asked.or(args.mac))
    }

    /// The addresses asked for, by `CNI_ARGS`, `args.cni.ips` and `runtimeConfig.ips`: all of them, each once.
    pub fn requested_ips(&self, args: &Args) -> Result<Vec<IpAddr>, CniError> {
        let mut ips: Vec<IpAddr> = args.ip.into_iter().collect();
        for source in [self.args_cni()?, self.runtime()?].into_iter().flatten() {
            for text in source.texts("ips")? {
                let ip = parse_requested_ip(&text).ok_or_else(|| {
                    CniError::config(format!("{}: {text:?} is no address", source.path_of("ips")))
                })?;
                if !ips.contains(&ip) {
                    ips.push(ip);
                }
            }
        }
        Ok(ips)
    }
}

fn decode(stdin: &[u8]) -> Result<Map<String, Value>, CniError> {
    let error = |reason: String| {
        CniError::new(Code::DECODE, "failed to decode the network configuration on stdin")
            .with_details(reason)
    };
    if stdin.iter().all(u8::is_ascii_whitespace) {
        return Err(error("stdin is empty; a JSON object is expected".into()));
    }
    match serde_json::from_slice(stdin) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(error(format!("a JSON object is expected, got {}", kind(&other)))),
        Err(reason) => Err(error(reason.to_string())),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::UnknownKeys;

    fn parse(text: &str) -> Result<NetConf, CniError> {
        NetConf::parse(text.as_bytes())
    }

    #[test]
    fn garbage_is_a_decode_error_and_says_what_is_wrong() {
        for text in ["", "  \n", "{", "[]", "null", "7", "\u{0}", "{}x", "{\"a\":}"] {
            assert_eq!(parse(text).unwrap_err().code, Code::DECODE, "{text:?}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(parse(&deep).unwrap_err().code, Code::DECODE);
        assert_eq!(NetConf::parse(&[0xff, 0xfe, 0x00]).unwrap_err().code, Code::DECODE);
    }

    #[test]
    fn a_network_needs_a_name_that_can_be_a_file() {
        assert_eq!(parse("{}").unwrap_err().msg, "missing network name");
        for name in ["a b", "..", "/x", "-a"] {
            let error = parse(&format!(r#"{{"name":"{name}"}}"#)).unwrap_err();
            assert_eq!(error.code, Code::CONFIG, "{name}");
            assert_eq!(error.msg, "invalid characters found in network name");
        }
    }

    #[test]
    fn without_a_version_it_is_the_oldest() {
        assert_eq!(parse(r#"{"name":"n"}"#).unwrap().version, Version::V010);
        assert_eq!(parse(r#"{"name":"n","cniVersion":"9.9.9"}"#).unwrap_err().code, Code::VERSION);
    }

    #[test]
    fn requested_addresses_and_link_address_follow_the_reference_precedence() {
        let conf = parse(
            r#"{"name":"n","args":{"cni":{"mac":"00:00:00:00:00:02","ips":["10.1.2.4","10.1.2.3/24"]}},
               "RuntimeConfig":{"Mac":"00:00:00:00:00:01","IPs":["10.1.2.5/24"]}}"#,
        )
        .unwrap();
        let args = Args::parse("IP=10.1.2.3;MAC=00:00:00:00:00:03", UnknownKeys::Refuse).unwrap();
        assert_eq!(conf.requested_mac(&args).unwrap().unwrap().to_string(), "00:00:00:00:00:01");
        let ips: Vec<String> = conf.requested_ips(&args).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(ips, ["10.1.2.3", "10.1.2.4", "10.1.2.5"]);
    }
}
