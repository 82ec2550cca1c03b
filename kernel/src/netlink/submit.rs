//! Many requests in few system calls, and the outcome of each.

use nix::errno::Errno;

use super::socket::Socket;
use super::{Message, flags};
use crate::error::{KernelError, Result};

/// Requests in one datagram. Should the kernel refuse each of them, its answers (about 1 KiB each) still have room in a
/// receive buffer of 208 KiB.
const TOGETHER: usize = 128;

/// A request of which only the outcome matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Message type, as `RTM_NEWADDR`.
    pub kind: u16,
    /// Header flags besides `NLM_F_REQUEST` and `NLM_F_ACK`.
    pub flags: u16,
    /// What follows the header.
    pub payload: Vec<u8>,
}

/// What became of an order: done, or the kernel's error number and words.
pub type Outcome = std::result::Result<(), (Errno, Option<String>)>;

impl Socket {
    /// Gives orders in their turn and returns the outcome of each. One that is refused does not keep the later ones back.
    ///
    /// The kernel works on the requests of a datagram before the system call that sends it returns, and answers what
    /// it refuses whether asked or not. So only the last one asks for an acknowledgement, which says that no refusal
    /// is still to come: two system calls for all of a datagram.
    pub fn submit(&mut self, orders: impl IntoIterator<Item = Order>) -> Vec<Outcome> {
        let mut orders = orders.into_iter();
        let mut outcomes = Vec::new();
        loop {
            let some: Vec<Order> = orders.by_ref().take(TOGETHER).collect();
            if some.is_empty() {
                return outcomes;
            }
            outcomes.extend(self.submit_datagram(&some));
        }
    }

    fn submit_datagram(&mut self, orders: &[Order]) -> Vec<Outcome> {
        let mut bytes = Vec::new();
        let mut sequences = Vec::with_capacity(orders.len());
        for (at, order) in orders.iter().enumerate() {
            let sequence = self.next_sequence();
            sequences.push(sequence);
            let last = if at + 1 == orders.len() { flags::ACK } else { 0 };
            let flag_bits = order.flags | flags::REQUEST | last;
            Message::write(&mut bytes, order.kind, flag_bits, sequence, &order.payload);
        }
        let mut outcomes = vec![Ok(()); orders.len()];
        if let Err(error) = self.exchange(&bytes, &sequences, &mut outcomes) {
            // Nobody knows what of it was done.
            let lost = Err((error.errno, error.detail));
            outcomes
                .iter_mut()
                .filter(|outcome| outcome.is_ok())
                .for_each(|outcome| outcome.clone_from(&lost));
        }
        outcomes
    }

    /// Sends a datagram and reads refusals until the verdict on its last request.
    fn exchange(&mut self, bytes: &[u8], sequences: &[u32], outcomes: &mut [Outcome]) -> Result<()> {
        let operation = "send several netlink requests";
        self.send(operation, bytes)?;
        loop {
            for message in self.receive(operation)? {
                let Some(verdict) = Self::verdict(&message) else { continue };
                let Some(at) = sequences.iter().position(|one| *one == verdict.sequence) else { continue };
                let place =
                    outcomes.get_mut(at).ok_or_else(|| KernelError::new(operation, Errno::EBADMSG))?;
                *place = verdict.refusal.map_or(Ok(()), Err);
                if at + 1 == sequences.len() {
                    return Ok(());
                }
            }
        }
    }
}
