//! The Lease at the API server: the one kube-router's allocator has too, so that never two of either kind give addresses.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use tokio::sync::{mpsc, oneshot, watch};

use super::election::{Election, RENEW_EVERY, RENEWED_WITHIN, Step};
use super::{Candidate, Term};
use crate::cluster::api::{jittered, with_causes};
use crate::cluster::source::SourceMessage;

/// The Lease's name.
const NAME: &str = "kube-router-lballoc";
/// How long the API server may take for it.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

/// Stands for election until `ended`, and then gives the Lease back.
pub(super) async fn run(
    candidate: Candidate,
    mut client: watch::Receiver<Option<Client>>,
    sender: mpsc::Sender<SourceMessage>,
    term: watch::Sender<Option<Term>>,
    mut ended: oneshot::Receiver<()>,
) {
    let client = tokio::select! {
        client = client.wait_for(Option::is_some) => client.ok().and_then(|client| client.clone()),
        _ = &mut ended => None,
    };
    let Some(client) = client else { return };
    let leases = Api::namespaced(client, &candidate.namespace);
    let election = Election::new(candidate.identity.clone());
    let mut desk = Desk { leases, election, candidate, sender, term, number: 0, failing: false };
    loop {
        let wait = desk.turn().await;
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = &mut ended => return desk.give_back().await,
        }
    }
}

struct Desk {
    leases: Api<Lease>,
    election: Election,
    candidate: Candidate,
    sender: mpsc::Sender<SourceMessage>,
    term: watch::Sender<Option<Term>>,
    number: u64,
    failing: bool,
}

impl Desk {
    /// One look, and what follows from it; the time until the next.
    async fn turn(&mut self) -> Duration {
        let started = Instant::now();
        match tokio::time::timeout(PATIENCE, self.attempt()).await {
            Ok(Ok(None)) => {
                self.lead(started);
                self.say(None).await;
                RENEW_EVERY
            }
            Ok(Ok(Some(wait))) => {
                self.follow();
                self.say(None).await;
                wait
            }
            Ok(Err(error)) => self.failed(explain(&error)).await,
            Err(_) => self.failed(format!("no answer within {} s", PATIENCE.as_secs())).await,
        }
    }

    /// `None` if the Lease is ours now, else the time until it is worth another look.
    async fn attempt(&mut self) -> Result<Option<Duration>, Error> {
        let known = self.leases.get_opt(NAME).await?;
        let spec = known.as_ref().and_then(|lease| lease.spec.as_ref());
        let spec = match self.election.step(spec, Instant::now(), Timestamp::now()) {
            Step::Wait(wait) => return Ok(Some(jittered(wait))),
            Step::Write(spec) => spec,
        };
        match self.write(known, spec).await {
            Ok(()) => Ok(None),
            // Another one was faster.
            Err(Error::Api(status)) if status.code == 409 => Ok(Some(jittered(RENEW_EVERY))),
            Err(error) => Err(error),
        }
    }

    async fn write(&self, known: Option<Lease>, spec: LeaseSpec) -> Result<(), Error> {
        let params = PostParams::default();
        if let Some(lease) = known {
            let lease = Lease { spec: Some(spec), ..lease };
            return self.leases.replace(NAME, &params, &lease).await.map(drop);
        }
        let metadata = ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() };
        let lease = Lease { metadata, spec: Some(spec) };
        self.leases.create(&params, &lease).await.map(drop)
    }

    /// Counted from before the request: the server may have taken it at once.
    fn lead(&mut self, started: Instant) {
        if self.term.borrow().is_none() {
            self.number += 1;
            tracing::info!(identity = self.candidate.identity, "this node gives load balancer addresses now");
        }
        self.term.send_replace(Some(Term { number: self.number, until: started + RENEWED_WITHIN }));
    }

    fn follow(&self) {
        let led = self.term.send_if_modified(|term| term.take().is_some());
        if led {
            tracing::warn!("this node gives no load balancer addresses any more: the Lease is not ours");
        }
    }

    async fn failed(&mut self, why: String) -> Duration {
        if self.term.borrow().is_some_and(|term| term.until <= Instant::now()) {
            self.follow();
        }
        self.say(Some(why)).await;
        jittered(RENEW_EVERY)
    }

    /// Said once, however often it fails.
    async fn say(&mut self, why: Option<String>) {
        if self.failing == why.is_some() {
            return;
        }
        self.failing = why.is_some();
        let item = format!("API server, Lease {}/{NAME}", self.candidate.namespace);
        let message = why.map(|why| {
            format!("it is not known who gives load balancer addresses, so this node gives none: {why}; it is tried again")
        });
        // A closed channel is the end of the daemon.
        let _ =
            self.sender.send(SourceMessage::Problems { item, messages: message.into_iter().collect() }).await;
    }

    async fn give_back(&mut self) {
        self.follow();
        let Ok(Some(lease)) = self.leases.get_opt(NAME).await else { return };
        let released = lease.spec.as_ref().and_then(|spec| self.election.released(spec, Timestamp::now()));
        if let Some(spec) = released {
            // If it cannot be given back it expires.
            let _ = self.write(Some(lease), spec).await;
        }
    }
}

fn explain(error: &Error) -> String {
    match error {
        Error::Api(status) if status.code == 403 || status.code == 401 => format!(
            "{}; routerd needs get, create and update of leases in its namespace: see the Role in daemonset/",
            status.message
        ),
        other => with_causes(other),
    }
}
