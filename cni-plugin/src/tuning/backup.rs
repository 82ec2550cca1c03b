//! The file with what an interface had before.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::ser::PrettyFormatter;
use serde_json::{Map, Serializer, Value};

use super::interface::Settings;
use crate::config::NetConf;
use crate::error::CniError;
use crate::json::Fields;
use crate::request::Request;
use crate::tag::Tag;

/// Where the files are if the configuration does not say otherwise. They go with a restart of the node, as the
/// interfaces do.
const DEFAULT_FOLDER: &str = "/run/cni/tuning";
/// The key that says whose the file is. The reference plugin does not look at keys it does not know.
pub(super) const OWNER: &str = "owner";

/// The folder of a network's files, which other networks may share.
pub fn folder(conf: &NetConf) -> PathBuf {
    // DEL works with a configuration that is wrong elsewhere, and even here.
    match conf.fields().text_or_empty("dataDir") {
        Ok(path) if !path.is_empty() => path.into(),
        _ => DEFAULT_FOLDER.into(),
    }
}

/// The file of one attachment: `<container id>_<interface>.json`.
#[derive(Debug, Clone)]
pub(super) struct Backup {
    path: PathBuf,
    owner: String,
}

impl Backup {
    pub(super) fn new(request: &Request) -> Self {
        let name = format!("{}_{}.json", request.env.container_id, request.env.ifname);
        Self { path: folder(&request.conf).join(name), owner: Tag::of_request(request).to_string() }
    }

    fn unfinished(&self) -> PathBuf {
        self.path.with_extension("json.tmp")
    }

    /// Writes the file beside its place and moves it there, so that it is never half a file.
    pub(super) fn write(&self, before: &Settings) -> Result<(), CniError> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| {
            CniError::io(format!("failed to create backup directory {}", folder.display()), &error)
        })?;
        let unfinished = self.unfinished();
        fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)
            .and_then(|mut file| file.write_all(&self.encode(before)?))
            .and_then(|()| fs::rename(&unfinished, &self.path))
            .map_err(|error| CniError::io(format!("failed to save file {}", self.path.display()), &error))
    }

    /// The form of the reference plugin: its keys in its order, one space a level.
    fn encode(&self, before: &Settings) -> Result<Vec<u8>, std::io::Error> {
        let mut object = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                object.insert(key.to_owned(), value);
            }
        };
        put("mac", before.mac.map(|mac| mac.to_string().into()));
        put("promisc", before.promiscuous.map(Value::from));
        put("mtu", before.mtu.map(Value::from));
        put("allmulti", before.all_multicast.map(Value::from));
        put("txQLen", before.queue_length.map(Value::from));
        put(OWNER, Some(self.owner.clone().into()));
        let mut bytes = Vec::new();
        let mut serializer = Serializer::with_formatter(&mut bytes, PrettyFormatter::with_indent(b" "));
        serde::Serialize::serialize(&object, &mut serializer)?;
        Ok(bytes)
    }

    /// What the interface had; `None` if nothing was kept or it cannot be read.
    pub(super) fn read(&self) -> Option<Settings> {
        let Value::Object(object) = serde_json::from_slice(&fs::read(&self.path).ok()?).ok()? else {
            return None;
        };
        let fields = Fields::root(&object);
        let flag = |key: &str| fields.get(key).and_then(Value::as_bool);
        let number = |key: &str| fields.number(key, u32::MAX).ok().flatten();
        Some(Settings {
            mac: fields.parsed("mac").ok().flatten(),
            promiscuous: flag("promisc"),
            mtu: number("mtu").filter(|mtu| *mtu != 0),
            all_multicast: flag("allmulti"),
            queue_length: number("txQLen"),
        })
    }

    /// Removes the file.
    pub(super) fn forget(&self) {
        for path in [&self.path, &self.unfinished()] {
            // Not there is what is wanted, and a file that stays does no harm but to be there.
            drop(fs::remove_file(path));
        }
    }
}
