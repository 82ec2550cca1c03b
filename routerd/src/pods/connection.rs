//! One plugin that speaks to us: one request, one reply.

use std::time::Duration;

use cni_plugin::Code;
use cni_plugin::socket::{self, DaemonError, FrameError, HEADER, Reply, Request, encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::registry::Message;

/// How long a plugin may take to say what it wants, and to take the answer. It does both in microseconds.
const PEER_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves one connection. Whatever the peer does, nothing but this connection ends.
pub(super) async fn serve(mut stream: UnixStream, registry: &mpsc::Sender<Message>) {
    match stream.peer_cred() {
        Ok(peer) if socket::is_trusted(peer.uid()) => {}
        Ok(peer) => return tracing::warn!(uid = peer.uid(), "refused a connection to the CNI socket"),
        Err(error) => return tracing::warn!(%error, "cannot tell who connected to the CNI socket"),
    }
    let reply = match timeout(PEER_TIMEOUT, read(&mut stream)).await {
        Ok(Ok(request)) => answer(request, registry).await,
        // A peer of another release is told so in a frame that it can read.
        Ok(Err(error)) => refusal(Code::PROTOCOL, error.to_string()),
        Err(_) => return tracing::debug!("a client of the CNI socket said nothing in time"),
    };
    let sent = match encode(&reply) {
        Ok(frame) => timeout(PEER_TIMEOUT, stream.write_all(&frame)).await,
        Err(error) => return tracing::error!(%error, "cannot encode a reply to the CNI plugin"),
    };
    if !matches!(sent, Ok(Ok(()))) {
        // DEL does not wait for its answer; an ADD that was killed is followed by a DEL.
        tracing::debug!("a CNI plugin went away before its answer");
    }
}

async fn read(stream: &mut UnixStream) -> Result<Request, FrameError> {
    let mut header = [0; HEADER];
    stream.read_exact(&mut header).await?;
    let mut body = vec![0; socket::frame_length(header)?];
    stream.read_exact(&mut body).await?;
    socket::decode(&body)
}

async fn answer(request: Request, registry: &mpsc::Sender<Message>) -> Reply {
    let (reply, answer) = oneshot::channel();
    let message = match request {
        Request::Attach(attach) => Message::Attach { attach, reply },
        Request::Detach(detach) => {
            Message::Detach { container: detach.container_id, interface: detach.interface, reply }
        }
        Request::Status => Message::Status { reply },
    };
    if registry.send(message).await.is_err() {
        return refusal(Code::TRY_AGAIN, "routerd is ending".into());
    }
    answer.await.unwrap_or_else(|_| refusal(Code::TRY_AGAIN, "routerd is ending".into()))
}

/// A reply that says no.
pub(super) fn refusal(code: Code, msg: String) -> Reply {
    Reply::Error(DaemonError { code: code.0, msg })
}
