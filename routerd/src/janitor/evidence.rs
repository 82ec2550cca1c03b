//! Signs of life of attachments, as they are at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use cni_plugin::bandwidth;
use cni_plugin::bridge::host_interface;
use cni_plugin::socket::Attach;
use cni_plugin::tag::Tag;
use kernel::Rtnl;
use kernel::rtnl::{Link, LinkKind};
use serde::Deserialize;
use serde_json::Value;

use super::inventory::{Kind, Thing};
use super::network::Network;
use super::{Settings, places};

/// What the signs say of an attachment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// Its namespace is there, or its device while nothing is known of the namespace.
    Alive,
    /// Its namespace is known and gone.
    Gone,
    /// There is no sign. Its addresses may still answer.
    Unseen,
}

/// The signs of one attachment.
#[derive(Debug, Default)]
struct Signs {
    /// Its namespace, by every account.
    namespaces: BTreeSet<PathBuf>,
    /// Its devices on the node, by every account.
    devices: BTreeSet<String>,
}

/// All signs.
#[derive(Debug)]
pub(super) struct Evidence {
    signs: BTreeMap<Tag, Signs>,
    /// The links of the node.
    pub(super) links: Vec<Link>,
    /// The blocks without a note that no link sends packets to.
    pub(super) unused: Vec<Link>,
    names: BTreeSet<String>,
}

/// What libcni keeps of an attachment (`cniCacheV1`).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Cached {
    container_id: String,
    if_name: String,
    network_name: String,
    netns: PathBuf,
    result: Value,
}

impl Evidence {
    /// Looks everywhere. An error names what could not be seen.
    pub(super) fn gather(settings: &Settings, networks: &[Network]) -> Result<Self, String> {
        let mut rtnl = Rtnl::open().map_err(|error| error.to_string())?;
        let links = rtnl.links().map_err(|error| error.to_string())?;
        let unused = bandwidth::unused(&mut rtnl, &links).map_err(|error| error.to_string())?;
        let names = links.iter().map(|link| link.name.clone()).collect();
        let mut evidence = Self { signs: BTreeMap::new(), links, unused, names };
        for link in evidence.links.iter().filter(|link| link.kind == LinkKind::Veth) {
            if let Ok(tag) = link.alias.parse::<Tag>() {
                evidence.signs.entry(tag).or_default().devices.insert(link.name.clone());
            }
        }
        for content in
            files(&settings.records, |name| Path::new(name).extension().is_some_and(|it| it == "json"))?
        {
            if let Ok(attach) = serde_json::from_slice::<Attach>(&content) {
                evidence.take_record(&attach);
            }
        }
        let ours =
            |name: &str| networks.iter().any(|network| name.starts_with(&format!("{}-", network.name)));
        for content in files(&settings.results, ours)? {
            // One that a power cut has torn tells nothing.
            if let Ok(cached) = serde_json::from_slice::<Cached>(&content) {
                evidence.take_cached(&cached);
            }
        }
        Ok(evidence)
    }

    fn take_record(&mut self, attach: &Attach) {
        let tag = Tag::new(&attach.network, &attach.container_id, &attach.interface);
        let signs = self.signs.entry(tag).or_default();
        signs.namespaces.extend(Some(attach.netns.clone()).filter(|path| !path.as_os_str().is_empty()));
        signs.devices.insert(attach.host_interface.clone());
    }

    fn take_cached(&mut self, cached: &Cached) {
        if cached.container_id.is_empty() || cached.if_name.is_empty() {
            return;
        }
        let tag = Tag::new(&cached.network_name, &cached.container_id, &cached.if_name);
        let signs = self.signs.entry(tag).or_default();
        signs.namespaces.extend(Some(cached.netns.clone()).filter(|path| !path.as_os_str().is_empty()));
        let interfaces = cached.result.get("interfaces").and_then(Value::as_array);
        let on_node = |interface: &&Value| interface["sandbox"].as_str().unwrap_or_default().is_empty();
        let names = interfaces.into_iter().flatten().filter(on_node).filter_map(|one| one["name"].as_str());
        let veths = names.filter(|name| name.starts_with("veth"));
        signs.devices.extend(veths.map(str::to_owned));
    }

    /// True if the signs say that somebody has `thing`.
    pub(super) fn is_alive(&self, thing: &Thing) -> bool {
        match thing.kind {
            Kind::NamelessShaper => self.unused.iter().all(|block| block.index.to_string() != thing.mark),
            _ => self.life_of(&thing.tag) == Life::Alive,
        }
    }

    /// What the signs say of `tag`.
    pub(super) fn life_of(&self, tag: &Tag) -> Life {
        if tag.ifname() == ANY_INTERFACE {
            // A lease of an old version: any interface of its container may hold it.
            let mut all = self.signs.keys().filter(|other| other.container_id() == tag.container_id());
            let alive = all.any(|other| self.life_of(other) == Life::Alive);
            return if alive { Life::Alive } else { Life::Unseen };
        }
        let Some(signs) = self.signs.get(tag) else { return self.by_name(tag) };
        let there: Vec<Option<bool>> = signs.namespaces.iter().map(|path| places::is_there(path)).collect();
        if there.contains(&Some(true)) {
            return Life::Alive;
        }
        if !there.is_empty() && there.iter().all(|one| *one == Some(false)) {
            return Life::Gone;
        }
        if signs.devices.iter().any(|name| self.names.contains(name)) {
            Life::Alive
        } else {
            self.by_name(tag)
        }
    }

    /// By the name that the plugin gives a pod's device. What that is said of may be a shortened tag, which has none.
    fn by_name(&self, tag: &Tag) -> Life {
        let name = host_interface(tag.container_id(), tag.ifname(), 0);
        if self.names.contains(&name) { Life::Alive } else { Life::Unseen }
    }
}

/// Stands for the interface in the tag of a lease that names none. No interface has that name.
pub(super) const ANY_INTERFACE: &str = "*";

/// The contents of the files of `folder` whose names are wanted. A folder that is not there has none.
fn files(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<Vec<u8>>, String> {
    let failed = |error: std::io::Error| {
        format!("cannot read {}, so nothing can be said to be unused: {error}", folder.display())
    };
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut contents = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().to_str().is_some_and(&wanted) {
            continue;
        }
        match fs::read(entry.path()) {
            Ok(content) => contents.push(content),
            // Its pod went while we read.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(contents)
}
