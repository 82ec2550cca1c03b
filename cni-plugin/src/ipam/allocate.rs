//! Choosing an address of every pool for one attachment.

use std::collections::HashSet;
use std::net::IpAddr;

use super::lease::Owner;
use super::range::{Range, RangeSet};
use super::store::Store;
use crate::error::{CniError, Code};
use crate::result::IpConfig;

/// After so many taken addresses in a row the folder is read once, so that a nearly full range does not cost a system
/// call an address.
const PATIENCE: usize = 32;

/// Reserves one address of every pool in `sets` for `owner`: one of `requested` where it lies in the pool, else the
/// next free one. When it fails, nothing of it stays reserved.
pub(super) fn allocate(
    store: &mut Store,
    sets: &[RangeSet],
    owner: &Owner,
    requested: &[IpAddr],
) -> Result<Vec<IpConfig>, CniError> {
    let mut ips = Vec::with_capacity(sets.len());
    let outcome = take_all(store, sets, owner, requested, &mut ips);
    let Err(error) = outcome else { return Ok(ips) };
    let taken: Vec<IpAddr> = ips.iter().map(|ip| ip.address.address).collect();
    match store.release_addresses(owner, &taken) {
        Ok(()) => Err(error),
        Err(stays) => Err(error.with_details(format!("could not release {taken:?}: {stays}"))),
    }
}

fn take_all(
    store: &mut Store,
    sets: &[RangeSet],
    owner: &Owner,
    requested: &[IpAddr],
    ips: &mut Vec<IpConfig>,
) -> Result<(), CniError> {
    let mut before = store.held_by(owner)?;
    if before.is_empty() {
        // A lease of an old version is of any interface.
        before = store.held_by(&owner.without_interface())?;
    }
    let mut asked = requested.to_vec();
    for (index, set) in sets.iter().enumerate() {
        let wanted = asked.iter().position(|ip| set.range_of(*ip).is_some()).map(|at| asked.remove(at));
        let mut pool = Pool { store, set, index, owner, before: &before };
        let taken = match wanted {
            Some(address) => pool.take_requested(address),
            None => pool.take_next(),
        };
        ips.push(taken.map_err(|error| error.context(format!("failed to allocate for range {index}")))?);
    }
    if asked.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = asked.iter().map(ToString::to_string).collect();
    Err(CniError::config(format!("failed to allocate all requested IPs: {}", list.join(" "))).with_details(
        "a set of ipam.ranges gives a pod one address, and no further one holds what CNI_ARGS, args.cni.ips or \
         runtimeConfig.ips asks for",
    ))
}

/// One pool while an address is chosen from it.
struct Pool<'a> {
    store: &'a mut Store,
    set: &'a RangeSet,
    index: usize,
    owner: &'a Owner,
    /// What the owner held before this ADD.
    before: &'a [IpAddr],
}

impl<'a> Pool<'a> {
    fn refuse_duplicate(&self) -> Result<(), CniError> {
        let Some(held) = self.before.iter().find(|held| self.set.range_of(**held).is_some()) else {
            return Ok(());
        };
        let id = &self.owner.container_id;
        let msg = format!("{held} has been allocated to {id}, duplicate allocation is not allowed");
        Err(CniError::new(Code::EXISTS, msg).with_details("call DEL first"))
    }

    fn take_requested(&mut self, address: IpAddr) -> Result<IpConfig, CniError> {
        let set = self.set;
        let Some(range) = set.range_of(address) else {
            return Err(CniError::config(format!(
                "requested IP address {address} is not in range set {set}"
            )));
        };
        if range.gateway == address {
            return Err(CniError::config(format!("requested ip {address} is subnet's gateway")));
        }
        if !self.before.contains(&address) {
            self.refuse_duplicate()?;
        }
        if !self.store.reserve(address, self.owner)? {
            return Err(CniError::new(
                Code::TRY_AGAIN,
                format!("requested IP address {address} is not available in range set {set}"),
            ));
        }
        self.store.set_last_reserved(self.index, address);
        ip_config(range, address)
    }

    fn take_next(&mut self) -> Result<IpConfig, CniError> {
        self.refuse_duplicate()?;
        let mut found = self.first_free()?;
        // Empty or torn leases are only looked for when they are in the way.
        if found.is_none() && self.store.repair()? {
            found = self.first_free()?;
        }
        let Some((address, range)) = found else {
            let msg = format!("no IP addresses available in range set: {}", self.set);
            return Err(CniError::new(Code::TRY_AGAIN, msg).with_details("every address of it is leased"));
        };
        self.store.set_last_reserved(self.index, address);
        ip_config(range, address)
    }

    fn first_free(&mut self) -> Result<Option<(IpAddr, &'a Range)>, CniError> {
        let set = self.set;
        let last = self.store.last_reserved(self.index);
        let mut taken = HashSet::new();
        for (tried, (address, range)) in set.candidates(last).enumerate() {
            if tried == PATIENCE {
                taken = self.store.taken()?;
            }
            if !taken.contains(&address) && self.store.reserve(address, self.owner)? {
                return Ok(Some((address, range)));
            }
        }
        Ok(None)
    }
}

fn ip_config(range: &Range, address: IpAddr) -> Result<IpConfig, CniError> {
    let address = range.with_length(address).ok_or_else(|| {
        CniError::new(Code::INTERNAL, format!("{address} does not fit its subnet {}", range.subnet))
    })?;
    Ok(IpConfig { address, gateway: Some(range.gateway), interface: None })
}
