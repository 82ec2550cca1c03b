//! The administrator's list of sysctls that may be set.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use regex_lite::Regex;

use super::sysctls::Setting;
use crate::error::{CniError, Code};

/// Regular expressions, one a line; a key must match one of them. Without the file every key is allowed.
const FILE: &str = "/etc/cni/tuning/allowlist.conf";

/// Refuses a setting that the administrator's list does not allow.
pub(super) fn check(settings: &[Setting]) -> Result<(), CniError> {
    if settings.is_empty() {
        return Ok(());
    }
    check_against(Path::new(FILE), settings)
}

fn check_against(file: &Path, settings: &[Setting]) -> Result<(), CniError> {
    let text = match fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        text => text.map_err(|error| CniError::io(format!("read {}", file.display()), &error))?,
    };
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let allowed: Vec<Regex> = lines.map(|line| expression(file, line)).collect::<Result<_, _>>()?;
    for setting in settings {
        if !allowed.iter().any(|one| one.is_match(setting.key())) {
            let list: Vec<&str> = allowed.iter().map(Regex::as_str).collect();
            let msg = format!("Sysctl {} is not allowed", setting.key());
            return Err(CniError::config(msg).with_details(format!(
                "Only the following sysctls are allowed: {list:?} ({})",
                file.display()
            )));
        }
    }
    Ok(())
}

fn expression(file: &Path, line: &str) -> Result<Regex, CniError> {
    Regex::new(line).map_err(|error| {
        let msg = format!("{}: {line:?} is no regular expression: {error}", file.display());
        CniError::new(Code::CONFIG, msg)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_an_expression_of_the_list_matches_may_be_set() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("allowlist.conf");
        let setting = |key: &str| [Setting::new(key, "1", "eth0").unwrap()];
        assert!(check_against(&file, &setting("net.core.somaxconn")).is_ok(), "no list");
        fs::write(&file, "^net\\.ipv4\\.conf\\.[a-zA-Z]+\\.rp_filter$\n\n net.core.x \n").unwrap();
        assert!(check_against(&file, &setting("net.ipv4.conf.IFNAME.rp_filter")).is_ok());
        assert!(check_against(&file, &setting("net.core.x")).is_ok());
        let error = check_against(&file, &setting("net.core.somaxconn")).unwrap_err();
        assert!(error.to_string().contains("net.core.somaxconn is not allowed"), "{error}");
        fs::write(&file, "").unwrap();
        assert!(check_against(&file, &setting("net.core.x")).is_err(), "an empty list allows nothing");
        fs::write(&file, "net.(").unwrap();
        assert!(check_against(&file, &setting("net.core.x")).unwrap_err().msg.contains("net.("));
    }
}
