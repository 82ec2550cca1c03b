//! What an IPAM plugin said, judged: a result, its own error, or nothing that can be used.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use serde_json::Value;

use super::child::Ended;
use crate::convert::addresses_from_json;
use crate::error::{CniError, Code};
use crate::json::Fields;
use crate::request::Addresses;
use crate::version::Version;

/// What is shown of words that were not meant for us.
const SHOWN: usize = 200;

/// What the plugin said on stdout when it succeeded; else its error, passed on as it is.
pub(super) fn check(name: &str, command: &str, ended: Ended) -> Result<Vec<u8>, CniError> {
    if ended.status.success() {
        // It is our runtime that keeps a log; who cannot write to it has none.
        drop(std::io::stderr().write_all(&ended.stderr));
        return Ok(ended.stdout);
    }
    let own = serde_json::from_slice::<Value>(&ended.stdout).ok().and_then(|value| its_error(&value));
    let error = own.unwrap_or_else(|| {
        let msg = format!("IPAM plugin {name:?} ({command}) {}", end(ended.status));
        let words = [("stdout", &ended.stdout), ("stderr", &ended.stderr)];
        let said = words.into_iter().filter(|(_, text)| !text.is_empty());
        said.fold(CniError::new(Code::PROTOCOL, msg), |error, (place, text)| {
            error.with_details(format!("it said on {place}: {}", shown(text)))
        })
    });
    Err(error.with_details(format!("from the IPAM plugin {name:?}")))
}

fn its_error(value: &Value) -> Option<CniError> {
    let fields = Fields::of(value, "").ok()?;
    let msg = fields.text("msg").ok().flatten().filter(|msg| !msg.is_empty())?;
    let code = fields.number("code", u32::MAX).ok().flatten().filter(|code| *code != 0);
    let details = fields.text_or_empty("details").unwrap_or_default();
    Some(CniError::new(code.map_or(Code::PROTOCOL, Code), msg).with_details(details))
}

fn end(status: ExitStatus) -> String {
    match (status.signal(), status.code()) {
        (Some(signal), _) => format!("was ended by signal {signal}"),
        (None, Some(code)) => format!("failed with exit status {code} and no error object"),
        (None, None) => "ended without a status".to_owned(),
    }
}

fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text: String = text.trim().chars().take(SHOWN).collect();
    format!("{text:?}")
}

/// The addresses in a result of any version.
pub(super) fn addresses(name: &str, said: &[u8], version: Version) -> Result<Addresses, CniError> {
    let unusable = |reason: String| {
        CniError::new(Code::PROTOCOL, format!("IPAM plugin {name:?} answered what is no result: {reason}"))
            .with_details(format!("it said on stdout: {}", shown(said)))
    };
    let value: Value = serde_json::from_slice(said).map_err(|error| unusable(error.to_string()))?;
    let result = Fields::of(&value, "")
        .and_then(|fields| addresses_from_json(&fields, version))
        .map_err(|error| unusable(error.to_string()))?;
    if result.ips.is_empty() {
        return Err(unusable("IPAM plugin returned missing IP config".to_owned()));
    }
    for ip in &result.ips {
        if let Some(gateway) = ip.gateway.filter(|gateway| gateway.is_ipv4() != ip.address.address.is_ipv4())
        {
            return Err(unusable(format!("{} and its gateway {gateway} are of two families", ip.address)));
        }
    }
    Ok(Addresses { ips: result.ips, routes: result.routes, dns: result.dns })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Addresses, CniError> {
        addresses("static", text.as_bytes(), Version::V100)
    }

    fn shown_addresses(found: &Addresses) -> Vec<String> {
        found.ips.iter().map(|ip| ip.address.to_string()).collect()
    }

    #[test]
    fn results_of_any_version_are_read_and_interfaces_are_not_the_ipams_to_name() {
        let old = r#"{"cniVersion":"0.2.0","ip4":{"ip":"10.1.0.5/24","gateway":"10.1.0.1","routes":[{"dst":"0.0.0.0/0"}]},
            "ip6":{"ip":"fd00::5/64"}}"#;
        let found = read(old).unwrap();
        assert_eq!(shown_addresses(&found), ["10.1.0.5/24", "fd00::5/64"]);
        assert_eq!(found.routes.len(), 1);
        let new =
            r#"{"ips":[{"address":"10.1.0.5/24","interface":0},{"address":"10.2.0.5/24","interface":7}]}"#;
        let found = read(new).unwrap();
        assert_eq!(shown_addresses(&found), ["10.1.0.5/24", "10.2.0.5/24"]);
        assert!(found.ips.iter().all(|ip| ip.interface.is_none()));
    }

    #[test]
    fn what_is_no_result_is_told_with_what_was_said() {
        for (text, reason) in [
            ("", "EOF"),
            ("hello", "expected value"),
            ("[]", "must be an object"),
            ("{}", "missing IP config"),
            (r#"{"ips":[{"address":"x"}]}"#, "ips[0].address"),
            (r#"{"cniVersion":"7","ips":[]}"#, "incompatible"),
            (r#"{"ips":[{"address":"10.1.0.5/24","gateway":"fd00::1"}]}"#, "two families"),
        ] {
            let error = read(text).unwrap_err();
            assert_eq!(error.code, Code::PROTOCOL, "{text}");
            assert!(error.msg.contains(reason) && error.msg.contains("static"), "{text}: {error}");
        }
    }

    #[test]
    fn an_error_of_the_plugin_is_passed_on_and_a_death_is_told() {
        let ended = |code: i32, stdout: &str| Ended {
            status: ExitStatus::from_raw(code),
            stdout: stdout.into(),
            stderr: b"cannot go on".to_vec(),
        };
        let error = check("x", "ADD", ended(256, r#"{"code":11,"msg":"full","details":"d"}"#)).unwrap_err();
        assert_eq!((error.code, error.msg.as_str()), (Code::TRY_AGAIN, "full"));
        let error = check("x", "ADD", ended(9, "")).unwrap_err();
        assert!(error.msg.contains("signal 9") && error.details.contains("cannot go on"), "{error}");
        let error = check("x", "DEL", ended(512, "noise")).unwrap_err();
        assert!(error.msg.contains("exit status 2") && error.details.contains("noise"), "{error}");
        assert_eq!(check("x", "DEL", ended(0, "{}")).unwrap(), b"{}");
    }
}
