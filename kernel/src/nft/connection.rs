//! Committing transactions, and what the kernel says to them.

use std::fmt;
use std::time::Duration;

use nix::errno::Errno;

use super::batch::{self, Batch};
use super::identity::Identity;
use super::transaction::{Operation, Transaction};
use super::wire;
use crate::NetNs;
use crate::conntrack::Conntrack;
use crate::error::{KernelError, Result};
use crate::netlink::{AttributeReader, Message, Protocol, Socket};

/// Netlink's default buffers carry this much without being grown.
const SMALL_BATCH: usize = 64 * 1024;
/// `NLMSGERR_ATTR_OFFS`: where in the refused message the bad attribute is.
const OFFSET: u16 = 2;
/// The error number and the header of the message it answers.
const ANSWER_HEADER: usize = 4 + 16;

/// A transaction that the kernel refused; nothing of it was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitError {
    /// The place of the refused operation in the transaction; `None` if it was refused as a whole.
    pub operation: Option<usize>,
    /// Of an operation on elements: the place of the element at fault, if the kernel said which.
    pub element: Option<usize>,
    /// What was tried and why it failed.
    pub error: KernelError,
}

impl fmt::Display for CommitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nf_tables refused the transaction, nothing was changed: {}", self.error)
    }
}

impl std::error::Error for CommitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

impl From<CommitError> for KernelError {
    fn from(error: CommitError) -> Self {
        error.error
    }
}

impl From<KernelError> for CommitError {
    fn from(error: KernelError) -> Self {
        Self { operation: None, element: None, error }
    }
}

/// A connection to nf_tables of one network namespace.
#[derive(Debug)]
pub struct Nft {
    pub(super) socket: Socket,
}

impl Nft {
    /// Connects in the calling thread's network namespace. Changes need CAP_NET_ADMIN there.
    pub fn open() -> Result<Self> {
        Ok(Self { socket: Socket::open(Protocol::Netfilter)? })
    }

    /// Connects in `namespace`, as [`Nft::open`] does in the thread's own.
    pub fn open_in(namespace: &NetNs) -> Result<Self> {
        namespace.run_in(Self::open)?
    }

    /// Connects in the calling thread's network namespace as one of `identity`'s connections.
    pub fn open_as(identity: Identity) -> Result<Self> {
        Ok(Self { socket: identity.socket()? })
    }

    /// Connection tracking over the same socket. Closing a socket of netfilter waits until what was removed last is gone
    /// from every processor, so who has more to do opens no second one.
    pub fn conntrack(&mut self) -> Conntrack<&mut Socket> {
        Conntrack::over(&mut self.socket)
    }

    /// Does all of `transaction` or nothing.
    ///
    /// The error names the operation that the kernel refused. An empty transaction is not sent.
    pub fn commit(&mut self, transaction: &Transaction) -> std::result::Result<(), CommitError> {
        self.commit_since(transaction, None)
    }

    /// Like [`Nft::commit`], but only if the rule set still is of that [`Nft::generation`]; else `ERESTART`.
    ///
    /// For changes that were made up from what was listed: nobody has changed it in between.
    pub fn commit_if(
        &mut self,
        transaction: &Transaction,
        generation: u32,
    ) -> std::result::Result<(), CommitError> {
        self.commit_since(transaction, Some(generation))
    }

    fn commit_since(
        &mut self,
        transaction: &Transaction,
        generation: Option<u32>,
    ) -> std::result::Result<(), CommitError> {
        if transaction.is_empty() {
            return Ok(());
        }
        let what = format!("commit {} nf_tables operation(s)", transaction.len());
        let batch = batch::encode(transaction, generation, || self.socket.next_sequence());
        if batch.bytes.len() > SMALL_BATCH {
            self.socket.grow_buffers(batch.bytes.len())?;
        }
        self.socket.send(&what, &batch.bytes)?;
        self.read_answers(&what, transaction, &batch)
    }

    /// The kernel works on a batch while it is sent, so all answers wait already.
    fn read_answers(
        &mut self,
        what: &str,
        transaction: &Transaction,
        batch: &Batch,
    ) -> std::result::Result<(), CommitError> {
        let (mut refusal, mut acknowledged) = (None, false);
        let last = batch.origins.last().map(|origin| origin.sequence);
        while self.socket.wait(Duration::ZERO)? {
            let answers = match self.socket.receive(what) {
                Ok(answers) => answers,
                // More errors than the buffer holds; the first ones are in it.
                Err(error) if error.errno == Errno::ENOBUFS => continue,
                Err(error) => return Err(error.into()),
            };
            for answer in &answers {
                let Some(verdict) = Socket::verdict(answer) else { continue };
                match verdict.refusal {
                    None => acknowledged |= last == Some(verdict.sequence),
                    Some(cause) if refusal.is_none() => {
                        refusal = named(what, transaction, batch, answer, cause);
                    }
                    Some(_) => {}
                }
            }
        }
        match refusal {
            Some(error) => Err(error),
            None if acknowledged => Ok(()),
            None => Err(KernelError::new(what, Errno::EIO)
                .with_detail("the kernel answered nothing, so it may not have read the batch")
                .into()),
        }
    }

    /// The number that every change of the rule set of this namespace increases, whoever makes it.
    pub fn generation(&mut self) -> Result<u32> {
        let what = "read the nf_tables generation";
        let kind = wire::kind(wire::message::GET_GENERATION);
        let answers = self.socket.request(what, kind, 0, &wire::header(None))?;
        answers
            .iter()
            .filter(|answer| answer.kind == wire::kind(wire::message::NEW_GENERATION))
            .find_map(|answer| AttributeReader::new(answer.payload.get(4..)?).find(1)?.u32_be().ok())
            .ok_or_else(|| KernelError::malformed(what, "no generation in the answer"))
    }
}

/// The error with the name of the operation it is about; `None` if it answers an earlier batch.
fn named(
    what: &str,
    transaction: &Transaction,
    batch: &Batch,
    answer: &Message,
    (errno, detail): (Errno, Option<String>),
) -> Option<CommitError> {
    if answer.sequence == batch.begin {
        return Some(KernelError { operation: what.to_owned(), errno, detail }.into());
    }
    let origin = batch.origins.iter().find(|origin| origin.sequence == answer.sequence)?;
    let operation = &transaction.operations()[origin.operation];
    let element = bad_offset(answer).and_then(|at| batch::element_at(operation, origin.first_element, at));
    let name = match (operation, element) {
        (Operation::AddElements(set, _, elements), Some(at)) => {
            format!("add element {} to {set}", elements[at])
        }
        (Operation::CreateElements(set, _, elements), Some(at)) => {
            format!("create element {} in {set}", elements[at])
        }
        (Operation::RemoveElements(set, _, how, elements), Some(at)) => {
            format!("{how} element {} of {set}", elements[at])
        }
        _ => operation.to_string(),
    };
    let error = KernelError { operation: name, errno, detail };
    Some(CommitError { operation: Some(origin.operation), element, error })
}

fn bad_offset(answer: &Message) -> Option<usize> {
    let attributes = AttributeReader::new(answer.payload.get(ANSWER_HEADER..)?);
    usize::try_from(attributes.find(OFFSET)?.u32().ok()?).ok()
}
