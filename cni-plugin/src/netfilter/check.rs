//! CHECK: the kernel has what an ADD put in, and the rules that make it work.

use kernel::nft::{Nft, Span};

use super::entry::{Entry, Placed, elements, shared};
use super::scaffold::Scaffold;
use crate::error::{CniError, Code};
use crate::tag::Tag;

/// Everything of `entries` is in the tables, is the attachment's own, and the rules are as they were made.
pub fn check(tag: &Tag, entries: &[Entry]) -> Result<(), CniError> {
    if entries.is_empty() {
        return Ok(());
    }
    let mut nft = Nft::open()?;
    let faults = Scaffold::of(entries).faults(&mut nft, true)?;
    if let Some(fault) = faults.first() {
        return Err(failed(entries, &fault.text()));
    }
    for wanted in elements(tag, entries) {
        if !holds(&mut nft, &wanted, true)? {
            return Err(failed(entries, &text(&wanted)));
        }
    }
    for wanted in shared(entries) {
        if !holds(&mut nft, &wanted, false)? {
            return Err(failed(entries, &text(&wanted)));
        }
    }
    Ok(())
}

fn holds(nft: &mut Nft, (place, wanted): &Placed, whole: bool) -> Result<bool, CniError> {
    let Span::Key(key) = &wanted.span else { return Ok(true) };
    let found = nft.get_element(&place.set(), key)?;
    Ok(found.is_some_and(|found| !whole || found == *wanted))
}

fn text((place, element): &Placed) -> String {
    format!("element {element} of {} is not there or is another pod's", place.set().name)
}

fn failed(entries: &[Entry], what: &str) -> CniError {
    let key = entries.first().map_or("portMappings", Entry::key);
    CniError::new(Code::CHECK_FAILED, format!("{key}: {what}")).with_details(
        "somebody changed the table; the pod must be made anew, or wait for routerd to mend the rules",
    )
}
