//! Putting an attachment's elements into the tables, all in one transaction.

use std::net::IpAddr;

use kernel::KernelError;
use kernel::nft::{CommitError, Data, Datum, Element, Nft, Operation, Span, Transaction};
use nix::errno::Errno;

use super::entry::{Entry, HostPort, Part, Placed, elements, own, shared};
use super::scaffold::Scaffold;
use super::{flows, refusal, remove};
use crate::error::{CniError, Code};
use crate::tag::Tag;
use crate::undo::Undo;

/// How often a transaction that others overtook is made anew. Each time somebody else got something done.
const TRIES: usize = 100;

/// Puts `entries` in for the attachment `tag`; with none there is no kernel call.
///
/// Elements of the same keys that are left from earlier attachments of the container, or lead to an address that is
/// this pod's now, are replaced. A port that leads to another pod is an error.
pub fn add(tag: &Tag, entries: &[Entry], undo: &mut Undo) -> Result<(), CniError> {
    if entries.is_empty() {
        return Ok(());
    }
    let (of, made) = (tag.clone(), entries.to_vec());
    undo.push("port mappings and masquerading", move || {
        let parts: Vec<Part> =
            Part::ALL.into_iter().filter(|part| !own(&of, *part, &made).is_empty()).collect();
        remove::remove(&mut Nft::open()?, &of, &parts, &made)
    });
    let mut nft = Nft::open()?;
    let mut attempt = Attempt { tag, entries, elements: elements(tag, entries), stale: Vec::new() };
    let mut base = Transaction::new();
    for _ in 0..TRIES {
        let transaction = attempt.transaction(base);
        let Err(error) = nft.commit(&transaction) else {
            tell(flows::refresh(&mut nft, entries));
            return Ok(());
        };
        base = attempt.learn(&mut nft, &transaction, error)?;
    }
    Err(CniError::new(Code::TRY_AGAIN, "the nf_tables rule set changes too fast")
        .with_details(format!("{TRIES} transactions of this pod were overtaken")))
}

/// The mappings are in force; it is only that clients of an earlier one may have to wait for their flows to end.
fn tell(refreshed: Result<(), KernelError>) {
    if let Err(error) = refreshed {
        eprintln!("routerd-cni: flows to the mapped UDP ports from before stay: {error}");
    }
}

struct Attempt<'a> {
    tag: &'a Tag,
    entries: &'a [Entry],
    elements: Vec<Placed>,
    /// What is in our way and may be taken away.
    stale: Vec<Placed>,
}

impl Attempt<'_> {
    fn transaction(&self, mut transaction: Transaction) -> Transaction {
        for (place, element) in &self.stale {
            transaction.delete_elements(&place.set(), vec![element.clone()]);
        }
        for (place, element) in shared(self.entries) {
            transaction.add_elements(&place.set(), vec![element]);
        }
        for (place, element) in &self.elements {
            transaction.create_elements(&place.set(), vec![element.clone()]);
        }
        transaction
    }

    /// What a refusal teaches: the transaction that the next try begins with.
    fn learn(
        &mut self,
        nft: &mut Nft,
        transaction: &Transaction,
        error: CommitError,
    ) -> Result<Transaction, CniError> {
        let of_elements = |operation: &Operation| {
            matches!(operation, Operation::CreateElements(..) | Operation::AddElements(..))
        };
        let operation = error.operation.and_then(|at| transaction.operations().get(at));
        match operation {
            Some(Operation::CreateElements(set, _, refused)) if error.error.is_exists() => {
                let placed = self.elements.iter().find(|(place, element)| {
                    place.set().name == *set && refused.iter().any(|one| one.span == element.span)
                });
                if let Some(placed) = placed.cloned() {
                    self.make_way(nft, &placed)?;
                }
                // If the tables were to be made too, they are looked at again.
                Ok(Transaction::new())
            }
            // Somebody else has just removed what was in the way.
            Some(Operation::RemoveElements(..)) if error.error.is_not_found() => {
                self.stale.clear();
                Ok(Transaction::new())
            }
            Some(operation) if of_elements(operation) && error.error.is_not_found() => {
                let scaffold = Scaffold::of(self.entries);
                let faults = scaffold.faults(nft, false)?;
                Ok(scaffold.mending(&faults))
            }
            // Somebody else has just made it.
            Some(Operation::CreateTable(_) | Operation::CreateChain(_)) if error.error.is_exists() => {
                Ok(Transaction::new())
            }
            _ if overtaken(&error) => Ok(Transaction::new()),
            _ => Err(refusal::explain(error, operation, self.entries)),
        }
    }

    /// Decides about what has the key that we want.
    fn make_way(&mut self, nft: &mut Nft, (place, wanted): &Placed) -> Result<(), CniError> {
        let Span::Key(key) = &wanted.span else { return Ok(()) };
        let Some(found) = nft.get_element(&place.set(), key)? else { return Ok(()) };
        let holder = found.comment.as_deref().and_then(|comment| comment.parse::<Tag>().ok());
        let ports = self.entries.iter().filter_map(|entry| match entry {
            Entry::HostPort(port) => Some(port),
            _ => None,
        });
        match ports.into_iter().find(|port| port.key() == (*place, key.clone())) {
            Some(port) if !self.may_take(holder.as_ref(), &found) => {
                Err(taken(port, holder.as_ref(), &found))
            }
            // Other keys are an address or a device that is this pod's now.
            _ => {
                self.stale.push((*place, found));
                Ok(())
            }
        }
    }

    fn may_take(&self, holder: Option<&Tag>, found: &Element) -> bool {
        let ours = |address: IpAddr| self.entries.iter().any(|entry| entry.pod_address() == Some(address));
        holder.is_some_and(|holder| holder.container_id() == self.tag.container_id())
            || target(found).is_some_and(ours)
    }
}

/// The address that an element of a mapping leads to.
fn target(element: &Element) -> Option<IpAddr> {
    match element.data.as_ref()? {
        Data::Value(key) => match key.0.first()? {
            Datum::Ip4(address) => Some((*address).into()),
            Datum::Ip6(address) => Some((*address).into()),
            _ => None,
        },
        Data::Verdict(_) => None,
    }
}

fn taken(port: &HostPort, holder: Option<&Tag>, found: &Element) -> CniError {
    let whose = holder.map_or("somebody who left no name".to_owned(), |holder| {
        format!(
            "container {} (interface {}, network {})",
            holder.container_id(),
            holder.ifname(),
            holder.network()
        )
    });
    let to = target(found).map(|address| format!(", it leads to {address}")).unwrap_or_default();
    CniError::new(Code::KERNEL, format!("portMappings: {port} is held by {whose}{to}")).with_details(
        "stop that container or use another hostPort; if it is gone already, DEL or GC for it frees the port",
    )
}

/// A passing condition.
fn overtaken(error: &CommitError) -> bool {
    matches!(error.error.errno, Errno::ERESTART | Errno::EAGAIN | Errno::EINTR)
}
