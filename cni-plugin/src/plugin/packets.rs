//! What a pod has in nf_tables: port mappings, masquerading, the check of its frames' sources. All of it is one
//! transaction of an ADD and one of a DEL.

use std::collections::BTreeSet;
use std::net::IpAddr;

use kernel::nft::Nft;
use prefix::Family;

use super::legacy;
use crate::address::{Cidr, Mac};
use crate::bridge;
use crate::config::{BridgeConf, MasqueradeBackend};
use crate::error::{CniError, Code};
use crate::ipam::Owner;
use crate::netfilter::{self, Entry, Part};
use crate::portmap::{self, PortMapConf};
use crate::request::Request;
use crate::result::AddResult;
use crate::tag::Tag;
use crate::undo::Undo;

/// What the configuration asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Packets {
    /// Port mappings.
    pub(super) ports: PortMapConf,
    /// `ipMasq`, in our own table.
    pub(super) masquerade: bool,
    /// `macspoofchk`.
    pub(super) spoof_check: bool,
}

impl Packets {
    /// The same with what `bridge` asks for.
    pub(super) fn of_bridge(self, bridge: &BridgeConf) -> Self {
        // The reference plugin's own table is written when it is asked for by name, see `legacy`.
        let masquerade = bridge.ip_masq && bridge.ip_masq_backend != Some(MasqueradeBackend::Nftables);
        Self { masquerade, spoof_check: bridge.mac_spoof_check, ..self }
    }

    fn entries(&self, request: &Request, result: &AddResult) -> Result<Vec<Entry>, CniError> {
        let addresses = portmap::pod_addresses(result, &request.env.ifname);
        let mut entries = portmap::entries(&self.ports, &addresses);
        if self.masquerade {
            entries.extend(
                addresses
                    .iter()
                    .map(|address| Entry::Masquerade { address: address.address, subnet: address.prefix() }),
            );
        }
        if self.spoof_check {
            entries.extend(spoof_check(request, result)?);
        }
        Ok(entries)
    }

    /// ADD: `result` says which addresses and devices the pod has. What is returned is to be opened when all else is done.
    pub(super) fn add(
        &self,
        request: &Request,
        result: &AddResult,
        undo: &mut Undo,
    ) -> Result<Localnet, CniError> {
        let mut entries = self.entries(request, result)?;
        let device = portmap::localnet_device(&entries)?;
        entries.extend(device.iter().cloned().map(Entry::Localnet));
        netfilter::add(&Tag::of_request(request), &entries, undo)?;
        Ok(Localnet(device))
    }

    /// DEL of some `parts`, by what `prev` says the pod had; if it says nothing, by the addresses `known` of it. The
    /// kernel works on it until `nft` is dropped, see [`netfilter::remove`].
    pub(super) fn del(
        &self,
        nft: &mut Nft,
        request: &Request,
        parts: &[Part],
        prev: &AddResult,
        known: &[IpAddr],
    ) -> Result<(), CniError> {
        let result = if prev.ips.is_empty() { with_addresses(prev, known) } else { prev.clone() };
        // What cannot be told from the result is found by its tag.
        let expected = self.entries(request, &result).unwrap_or_default();
        netfilter::remove(nft, &Tag::of_request(request), parts, &expected)
    }

    /// CHECK: everything is still as ADD made it, ours or that of the reference plugins.
    pub(super) fn check(&self, request: &Request, prev: &AddResult) -> Result<(), CniError> {
        let mut entries = self.entries(request, prev)?;
        let device = portmap::localnet_device(&entries)?;
        entries.extend(device.iter().cloned().map(Entry::Localnet));
        match netfilter::check(&Tag::of_request(request), &entries) {
            Err(error) if error.code != Code::CHECK_FAILED || !legacy::holds(request, &entries)? => {
                Err(error)
            }
            _ => device.map_or(Ok(()), |device| portmap::check_localnet(&device)),
        }
    }
}

/// The device that must carry 127.0.0.0/8, if there is one. The rule that keeps others from using it is there.
#[must_use = "a mapping for 127.0.0.1 works only when it is open"]
pub(super) struct Localnet(Option<String>);

impl Localnet {
    /// The device is shared by pods, so no failed ADD could take it back.
    pub(super) fn open(&self) -> Result<(), CniError> {
        self.0.as_deref().map_or(Ok(()), portmap::open_localnet)
    }
}

/// For a DEL; a kernel without nf_tables has nothing that would have to go.
pub(super) fn open() -> Result<Option<Nft>, CniError> {
    match Nft::open() {
        Err(error) if error.is_unsupported() => Ok(None),
        nft => Ok(Some(nft?)),
    }
}

/// GC: the rules of attachments that are not in `valid` go.
pub(super) fn collect(network: &str, valid: &BTreeSet<Owner>) -> Result<(), CniError> {
    netfilter::collect(&mut Nft::open()?, network, valid).map(drop)
}

fn with_addresses(result: &AddResult, known: &[IpAddr]) -> AddResult {
    let whole = |address: &IpAddr| Cidr::new(*address, Family::of(*address).bits());
    let ips = known.iter().filter_map(whole).map(|address| crate::IpConfig {
        address,
        gateway: None,
        interface: None,
    });
    AddResult { ips: ips.collect(), ..result.clone() }
}

/// The host end's name follows from the attachment, as far as it is not in the result.
fn spoof_check(request: &Request, result: &AddResult) -> Result<Option<Entry>, CniError> {
    let env = &request.env;
    let host_end = |attempt| bridge::host_interface(&env.container_id, &env.ifname, attempt);
    let is_ours = |name: &str| (0..bridge::ATTEMPTS).any(|attempt| host_end(attempt) == name);
    let near = result.interfaces.iter().find(|one| one.sandbox.is_empty() && is_ours(&one.name));
    let far = result.interfaces.iter().find(|one| !one.sandbox.is_empty() && one.name == env.ifname);
    let (Some(near), Some(far)) = (near, far) else { return Ok(None) };
    let mac: Mac = crate::json::parse_text("interfaces[].mac", &far.mac)?;
    Ok(Some(Entry::SpoofCheck { port: near.name.clone(), mac }))
}
