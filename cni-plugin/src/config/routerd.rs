//! The key `routerd`: how the plugin reaches the daemon.

use std::path::PathBuf;
use std::time::Duration;

use super::NetConf;
use crate::error::CniError;

/// Where the daemon listens if the configuration does not say otherwise.
pub const DEFAULT_SOCKET: &str = "/run/routerd/cni.sock";

/// `"routerd": {"socket": "/run/routerd/cni.sock", "timeoutMs": 10000, "required": true, "inStatus": false}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterdConf {
    /// `socket`: the path of the daemon's socket.
    pub socket: PathBuf,
    /// `timeoutMs`: how long an ADD may wait for the daemon in all, from connecting to its answer.
    pub timeout: Duration,
    /// `required`: without an answer that policy is in force the ADD fails. If `false`, the daemon is told if it can
    /// be reached, and its absence is no failure.
    pub required: bool,
    /// `inStatus`: STATUS fails when the daemon is away. Off by default, because runtimes take that as "the node is
    /// not ready", and its pods would be evicted for a restart of the daemon.
    pub in_status: bool,
}

impl RouterdConf {
    /// The daemon is told of pods of the role `routerd-cni` always, of the role `bridge` only when the key is there:
    /// `None` means nobody is told.
    pub fn parse(conf: &NetConf, always: bool) -> Result<Option<Self>, CniError> {
        let default = Self {
            socket: DEFAULT_SOCKET.into(),
            timeout: Duration::from_secs(10),
            required: true,
            in_status: false,
        };
        let Some(fields) = conf.fields().object("routerd")? else {
            return Ok(always.then_some(default));
        };
        let socket = match fields.text_or_empty("socket")? {
            "" => default.socket,
            path => path.into(),
        };
        let timeout = fields.number("timeoutMs", 600_000)?.map(|ms| Duration::from_millis(ms.into()));
        let timeout = timeout.unwrap_or(default.timeout);
        if timeout.is_zero() {
            return Err(CniError::config("routerd.timeoutMs must be from 1 to 600000, but is 0"));
        }
        let required = if fields.get("required").is_some() { fields.flag("required")? } else { true };
        Ok(Some(Self { socket, timeout, required, in_status: fields.flag("inStatus")? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str, always: bool) -> Result<Option<RouterdConf>, CniError> {
        RouterdConf::parse(&NetConf::parse(format!(r#"{{"name":"n"{body}}}"#).as_bytes()).unwrap(), always)
    }

    #[test]
    fn the_daemon_is_required_unless_the_configuration_says_otherwise() {
        let conf = parse("", true).unwrap().unwrap();
        assert!(conf.required && conf.socket.ends_with("cni.sock"));
        assert_eq!(parse("", false).unwrap(), None);
        let conf =
            parse(r#","routerd":{"socket":"/x","timeoutMs":50,"required":false}"#, true).unwrap().unwrap();
        assert!(!conf.required && conf.timeout.as_millis() == 50 && conf.socket.ends_with("x"));
        assert!(parse(r#","routerd":{"timeoutMs":0}"#, true).is_err());
    }
}
