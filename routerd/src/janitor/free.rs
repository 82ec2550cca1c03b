//! The last look, and the freeing.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni_plugin::ipam::{Owner, Store};
use cni_plugin::legacy::{self, Attachment};
use cni_plugin::netfilter::{self, Part};
use cni_plugin::tuning;
use kernel::Rtnl;
use kernel::nft::Nft;

use super::evidence::Evidence;
use super::inventory::{self, Kind, Thing};
use super::network::Network;
use super::{Settings, probe};

/// How long the lock of leases is waited for; at the next look it is tried again.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Something that was freed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Freed {
    /// What it is.
    pub(super) kind: Kind,
    /// Its name and whose it was.
    pub(super) name: String,
}

/// Frees those of `due` that have no sign of life even now. What fails is told, and the rest goes on.
pub(super) fn all(
    settings: &Settings,
    networks: &[Network],
    due: Vec<Thing>,
    told: &mut impl FnMut(String),
) -> Vec<Freed> {
    let mut work = Work { settings, networks, freed: Vec::new() };
    let mut by_kind: BTreeMap<Kind, Vec<Thing>> = BTreeMap::new();
    for thing in due {
        by_kind.entry(thing.kind).or_default().push(thing);
    }
    let mut of = |kind| by_kind.remove(&kind).unwrap_or_default();
    let links = [of(Kind::Device), of(Kind::Shaper), of(Kind::NamelessShaper)].concat();
    // Devices first: then nobody answers for an address that is freed after them.
    for outcome in [
        work.links(links),
        work.rules(of(Kind::Rules)),
        work.kept(of(Kind::Kept)),
        work.leases(of(Kind::Lease)),
    ] {
        outcome.unwrap_or_else(&mut *told);
    }
    work.freed
}

struct Work<'a> {
    settings: &'a Settings,
    networks: &'a [Network],
    freed: Vec<Freed>,
}

impl Work<'_> {
    /// The signs of life as they are now.
    fn now(&self) -> Result<Evidence, String> {
        Evidence::gather(self.settings, self.networks)
    }

    fn tell(&mut self, thing: &Thing, name: &str) {
        let (kind, of) = (thing.kind, &thing.tag);
        tracing::info!(kind = kind.as_str(), name, of = %of, "freed what a pod without sign of life left behind");
        self.freed.push(Freed { kind, name: format!("{} {name} of {of}", kind.as_str()) });
    }

    fn links(&mut self, things: Vec<Thing>) -> Result<(), String> {
        if things.is_empty() {
            return Ok(());
        }
        let evidence = self.now()?;
        let mut rtnl = Rtnl::open().map_err(|error| error.to_string())?;
        for thing in things {
            if evidence.is_alive(&thing) {
                continue;
            }
            let note = if thing.kind == Kind::NamelessShaper { String::new() } else { thing.tag.to_string() };
            let is_it =
                |link: &&kernel::rtnl::Link| link.index.to_string() == thing.mark && link.alias == note;
            let Some(link) = evidence.links.iter().find(is_it) else { continue };
            match rtnl.delete_link(link.index) {
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error.to_string()),
                Ok(()) => self.tell(&thing, &link.name),
            }
        }
        Ok(())
    }

    fn rules(&mut self, things: Vec<Thing>) -> Result<(), String> {
        for thing in things {
            if self.now()?.is_alive(&thing) {
                continue;
            }
            let mut nft = Nft::open().map_err(|error| error.to_string())?;
            netfilter::remove(&mut nft, &thing.tag, &Part::ALL, &[]).map_err(|error| error.to_string())?;
            self.tell(&thing, "rules");
        }
        Ok(())
    }

    fn kept(&mut self, things: Vec<Thing>) -> Result<(), String> {
        if things.is_empty() {
            return Ok(());
        }
        let evidence = self.now()?;
        for thing in things {
            let Some(path) = thing.path.clone() else { continue };
            let is_same = inventory::mark(&path).is_some_and(|mark| mark == thing.mark);
            if is_same && !evidence.is_alive(&thing) {
                tuning::forget(&path).map_err(|error| error.to_string())?;
                self.tell(&thing, &path.display().to_string());
            }
        }
        Ok(())
    }

    fn leases(&mut self, things: Vec<Thing>) -> Result<(), String> {
        if things.is_empty() {
            return Ok(());
        }
        let addresses: BTreeSet<IpAddr> =
            things.iter().filter_map(place).map(|(address, _)| address).collect();
        let answered = probe::answering(self.networks, &addresses).map_err(|error| error.to_string())?;
        let mut by_folder: BTreeMap<PathBuf, Vec<(IpAddr, Thing)>> = BTreeMap::new();
        for thing in things {
            if let Some((address, folder)) = place(&thing).filter(|(address, _)| !answered.contains(address))
            {
                by_folder.entry(folder).or_default().push((address, thing));
            }
        }
        by_folder.into_iter().try_for_each(|(folder, leases)| self.folder(&folder, leases))
    }

    /// Frees the leases of one folder under its lock. An ADD whose lease was just about to be freed may make its device
    /// between the look and the release: so it is looked again before the lock is given back, and what lives then has
    /// its lease again, which nobody else can have got meanwhile.
    fn folder(&mut self, folder: &Path, leases: Vec<(IpAddr, Thing)>) -> Result<(), String> {
        let failed = |error: cni_plugin::ipam::StoreError| error.to_string();
        let Some(mut store) = Store::open_existing(folder, LOCK_WAIT).map_err(failed)? else { return Ok(()) };
        let before = self.now()?;
        let mut released = Vec::new();
        for (address, thing) in leases {
            let path = folder.join(address.to_string());
            let is_same = inventory::mark(&path).is_some_and(|mark| mark == thing.mark);
            let Some(owner) = owner(&path).filter(|_| is_same) else { continue };
            if !before.is_alive(&thing) {
                store.release_addresses(&owner, &[address]).map_err(failed)?;
                released.push((address, owner, thing));
            }
        }
        let after = self.now();
        let mut refused = None;
        for (address, owner, thing) in released {
            let alive = after.as_ref().map_or(true, |after| after.is_alive(&thing));
            let gone =
                if alive { Ok(false) } else { reference_rules(folder, &owner, address).map(|()| true) };
            if gone == Ok(true) {
                self.tell(&thing, &address.to_string());
                continue;
            }
            refused = refused.or(gone.err());
            store.reserve(address, &owner).map_err(failed)?;
        }
        after.and(refused.map_or(Ok(()), Err))
    }
}

/// Removes the rules that a reference plugin made for an attachment: its address is free only without them. The folder
/// of leases is called as the network.
fn reference_rules(folder: &Path, owner: &Owner, address: IpAddr) -> Result<(), String> {
    let network = folder.file_name().unwrap_or_default().to_string_lossy();
    let attachment = Attachment { network: &network, owner, addresses: &[address] };
    let mut nft = Nft::open().map_err(|error| error.to_string())?;
    legacy::remove(&mut nft, legacy::Part::All, &attachment).map_err(|error| error.to_string())
}

/// A lease's address and its folder.
pub(super) fn place(thing: &Thing) -> Option<(IpAddr, PathBuf)> {
    let path = thing.path.as_deref()?;
    Some((path.file_name()?.to_str()?.parse().ok()?, path.parent()?.to_owned()))
}

/// The owner as the lease has it; a tag may be shortened.
fn owner(path: &Path) -> Option<Owner> {
    let content = std::fs::read_to_string(path).ok()?;
    let text = content.trim();
    let (id, ifname) = text.split_once("\r\n").unwrap_or((text, ""));
    Some(Owner::new(id, ifname))
}
