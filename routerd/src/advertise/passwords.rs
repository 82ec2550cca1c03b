//! Passwords in files: the keys of a mounted Secret, and `--peer-router-passwords-file`. They are read again and again, so
//! that a Secret that changes takes effect on its peers, and on no others.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster::Passwords;
use crate::cluster::task::Handle;
use crate::config::{BgpConfig, read_passwords};

/// How often the files are read. The kubelet itself takes up to a minute until it writes a changed Secret.
const EVERY: Duration = Duration::from_secs(1);
/// No password is longer; a file that is, is something else.
const LONGEST: u64 = 4096;

/// Where passwords are.
#[derive(Debug, Clone)]
pub struct Files {
    folder: PathBuf,
    list: Option<PathBuf>,
    peers: usize,
    held: Passwords,
}

impl Files {
    /// The files that flags name.
    pub fn new(bgp: &BgpConfig) -> Self {
        let (folder, list) = (bgp.password_folder.clone(), bgp.passwords_file.clone());
        Self { folder, list, peers: bgp.peers.len(), held: Passwords::default() }
    }

    /// Reads all of them: what they say, if it is other than before.
    pub fn read(&mut self) -> Option<Passwords> {
        let mut problems = Vec::new();
        let by_key = by_key(&self.folder).unwrap_or_else(|error| {
            problems.push(format!("--bgp-password-dir={}: {error}", self.folder.display()));
            self.held.by_key.clone()
        });
        let of_flags = self.list.as_deref().map(|file| list(file, self.peers));
        let of_flags = of_flags.and_then(|list| {
            list.map_err(|error| problems.push(error)).ok().or_else(|| self.held.of_flags.clone())
        });
        let new = Passwords { by_key, of_flags, problems };
        if new == self.held {
            return None;
        }
        self.held.clone_from(&new);
        Some(new)
    }

    /// Reads them until the daemon ends.
    pub async fn watch(mut self, handle: Handle) {
        loop {
            tokio::time::sleep(EVERY).await;
            if let Some(passwords) = self.read() {
                handle.passwords(passwords).await;
            }
        }
    }
}

/// The passwords of a folder; none if it is not there. Names that begin with a dot are the kubelet's own.
fn by_key(folder: &Path) -> io::Result<BTreeMap<String, Vec<u8>>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error),
    };
    let mut found = BTreeMap::new();
    for entry in entries {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // Behind its links: the kubelet's files are some.
        let metadata = fs::metadata(entry.path())?;
        if name.starts_with('.') || !metadata.is_file() || metadata.len() > LONGEST {
            continue;
        }
        found.insert(name, without_line_end(fs::read(entry.path())?));
    }
    Ok(found)
}

/// An editor ends a file with a line end, which is no part of the password.
fn without_line_end(mut secret: Vec<u8>) -> Vec<u8> {
    while secret.last().is_some_and(|last| matches!(last, b'\n' | b'\r')) {
        secret.pop();
    }
    secret
}

fn list(file: &Path, peers: usize) -> Result<Vec<Option<Vec<u8>>>, String> {
    let list = read_passwords(file).map_err(|error| error.to_string())?;
    if list.is_empty() || list.len() == peers {
        return Ok(list);
    }
    Err(format!(
        "--peer-router-passwords-file={}: {} items for {peers} peers; each peer needs one. Those of before hold",
        file.display(),
        list.len()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mounted_secret_is_read_by_key_and_only_what_is_other_than_before_is_told() {
        let folder = tempfile::tempdir().unwrap();
        // As the kubelet writes it: files are links into a folder that is replaced as a whole.
        let write = |version: &str, secret: &str| {
            fs::create_dir(folder.path().join(version)).unwrap();
            fs::write(folder.path().join(version).join("tor"), secret).unwrap();
            let link = folder.path().join("..data_tmp");
            std::os::unix::fs::symlink(version, &link).unwrap();
            fs::rename(link, folder.path().join("..data")).unwrap();
        };
        write("..1", "one\n");
        std::os::unix::fs::symlink("..data/tor", folder.path().join("tor")).unwrap();
        let mut files =
            Files { folder: folder.path().to_owned(), list: None, peers: 0, held: Passwords::default() };
        let by_key = |files: &mut Files| files.read().map(|passwords| passwords.by_key);
        assert_eq!(by_key(&mut files), Some([("tor".to_owned(), b"one".to_vec())].into()));
        assert_eq!(by_key(&mut files), None);
        write("..2", "two");
        assert_eq!(by_key(&mut files), Some([("tor".to_owned(), b"two".to_vec())].into()));
        fs::remove_dir_all(folder.path()).unwrap();
        assert_eq!(by_key(&mut files), Some(BTreeMap::new()));
    }

    #[test]
    fn a_wrong_list_is_said_and_the_one_before_it_holds() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut files = Files {
            folder: "/nonexistent".into(),
            list: Some(file.path().to_owned()),
            peers: 2,
            held: Passwords::default(),
        };
        let write = |text: &str| fs::write(file.path(), text).unwrap();
        write("czNjcmV0,\n");
        let good = Some(vec![Some(b"s3cret".to_vec()), None]);
        let first = files.read().unwrap();
        assert_eq!((first.of_flags, first.problems.len()), (good.clone(), 0));
        for (wrong, why) in [("czNjcmV0", "1 items for 2 peers"), ("czNjcmV0,?", "not base64")] {
            write(wrong);
            let now = files.read().unwrap();
            assert_eq!(now.of_flags, good);
            assert!(now.problems[0].contains(why), "{:?}", now.problems);
        }
    }
}
