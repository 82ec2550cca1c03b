//! Taking an attachment's elements out of the tables.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use kernel::KernelError;
use kernel::nft::{Data, Datum, Element, Nft, Span, Transaction};

use super::entry::{Entry, Part, Placed, own};
use super::flows::{self, Mapping};
use super::layout::Place;
use super::scaffold;
use crate::error::CniError;
use crate::ipam::Owner;
use crate::tag::Tag;

/// How often a removal that others overtook is made anew.
const TRIES: usize = 100;

/// Takes away the `parts` of the attachment `tag`; nothing there is success.
///
/// `expected` is what it should have, as far as it is known. If that is all there is, the rest of the tables is not
/// read; if not, or if it is empty, everything is looked through.
///
/// The kernel goes on working on a removal for some ten milliseconds, until every processor has left the old rules; who
/// drops `nft` waits for the rest of that. So other work that waits, as the removal of the pod's device does, belongs
/// in between.
pub fn remove(nft: &mut Nft, tag: &Tag, parts: &[Part], expected: &[Entry]) -> Result<(), CniError> {
    for attempt in 1.. {
        let found = of_parts(nft, tag, parts, expected)?;
        match delete(nft, &found) {
            // Another DEL of the same was faster.
            Err(error) if error.is_not_found() && attempt < TRIES => {}
            outcome => {
                outcome?;
                flows::forget(nft, &mappings(&found));
                break;
            }
        }
    }
    Ok(())
}

/// GC: takes away everything of attachments to `network` that are not in `valid`, and tells whose that was. Chains
/// that are not needed any more go too, and what somebody broke is mended.
pub fn collect(nft: &mut Nft, network: &str, valid: &BTreeSet<Owner>) -> Result<BTreeSet<Tag>, CniError> {
    let valid: BTreeSet<Tag> = valid.iter().map(|owner| Tag::of(network, owner)).collect();
    let mut freed = BTreeSet::new();
    for attempt in 1.. {
        let found = matching(nft, |_| true, |tag| tag.is_in(network) && !valid.contains(tag))?;
        match delete(nft, &found) {
            Err(error) if error.is_not_found() && attempt < TRIES => continue,
            outcome => outcome?,
        }
        flows::forget(nft, &mappings(&found));
        freed.extend(found.iter().filter_map(|(_, element)| tag_of(element)));
        break;
    }
    tidy(nft)?;
    Ok(freed)
}

/// Removes chains that no pod needs any more and mends what somebody broke in the tables that are there: sets, chains
/// and rules that all pods share, not the elements of one. Tells what was wrong. Nothing is written where nothing is.
pub fn tidy(nft: &mut Nft) -> Result<Vec<String>, CniError> {
    match scaffold::tidy(nft) {
        Err(error) if is_absent(&error) => Ok(Vec::new()),
        outcome => Ok(outcome?),
    }
}

/// Whose elements are in the tables, of all networks.
pub fn tags(nft: &mut Nft) -> Result<BTreeSet<Tag>, CniError> {
    let all = matching(nft, |_| true, |_| true)?;
    Ok(all.iter().filter_map(|(_, element)| tag_of(element)).collect())
}

/// The elements of the attachment, those in [`Place::Attachments`] too.
fn of_parts(
    nft: &mut Nft,
    tag: &Tag,
    parts: &[Part],
    expected: &[Entry],
) -> Result<Vec<Placed>, KernelError> {
    let (mut found, mut unclear) = (Vec::new(), Vec::new());
    for part in parts {
        let index = match nft.get_element(&Place::Attachments.set(), &part.index_key(tag)) {
            Err(error) if is_absent(&error) => None,
            index => index?,
        };
        // An ADD writes it together with all others: without it there are none.
        let Some(index) = index.filter(|index| tag_of(index).as_ref() == Some(tag)) else { continue };
        let known = known(nft, tag, *part, expected)?;
        if index.data == u32::try_from(known.len()).ok().map(|count| Data::Value(count.into())) {
            found.extend(known);
        } else {
            unclear.push(*part);
        }
        found.push((Place::Attachments, index));
    }
    if !unclear.is_empty() {
        let places = |place| Part::of(place).is_some_and(|part| unclear.contains(&part));
        found.extend(matching(nft, places, |found| found == tag)?);
    }
    Ok(found)
}

/// Those of the elements that are expected which are there and the attachment's.
fn known(nft: &mut Nft, tag: &Tag, part: Part, expected: &[Entry]) -> Result<Vec<Placed>, KernelError> {
    let mut known = Vec::new();
    for (place, element) in own(tag, part, expected) {
        let Span::Key(key) = &element.span else { continue };
        let there = nft.get_element(&place.set(), key)?.filter(|one| tag_of(one).as_ref() == Some(tag));
        known.extend(there.map(|there| (place, there)));
    }
    Ok(known)
}

/// All elements in `places` of attachments that `wanted` takes.
fn matching(
    nft: &mut Nft,
    places: impl Fn(Place) -> bool,
    wanted: impl Fn(&Tag) -> bool,
) -> Result<Vec<Placed>, KernelError> {
    let mut found = Vec::new();
    for place in Place::ALL.into_iter().filter(|place| places(*place)) {
        let all = match nft.list_elements(&place.set()) {
            Err(error) if error.is_not_found() || is_absent(&error) => continue,
            all => all?,
        };
        let ours = all.into_iter().filter(|element| tag_of(element).is_some_and(|tag| wanted(&tag)));
        found.extend(ours.map(|element| (place, element)));
    }
    Ok(found)
}

fn delete(nft: &mut Nft, found: &[Placed]) -> Result<(), KernelError> {
    let mut transaction = Transaction::new();
    for (place, element) in found {
        transaction.delete_elements(&place.set(), vec![element.clone()]);
    }
    Ok(nft.commit(&transaction)?)
}

pub(super) fn tag_of(element: &Element) -> Option<Tag> {
    element.comment.as_deref()?.parse().ok()
}

/// The port mappings among elements.
fn mappings(found: &[Placed]) -> Vec<Mapping> {
    found.iter().filter_map(|(place, element)| mapping(*place, element)).collect()
}

fn mapping(place: Place, element: &Element) -> Option<Mapping> {
    let (Span::Key(key), Some(Data::Value(value))) = (&element.span, &element.data) else { return None };
    let (address, protocol, port) = match (place, key.0.as_slice()) {
        (Place::HostPorts(_), [Datum::Byte(protocol), Datum::Port(port)]) => (None, *protocol, *port),
        (Place::HostPortsAt(_), [address, Datum::Byte(protocol), Datum::Port(port)]) => {
            (address_of(address), *protocol, *port)
        }
        _ => return None,
    };
    let [target, Datum::Port(target_port)] = value.0.as_slice() else { return None };
    let target = SocketAddr::new(address_of(target)?, *target_port);
    Some(Mapping { address, protocol, port, target })
}

fn address_of(datum: &Datum) -> Option<std::net::IpAddr> {
    match datum {
        Datum::Ip4(address) => Some((*address).into()),
        Datum::Ip6(address) => Some((*address).into()),
        _ => None,
    }
}

/// A kernel without nf_tables, or without its part for bridges, has nothing of ours.
fn is_absent(error: &KernelError) -> bool {
    error.is_unsupported() || error.is_invalid()
}
