//! Making the socket.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Why the socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen for the CNI plugin on {path}: {operation}: {source}; pods cannot be added until it works"
)]
pub struct ListenError {
    path: PathBuf,
    operation: &'static str,
    source: std::io::Error,
}

/// Makes the folder of `path` (mode 0700) and the socket (mode 0600).
///
/// It is made aside and moved to its name: what an earlier run left there is replaced in one step, so that a plugin
/// that connects meanwhile finds the old or the new one and never nothing.
pub(super) fn listen(path: &Path) -> Result<UnixListener, ListenError> {
    let failed = |operation| move |source| ListenError { path: path.to_owned(), operation, source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed("make its folder"))?;
        fs::set_permissions(folder, Permissions::from_mode(0o700))
            .map_err(failed("close its folder to others"))?;
    }
    let aside = path.with_extension("sock-new");
    match fs::remove_file(&aside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed("remove what an earlier run left")(error));
        }
        _ => {}
    }
    let listener = UnixListener::bind(&aside).map_err(failed("bind"))?;
    fs::set_permissions(&aside, Permissions::from_mode(0o600)).map_err(failed("close it to others"))?;
    fs::rename(&aside, path).map_err(failed("move it to its name"))?;
    Ok(listener)
}
