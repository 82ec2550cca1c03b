//! What attachments of our networks have on this node.

use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use cni_plugin::ipam::Owner;
use cni_plugin::netfilter;
use cni_plugin::tag::Tag;
use cni_plugin::tuning;
use kernel::nft::Nft;
use kernel::rtnl::LinkKind;

use super::evidence::{ANY_INTERFACE, Evidence};
use super::network::Network;

/// A kind of thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// A pod's device on the node.
    Device,
    /// What shapes a pod's traffic.
    Shaper,
    /// One that says not whose it is.
    NamelessShaper,
    /// Elements of the plugin's nf_tables.
    Rules,
    /// A leased address.
    Lease,
    /// What `tuning` keeps of a pod's interface.
    Kept,
}

impl Kind {
    /// The word of the metric.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Shaper | Self::NamelessShaper => "ifb",
            Self::Rules => "netfilter",
            Self::Lease => "lease",
            Self::Kept => "tuning",
        }
    }
}

/// A thing of an attachment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Thing {
    /// What it is.
    pub(super) kind: Kind,
    /// Whose it is.
    pub(super) tag: Tag,
    /// The file of what is one.
    pub(super) path: Option<PathBuf>,
    /// Tells it from another of the same name: the inode and time of a file, the index of a link.
    pub(super) mark: String,
}

/// Everything of `networks`. What cannot be listed is told, and the rest is listed.
pub(super) fn list(networks: &[Network], evidence: &Evidence, told: &mut impl FnMut(String)) -> Vec<Thing> {
    let mut things = Vec::new();
    for network in networks {
        for folder in &network.leases {
            match leases(&network.name, folder) {
                Ok(found) => things.extend(found),
                Err(error) => told(format!("cannot read the leases in {}: {error}", folder.display())),
            }
        }
        for folder in &network.kept {
            match tuning::kept(folder) {
                Ok(found) => things.extend(kept(network, found)),
                Err(error) => told(error.to_string()),
            }
        }
    }
    let ours = |tag: &Tag| networks.iter().any(|network| tag.is_in(&network.name));
    match Nft::open().map_err(Into::into).and_then(|mut nft| netfilter::tags(&mut nft)) {
        Ok(tags) => things.extend(tags.into_iter().filter(ours).map(|tag| Thing {
            kind: Kind::Rules,
            tag,
            path: None,
            mark: String::new(),
        })),
        Err(error) => told(format!("cannot read the rules of pods: {error}")),
    }
    for link in &evidence.links {
        let kind = match link.kind {
            LinkKind::Veth => Kind::Device,
            LinkKind::Ifb => Kind::Shaper,
            _ => continue,
        };
        if let Some(tag) = link.alias.parse().ok().filter(ours) {
            things.push(Thing { kind, tag, path: None, mark: link.index.to_string() });
        }
    }
    if let Some(network) = networks.first() {
        things.extend(evidence.unused.iter().map(|block| Thing {
            kind: Kind::NamelessShaper,
            tag: Tag::new(&network.name, ANY_CONTAINER, ANY_INTERFACE),
            path: None,
            mark: block.index.to_string(),
        }));
    }
    things
}

/// Stands for the container of what does not name one. No container has that id.
const ANY_CONTAINER: &str = "*";

fn kept(network: &Network, found: Vec<(PathBuf, Tag)>) -> impl Iterator<Item = Thing> {
    let ours = found.into_iter().filter(|(_, tag)| tag.is_in(&network.name));
    ours.filter_map(|(path, tag)| {
        let mark = mark(&path)?;
        Some(Thing { kind: Kind::Kept, tag, path: Some(path), mark })
    })
}

/// The leases in `folder`, read without the lock. A torn one is nobody's and repaired by the next who holds the lock.
pub(super) fn leases(network: &str, folder: &Path) -> std::io::Result<Vec<Thing>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_none_or(|name| name.parse::<IpAddr>().is_err()) {
            continue;
        }
        let path = entry.path();
        let (Ok(content), Some(mark)) = (fs::read_to_string(&path), mark(&path)) else { continue };
        if let Some(tag) = owner(network, &content) {
            found.push(Thing { kind: Kind::Lease, tag, path: Some(path), mark });
        }
    }
    Ok(found)
}

/// Tells a file from another of the same name that comes after it.
pub(super) fn mark(path: &Path) -> Option<String> {
    let metadata = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
    Some(format!("{} {}.{}", metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}

/// `None` also for what an administrator may have written to keep the address free.
fn owner(network: &str, content: &str) -> Option<Tag> {
    let text = content.trim();
    if Owner::new(text, "").may_be_a_word() && !text.contains("\r\n") {
        return None;
    }
    let (id, ifname) = text.split_once("\r\n").unwrap_or((text, ANY_INTERFACE));
    let whole = cni_plugin::env::is_identifier(id) && !ifname.is_empty() && !ifname.contains(['/', '\0']);
    whole.then(|| Tag::new(network, id, ifname))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_are_known_by_their_content_and_what_is_none_is_left_out() {
        let (folder, old) = (tempfile::tempdir().unwrap(), "0ab1".repeat(16));
        for (name, content) in [
            ("10.1.0.2", "c1\r\neth0"),
            ("10.1.0.3", old.as_str()),
            ("10.1.0.4", ""),
            ("10.1.0.6", "printer"),
            ("10.1.0.5", "kept for the printer"),
            ("fd00::2", "c1\r\neth0"),
            ("lock", "c1\r\neth0"),
        ] {
            fs::write(folder.path().join(name), content).unwrap();
        }
        let mut found = leases("n", folder.path()).unwrap();
        found.sort();
        let of: Vec<String> = found.iter().map(|thing| thing.tag.to_string()).collect();
        let old = Tag::new("n", &old, ANY_INTERFACE).to_string();
        assert_eq!(of, [old.as_str(), "routerd-cni:n/c1/eth0", "routerd-cni:n/c1/eth0"]);
        assert!(leases("n", Path::new("/nonexistent")).unwrap().is_empty());
    }
}
