//! The key `routerd`: how the plugin reaches the daemon.

use std::path::PathBuf;
use std::time::Duration;

use super::NetConf;
use crate::error::CniError;
use crate::json::Fields;

/// Where the daemon listens if the configuration does not say otherwise.
pub const DEFAULT_SOCKET: &str = "/run/routerd/cni.sock";

/// `"routerd": {"socket": "/run/routerd/cni.sock", "timeoutMs": 20000, "awayMs": 5000, "required": true, "inStatus":
/// false}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouterdConf {
    /// `socket`: the path of the daemon's socket.
    pub socket: PathBuf,
    /// `timeoutMs`: how long an ADD may wait for the daemon in all, from connecting to its answer. The daemon itself
    /// gives up after 15 s and says why, so it is more than that.
    pub timeout: Duration,
    /// `awayMs`: how long an ADD waits for a daemon that does not listen; it may be restarting.
    pub away: Duration,
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
            timeout: crate::socket::ADD_WAITS,
            away: Duration::from_secs(5),
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
        let timeout = milliseconds(&fields, "timeoutMs")?.unwrap_or(default.timeout);
        let away = milliseconds(&fields, "awayMs")?.unwrap_or(default.away);
        let required = if fields.get("required").is_some() { fields.flag("required")? } else { true };
        Ok(Some(Self { socket, timeout, away, required, in_status: fields.flag("inStatus")? }))
    }
}

fn milliseconds(fields: &Fields<'_>, key: &str) -> Result<Option<Duration>, CniError> {
    match fields.number(key, 600_000)? {
        Some(0) => {
            Err(CniError::config(format!("{} must be from 1 to 600000, but is 0", fields.path_of(key))))
        }
        number => Ok(number.map(|number| Duration::from_millis(number.into()))),
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
        for wrong in ["\"timeoutMs\":0", "\"awayMs\":0", "\"timeoutMs\":600001", "\"socket\":7"] {
            assert!(parse(&format!(",\"routerd\":{{{wrong}}}"), true).is_err(), "{wrong}");
        }
    }
}
