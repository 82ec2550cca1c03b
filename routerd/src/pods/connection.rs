//! One plugin that speaks to us: one request, one reply.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cni_plugin::Code;
use cni_plugin::socket::{self, Attach, FrameError, HEADER, Reply, Request, encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;

use super::Pods;
use super::leases;
use super::refusal::{Reason, Refusal, error};
use super::registry::Message;
use super::status::{Board, refused};

/// How long a plugin may take to say what it wants, and to take the answer. It does both in microseconds.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);

/// What a connection needs of the server. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Service<P> {
    pub(super) pods: P,
    pub(super) registry: mpsc::Sender<Message>,
    pub(super) board: Board,
    /// Places for plugins that wait for their answer.
    pub(super) places: Arc<Semaphore>,
}

/// Hears what a peer wants; the answer is then a task of its own. Whatever the peer does, nothing but this connection
/// ends, and it may be dropped at any moment for others to be heard.
pub(super) async fn hear<P: Pods>(mut stream: UnixStream, service: Service<P>) {
    match stream.peer_cred() {
        Ok(peer) if socket::is_trusted(peer.uid()) => {}
        Ok(peer) => {
            refused(&service.board, "untrusted");
            return tracing::warn!(uid = peer.uid(), "refused a connection to the CNI socket");
        }
        Err(error) => {
            refused(&service.board, "untrusted");
            return tracing::warn!(%error, "cannot tell who connected to the CNI socket");
        }
    }
    match timeout(PEER_TIMEOUT, read(&mut stream)).await {
        Ok(Ok(request)) => {
            tokio::spawn(serve(stream, request, service));
        }
        // A peer of another release is told so in a frame that it can read.
        Ok(Err(problem)) => {
            refused(&service.board, "malformed");
            send(stream, &error(Code::PROTOCOL, problem.to_string())).await;
        }
        Err(_) => {
            refused(&service.board, "silent");
            tracing::debug!("a client of the CNI socket said nothing in time");
        }
    }
}

async fn read(stream: &mut UnixStream) -> Result<Request, FrameError> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    let mut body = vec![0; socket::frame_length(header)?];
    stream.read_exact(&mut body).await?;
    socket::decode(&body)
}

async fn serve<P: Pods>(stream: UnixStream, request: Request, service: Service<P>) {
    let reply = match request {
        Request::Attach(attach) => {
            if has_gone(&stream) {
                // It gave up while this daemon stood still, and has taken back what it had made.
                return refused(&service.board, "gone");
            }
            attached(attach, &service).await
        }
        Request::Detach(detach) => {
            let (reply, answer) = oneshot::channel();
            let key = (detach.container_id, detach.interface);
            drop(service.registry.send(Message::Detach { key, at: detach.at, reply }).await);
            answer.await.ok().map(|()| Reply::Detached)
        }
        Request::Status => Some(match readiness(&service) {
            Ok(()) => Reply::Status { ready: true, reason: String::new() },
            Err(reason) => Reply::Status { ready: false, reason },
        }),
    };
    // None: the daemon ends. The plugin sees the connection closed and asks the next daemon.
    if let Some(reply) = reply {
        send(stream, &reply).await;
    }
}

async fn send(mut stream: UnixStream, reply: &Reply) {
    let sent = match encode(reply) {
        Ok(frame) => timeout(PEER_TIMEOUT, stream.write_all(&frame)).await,
        Err(error) => return tracing::error!(%error, "cannot encode a reply to the CNI plugin"),
    };
    if !matches!(sent, Ok(Ok(()))) {
        // DEL does not wait for its answer; an ADD that was killed is followed by a DEL.
        tracing::debug!("a CNI plugin went away before its answer");
    }
}

/// True if the peer has closed its end. One that waits keeps it open.
fn has_gone(stream: &UnixStream) -> bool {
    match stream.try_read(&mut [0]) {
        Ok(read) => read == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// Passes an attach on and counts what became of it. `None` if the daemon ends.
async fn attached<P>(attach: Attach, service: &Service<P>) -> Option<Reply> {
    let begun = Instant::now();
    let outcome = match service.places.try_acquire() {
        Ok(_place) => {
            service.board.send_modify(|status| status.waiting += 1);
            let outcome = commit(attach, &service.registry).await;
            service.board.send_modify(|status| status.waiting -= 1);
            outcome
        }
        Err(_) => Err(Refusal::new(Reason::Busy, "too many pods of this node wait for their policy at once")),
    };
    match outcome {
        Ok(()) => {
            service.board.send_modify(|status| status.latency.observe(begun.elapsed()));
            Some(Reply::Committed)
        }
        Err(refusal) => {
            let reason = refusal.reason;
            service.board.send_modify(|status| *status.refused.entry(reason.as_str()).or_default() += 1);
            (reason != Reason::Ending).then(|| refusal.reply())
        }
    }
}

async fn commit(attach: Attach, registry: &mpsc::Sender<Message>) -> Result<(), Refusal> {
    leases::confirm(&attach)?;
    let ending = || Refusal::new(Reason::Ending, "routerd is ending");
    let (reply, answer) = oneshot::channel();
    registry.send(Message::Attach { attach, reply }).await.map_err(|_| ending())?;
    answer.await.unwrap_or_else(|_| Err(ending()))
}

/// If an attach would be served, and why not.
pub(super) fn readiness<P: Pods>(service: &Service<P>) -> Result<(), String> {
    service.pods.ready()?;
    if service.places.available_permits() == 0 {
        return Err("too many pods of this node wait for their policy at once".to_owned());
    }
    Ok(())
}
