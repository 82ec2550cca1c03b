//! Where things are: the workspace, the cache folder, the build's output.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The root of this workspace: where cargo says that it runs us, else where we were built.
///
/// The place of the build alone is not enough: with one output folder for two clones cargo takes the
/// program that the other clone built, and that clone may be gone.
pub fn workspace() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR"));
    let e2e = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| built.to_path_buf(), PathBuf::from);
    e2e.parent().unwrap_or(&e2e).to_path_buf()
}

/// The cache folder: `$XDG_CACHE_HOME/routerd` or `~/.cache/routerd`, made when missing.
pub fn cache() -> Result<PathBuf> {
    let base = match std::env::var_os("XDG_CACHE_HOME").filter(|value| !value.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => home()?.join(".cache"),
    };
    let folder = base.join("routerd");
    std::fs::create_dir_all(&folder)
        .with_context(|| format!("the cache folder {} could not be made", folder.display()))?;
    Ok(folder)
}

/// The user's home folder.
pub fn home() -> Result<PathBuf> {
    std::env::var_os("HOME")
        .map(PathBuf::from)
        .context("HOME is not set, so there is no place for the cache: set it or XDG_CACHE_HOME")
}

/// Cargo's output folder: `$CARGO_TARGET_DIR`, or one in the cache.
pub fn target() -> Result<PathBuf> {
    match std::env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty()) {
        Some(folder) => Ok(workspace().join(folder)),
        None => Ok(cache()?.join("target")),
    }
}

/// The first 16 hex digits of the SHA-256 of some texts: the name of what is made from them.
pub fn fingerprint(parts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part.len().to_be_bytes());
        hasher.update(part.as_bytes());
    }
    hex(&hasher.finalize())[..16].to_owned()
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_tells_apart_where_one_text_ends() {
        assert_ne!(fingerprint(&["ab", "c"]), fingerprint(&["a", "bc"]));
        assert_eq!(fingerprint(&["ab", "c"]), fingerprint(&["ab", "c"]));
        assert_eq!(fingerprint(&[]).len(), 16);
    }

    #[test]
    fn hex_digits_are_lower_case_and_padded() {
        assert_eq!(hex(&[0, 10, 255]), "000aff");
    }
}
