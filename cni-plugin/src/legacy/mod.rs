//! What the reference plugins made in nf_tables: removed when their pods go, because running pods survive a swap of
//! the plugin. The layouts are theirs (containernetworking/plugins 1.1 to 1.9).
//!
//! | table | made by | found by |
//! | --- | --- | --- |
//! | `ip nat`, `ip6 nat` | ipMasq and portmap through iptables-nft | chains whose names are a hash of network and container |
//! | `ip cni_hostport`, `ip6 cni_hostport` | portmap's backend `nftables` | rules whose comment is the container's id |
//! | `inet cni_plugins_masquerade` | ipMasq's backend `nftables` (and we, when it is asked for by name) | rules whose comment begins with hashes |
//! | `bridge nat` | macspoofchk | chains named by container and interface |
//!
//! A node that has none of these tables pays one listing of table names. Chains are asked for by name and rules are
//! listed chain by chain, so that a node with thousands of rules of others in `ip nat` pays no more. Only rules and
//! chains of the one container are deleted, by handle and name; rules of others, and the chains all containers share,
//! stay as they are, and iptables goes on reading its tables. Rules of the old `iptables-legacy` are in another part of
//! the kernel, which nf_tables cannot see.

mod hostport;
mod iptables;
pub mod masquerade;
mod names;
mod presence;
mod spoof;

pub use presence::holds;

use std::collections::BTreeSet;
use std::net::IpAddr;

use kernel::nft::{CommitError, ListedTable, Nft, TableFamily, TableName, Transaction};

use crate::error::CniError;
use crate::ipam::Owner;

/// How often a removal is tried when others change the same tables at the same time.
const TRIES: usize = 10;

/// What of an attachment is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Everything.
    All,
    /// Port mappings: another plugin of the chain made the rest, and will remove it.
    PortMappings,
}

/// One attachment of which everything goes.
#[derive(Debug, Clone, Copy)]
pub struct Attachment<'a> {
    /// The network's name.
    pub network: &'a str,
    /// Container and interface.
    pub owner: &'a Owner,
    /// Its addresses, as far as they are known. Rules that name no interface, but an address of another attachment of
    /// the same container, then stay.
    pub addresses: &'a [IpAddr],
}

/// The attachments of a network that stay.
#[derive(Clone, Copy)]
pub struct Stay<'a> {
    /// The network's name.
    pub network: &'a str,
    /// Those that are valid. One without an interface stands for all of its container.
    pub valid: &'a BTreeSet<Owner>,
    /// True for an address of this network's ranges: rules of portmap name no network.
    pub inside: &'a dyn Fn(IpAddr) -> bool,
}

impl Stay<'_> {
    fn has_container(&self, id: &str) -> bool {
        self.valid.iter().any(|owner| owner.container_id == id)
    }
}

/// A layout of the reference plugins, with its table.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Layout {
    Iptables(TableName),
    HostPort(TableName),
    Masquerade(TableName),
    Spoof(TableName),
}

impl Layout {
    fn of(table: TableName) -> Option<Self> {
        match (table.family, table.name.as_str()) {
            (TableFamily::Ip4 | TableFamily::Ip6, "nat") => Some(Self::Iptables(table)),
            (TableFamily::Ip4 | TableFamily::Ip6, "cni_hostport") => Some(Self::HostPort(table)),
            (TableFamily::Inet, masquerade::TABLE) => Some(Self::Masquerade(table)),
            (TableFamily::Bridge, "nat") => Some(Self::Spoof(table)),
            _ => None,
        }
    }
}

/// Removes what the reference plugins made for an attachment; nothing there is success.
pub fn remove(nft: &mut Nft, part: Part, attachment: &Attachment<'_>) -> Result<(), CniError> {
    repeat(nft, |nft, layout, out| match layout {
        Layout::Iptables(table) => iptables::remove(nft, table, part, attachment, out),
        Layout::HostPort(table) => hostport::remove(nft, table, attachment, out),
        Layout::Masquerade(_) | Layout::Spoof(_) if part == Part::PortMappings => Ok(()),
        Layout::Masquerade(table) => masquerade::remove(nft, table, attachment, out),
        Layout::Spoof(table) => spoof::remove(nft, table, attachment, out),
    })
    .map(|_| ())
}

/// GC: removes what the reference plugins made for attachments of the network that do not stay, and tells how many
/// rules and chains that were.
pub fn collect(nft: &mut Nft, stay: &Stay<'_>) -> Result<usize, CniError> {
    repeat(nft, |nft, layout, out| match layout {
        Layout::Iptables(table) => iptables::collect(nft, table, stay, out),
        Layout::HostPort(table) => hostport::collect(nft, table, stay, out),
        Layout::Masquerade(table) => masquerade::collect(nft, table, stay, out),
        Layout::Spoof(table) => spoof::collect(nft, table, stay, out),
    })
}

/// Looks and commits; looks again when a table was changed in between.
fn repeat(
    nft: &mut Nft,
    mut look: impl FnMut(&mut Nft, &Layout, &mut Transaction) -> Result<(), CniError>,
) -> Result<usize, CniError> {
    for _ in 1..TRIES {
        match once(nft, &mut look)? {
            Ok(removed) => return Ok(removed),
            // A rule went meanwhile, or a chain got another user.
            Err(error) if error.error.is_not_found() || error.error.is_transient() => {}
            Err(error) => return Err(refused(error)),
        }
    }
    once(nft, &mut look)?.map_err(refused)
}

fn refused(error: CommitError) -> CniError {
    CniError::from(error.error).context("remove what a reference plugin made")
}

fn once(
    nft: &mut Nft,
    look: &mut impl FnMut(&mut Nft, &Layout, &mut Transaction) -> Result<(), CniError>,
) -> Result<Result<usize, CommitError>, CniError> {
    let tables = match nft.list_tables() {
        // A kernel without nf_tables has none.
        Err(error) if error.is_invalid() || error.is_unsupported() => Vec::new(),
        tables => tables?,
    };
    let mut out = Transaction::new();
    for layout in tables.into_iter().filter_map(|ListedTable { table, .. }| Layout::of(table.name)) {
        look(nft, &layout, &mut out)?;
    }
    Ok(nft.commit(&out).map(|()| out.len()))
}
