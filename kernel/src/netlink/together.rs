//! Several requests in one datagram.

use super::socket::Socket;
use super::{Message, flags};
use crate::error::{KernelError, Result};

/// One request, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// What is tried, for the error.
    pub operation: String,
    /// Message type, as `RTM_NEWLINK`.
    pub kind: u16,
    /// Header flags besides `NLM_F_REQUEST` and `NLM_F_ACK`.
    pub flags: u16,
    /// What follows the header.
    pub payload: Vec<u8>,
}

impl Socket {
    /// Sends requests in one system call and returns the answers of each.
    ///
    /// The kernel works on all of them before the call returns, so that a process that is killed has sent all or
    /// none. It does not stop at one that it refuses: each must be harmless when one before it fails. The first
    /// refusal is the error.
    pub fn request_all(&mut self, requests: &[Request]) -> Result<Vec<Vec<Message>>> {
        let Some(first) = requests.first() else { return Ok(Vec::new()) };
        let mut out = Vec::new();
        let mut sequences = Vec::with_capacity(requests.len());
        for request in requests {
            let sequence = self.next_sequence();
            sequences.push(sequence);
            let all_flags = request.flags | flags::REQUEST | flags::ACK;
            Self::append(&mut out, request.kind, all_flags, sequence, &request.payload);
        }
        self.send(&first.operation, &out)?;
        let mut answers = vec![Vec::new(); requests.len()];
        let (mut open, mut refusal) = (requests.len(), None);
        while open > 0 {
            for message in self.receive(&first.operation)? {
                let Some(at) = sequences.iter().position(|one| *one == message.sequence) else { continue };
                let Some(verdict) = Self::verdict(&message) else {
                    answers[at].push(message);
                    continue;
                };
                open -= 1;
                if let Some((errno, detail)) = verdict.refusal {
                    let operation = requests[at].operation.clone();
                    refusal.get_or_insert(KernelError { operation, errno, detail });
                }
            }
        }
        refusal.map_or(Ok(answers), Err)
    }
}
