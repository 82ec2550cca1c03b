//! What the allocator of load balancer addresses needs of the API server: to be the only one, and to write.
//!
//! ```text
//!  Lease ◄──► lease.rs, election.rs: one node of all is the leader     (election.rs is pure)
//!                 │ Term (watch)
//!                 ▼
//!  plane `loadbalancer` ──Request──► ingress.rs: status.loadBalancer of a Service
//! ```

mod election;
mod ingress;
mod lease;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::time::Instant;

use kube::Client;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::objects::{ObjectName, Service};
use super::source::SourceMessage;

/// Requests under way; the allocator waits for each.
const REQUESTS: usize = 1;

/// The time in which this node alone gives addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Term {
    /// Another one each time it begins.
    pub number: u64,
    /// Nothing may be begun after this. It moves on while the Lease is renewed.
    pub until: Instant,
}

/// What is to become of the addresses of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edit {
    /// What it has been decided on; if the Service has others by now, nothing is written.
    pub held: Vec<IpAddr>,
    /// Addresses that go.
    pub remove: Vec<IpAddr>,
    /// Addresses that come.
    pub add: Vec<IpAddr>,
}

/// What became of an [`Edit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Written {
    /// It is at the API server.
    Done,
    /// The API server does not take it, and says why; it may take those of other Services.
    Refused(String),
    /// The Service is another by now, or gone: what the watch tells of it decides anew.
    Outdated,
}

/// Whose Lease it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The namespace of the Lease.
    pub namespace: String,
    /// Who we are among the nodes.
    pub identity: String,
}

#[derive(Debug)]
enum Request {
    List(oneshot::Sender<Result<Vec<Service>, String>>),
    Write(ObjectName, Edit, oneshot::Sender<Result<Written, String>>),
}

/// The allocator's end. It waits for its answers: not for use inside a runtime.
#[derive(Debug, Clone)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
    term: watch::Receiver<Option<Term>>,
}

impl Handle {
    /// The term of this node, if it has one now.
    pub fn term(&self) -> Option<Term> {
        self.term.borrow().filter(|term| Instant::now() < term.until)
    }

    /// Tells when a term begins or ends.
    pub fn terms(&self) -> watch::Receiver<Option<Term>> {
        self.term.clone()
    }

    /// All Services as the API server has them at this moment; the watch may be behind it.
    pub fn services(&self) -> Result<Vec<Service>, String> {
        self.ask(Request::List)
    }

    /// Writes `status.loadBalancer` of a Service.
    pub fn write(&self, service: &ObjectName, edit: &Edit) -> Result<Written, String> {
        self.ask(|reply| Request::Write(service.clone(), edit.clone(), reply))
    }

    fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Request,
    ) -> Result<T, String> {
        let (reply, answer) = oneshot::channel();
        let ending = || "routerd is ending".to_owned();
        self.requests.blocking_send(request(reply)).map_err(|_| ending())?;
        answer.blocking_recv().map_err(|_| ending())?
    }
}

/// The other end, not yet running.
#[derive(Debug)]
pub struct Office {
    candidate: Candidate,
    requests: mpsc::Receiver<Request>,
    term: watch::Sender<Option<Term>>,
}

/// Runs while it is held.
#[derive(Debug)]
pub struct Campaign {
    end: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Campaign {
    /// Gives the Lease back, if it is ours, so that another node need not wait until it expires.
    pub async fn end(self) {
        // Who is gone already has nothing to give back.
        let _ = self.end.send(());
        let _ = tokio::time::timeout(lease::PATIENCE, self.task).await;
    }
}

/// Both ends.
pub fn office(candidate: Candidate) -> (Handle, Office) {
    let ((requests, inbox), term) = (mpsc::channel(REQUESTS), watch::Sender::new(None));
    (Handle { requests, term: term.subscribe() }, Office { candidate, requests: inbox, term })
}

impl Office {
    /// Stands for election and serves the allocator, once there is a client. Must be called inside a runtime.
    pub(super) fn start(
        self,
        client: watch::Receiver<Option<Client>>,
        sender: mpsc::Sender<SourceMessage>,
    ) -> Campaign {
        let (end, ended) = oneshot::channel();
        tokio::spawn(ingress::serve(client.clone(), self.requests));
        let task = tokio::spawn(lease::run(self.candidate, client, sender, self.term, ended));
        Campaign { end, task }
    }
}
