//! The external BGP peers that flags name: parallel lists.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::types::PeerConfig;
use super::values::Values;
use super::{ConfigErrors, FlagError};

const BGP_PORT: u16 = 179;

/// The peers of `--peer-router-*`.
pub(super) fn of_flags(values: &Values) -> Result<Vec<PeerConfig>, ConfigErrors> {
    let addresses = values.addresses("peer-router-ips")?;
    let asns: Vec<u32> = values.numbers("peer-router-asns")?;
    let ports: Vec<u16> = values.numbers("peer-router-ports")?;
    let passwords = passwords(values)?;
    same_length("peer-router-asns", asns.len(), addresses.len())?;
    if !ports.is_empty() {
        same_length("peer-router-ports", ports.len(), addresses.len())?;
    }
    if !passwords.is_empty() {
        same_length("peer-router-passwords", passwords.len(), addresses.len())?;
    }
    let peers = addresses.into_iter().zip(asns).enumerate().map(|(index, (address, asn))| PeerConfig {
        address,
        asn,
        port: ports.get(index).copied().filter(|port| *port != 0).unwrap_or(BGP_PORT),
        password: passwords.get(index).cloned().flatten(),
    });
    Ok(peers.collect())
}

fn same_length(flag: &str, length: usize, peers: usize) -> Result<(), ConfigErrors> {
    if length == peers {
        return Ok(());
    }
    Err(ConfigErrors(vec![FlagError::Together {
        flags: format!("--{flag}, --peer-router-ips"),
        message: format!("{length} items for {peers} peers; each peer needs one"),
    }]))
}

fn passwords(values: &Values) -> Result<Vec<Option<Vec<u8>>>, ConfigErrors> {
    let items = values.texts("peer-router-passwords")?;
    match passwords_file(values)? {
        Some(file) => read_passwords(&file),
        None => decoded("peer-router-passwords", items.iter().map(String::as_str)),
    }
}

/// The file of passwords, where the list of them is empty.
pub(super) fn passwords_file(values: &Values) -> Result<Option<PathBuf>, ConfigErrors> {
    let file = values.text("peer-router-passwords-file")?;
    let is_wanted = !file.is_empty() && values.texts("peer-router-passwords")?.is_empty();
    Ok(is_wanted.then(|| file.into()))
}

/// What `--peer-router-passwords-file` says; an empty item is a peer without a password.
///
/// # Errors
/// The file cannot be read, or an item is not base64.
pub(crate) fn read_passwords(file: &Path) -> Result<Vec<Option<Vec<u8>>>, ConfigErrors> {
    let flag = "peer-router-passwords-file";
    let wrong = |error: std::io::Error| FlagError::Together {
        flags: format!("--{flag}={}", file.display()),
        message: format!("the file cannot be read: {error}"),
    };
    let text = fs::read_to_string(file).map_err(|error| ConfigErrors(vec![wrong(error)]))?;
    decoded(flag, text.trim().split(',').map(str::trim))
}

fn decoded<'a>(
    flag: &str,
    items: impl Iterator<Item = &'a str>,
) -> Result<Vec<Option<Vec<u8>>>, ConfigErrors> {
    items.enumerate().map(|(index, item)| decode(flag, index, item)).collect()
}

fn decode(flag: &str, index: usize, item: &str) -> Result<Option<Vec<u8>>, ConfigErrors> {
    if item.is_empty() {
        return Ok(None);
    }
    // The password itself is never repeated.
    STANDARD.decode(item).map(Some).map_err(|_| {
        ConfigErrors(vec![FlagError::Together {
            flags: format!("--{flag}"),
            message: format!("item {} is not base64", index + 1),
        }])
    })
}
