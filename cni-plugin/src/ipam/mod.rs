//! The role `host-local`: addresses from ranges of the configuration, leases in files (reference plugin, v1.9.1).

mod allocate;
mod config;
mod error;
mod folder;
mod fuzzing;
mod index;
mod lease;
mod lock;
mod range;
mod resolv;
mod slot;
mod store;
mod usage;

pub use config::{DEFAULT_DATA_DIR, HostLocalConf};
pub use error::StoreError;
pub(crate) use fuzzing::fuzz_files;
pub use lease::Owner;
pub use range::{Range, RangeSet};
pub use store::Store;
pub use usage::{Usage, usage};

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use nix::unistd::{AccessFlags, access};

use crate::config::NetConf;
use crate::env::Environment;
use crate::error::{CniError, Code};
use crate::request::{Addresses, Ipam, Request};
use crate::result::Dns;
use crate::undo::Undo;

/// How long an operation waits for the lock. A holder needs less than a millisecond, unless it is stopped.
const LOCK_WAIT: Duration = Duration::from_secs(10);

/// Addresses from ranges, leases in files.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostLocal;

/// The attachment of an invocation.
pub fn owner(env: &Environment) -> Owner {
    Owner::new(&env.container_id, &env.ifname)
}

/// The addresses that the request's attachment holds, by what is known at once; none if that cannot be read. An error
/// only if the lock was not got: whoever needs it next would wait as long in vain.
pub fn held(request: &Request) -> Result<Vec<IpAddr>, CniError> {
    let folder = HostLocalConf::folder(&request.conf);
    let store = match Store::open_existing(&folder, LOCK_WAIT) {
        Err(error @ StoreError::Locked { .. }) => return Err(error.into()),
        store => store.ok().flatten(),
    };
    let owner = owner(&request.env);
    let held = store.and_then(|mut store| {
        let held = store.held_by(&owner).ok()?;
        if held.is_empty() { store.held_by(&owner.without_interface()).ok() } else { Some(held) }
    });
    Ok(held.unwrap_or_default())
}

impl Ipam for HostLocal {
    fn reserve(&self, request: &Request, undo: &mut Undo) -> Result<Addresses, CniError> {
        let conf = HostLocalConf::parse(&request.conf)?;
        let requested = request.conf.requested_ips(&request.args)?;
        let dns = conf.resolv_conf.as_deref().map_or(Ok(Dns::default()), resolv::read)?;
        let folder = HostLocalConf::folder(&request.conf);
        let owner = owner(&request.env);
        let ips = {
            let mut store = Store::open(&folder, LOCK_WAIT)?;
            allocate::allocate(&mut store, &conf.sets, &owner, &requested)?
        };
        let addresses: Vec<IpAddr> = ips.iter().map(|ip| ip.address.address).collect();
        undo.push(format!("the leases {addresses:?} in {}", folder.display()), move || {
            Ok(Store::open(&folder, LOCK_WAIT)?.release_addresses(&owner, &addresses)?)
        });
        Ok(Addresses { ips, routes: conf.routes, dns })
    }

    fn release(&self, request: &Request) -> Result<(), CniError> {
        let folder = HostLocalConf::folder(&request.conf);
        if let Some(mut store) = Store::open_existing(&folder, LOCK_WAIT)? {
            store.release(&owner(&request.env))?;
        }
        Ok(())
    }

    /// A lease is there, and one for each address of the result that is of the ranges: of any other, another pod could
    /// be the owner by now.
    fn check(&self, request: &Request) -> Result<(), CniError> {
        let sets = HostLocalConf::parse(&request.conf)?.sets;
        let folder = HostLocalConf::folder(&request.conf);
        let owner = owner(&request.env);
        let held = match Store::open_existing(&folder, LOCK_WAIT)? {
            Some(mut store) => store.made_by(&owner)?.1,
            None => Vec::new(),
        };
        let had =
            request.conf.prev_result()?.unwrap_or_default().ips.into_iter().map(|ip| ip.address.address);
        let lost = had.filter(|address| sets.iter().any(|set| set.range_of(*address).is_some()));
        let lost: Vec<IpAddr> = lost.filter(|address| !held.contains(address)).collect();
        if !held.is_empty() && lost.is_empty() {
            return Ok(());
        }
        let msg = format!("host-local: Failed to find address added by container {}", owner.container_id);
        let details = format!("looked in {}, where its leases are {held:?}", folder.display());
        let missing =
            if lost.is_empty() { String::new() } else { format!("; those of {lost:?} are missing") };
        Err(CniError::new(Code::CHECK_FAILED, msg).with_details(details + &missing))
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        let conf = HostLocalConf::parse(&request.conf)?;
        let folder = HostLocalConf::folder(&request.conf);
        writable(&folder)?;
        if conf.status_checks_addresses { usage::refuse_exhausted(&folder, &conf.sets) } else { Ok(()) }
    }

    fn collect(&self, conf: &NetConf, valid: &BTreeSet<Owner>) -> Result<Vec<Owner>, CniError> {
        let Some(mut store) = Store::open_existing(&HostLocalConf::folder(conf), LOCK_WAIT)? else {
            return Ok(Vec::new());
        };
        let containers: BTreeSet<&str> = valid.iter().map(|owner| owner.container_id.as_str()).collect();
        let mut freed = Vec::new();
        for owner in store.leases()?.into_values().collect::<BTreeSet<Owner>>() {
            // A lease of an old version names no interface: any valid one of its container keeps it.
            let old = owner.ifname.is_empty() && containers.contains(owner.container_id.as_str());
            if !old && !valid.contains(&owner) && !owner.may_be_a_word() {
                store.release(&owner)?;
                freed.push(owner);
            }
        }
        Ok(freed)
    }
}

/// Leases could be written to `folder`, which is made if it is not there: nothing else tells for sure that it can be.
/// Takes no lock, so that STATUS never waits for an ADD.
fn writable(folder: &Path) -> Result<(), CniError> {
    let refused = |reason: String| {
        CniError::new(Code::NOT_READY, format!("leases cannot be written to {}: {reason}", folder.display()))
    };
    std::fs::create_dir_all(folder).map_err(|error| refused(error.to_string()))?;
    access(folder, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|errno| refused(errno.desc().to_owned()))
}
