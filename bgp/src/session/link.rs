//! One connection of a session: a task that reads, a task that writes.

use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinHandle};

use crate::clock::Clock;
use crate::net::Stream;
use crate::packet::frame::Framer;

/// How long the network may refuse to take what we send before the connection counts as broken (RFC 9687 §4.4): a
/// peer that sends but does not read.
const SEND_HOLD_TIME: Duration = Duration::from_mins(8);

/// Octets for which there is room while little comes, and at most: the more at once, the less often a task is woken.
const LITTLE: usize = 1024;
const MUCH: usize = 64 * 1024;

/// The number of a connection, so that news of an earlier one are not taken for those of a later one.
pub(super) type LinkId = u64;

/// What happens on a connection.
#[derive(Debug)]
pub(super) enum News {
    /// A part of the stream of messages came.
    Received(Vec<u8>),
    /// The end.
    Lost(String),
    /// All that was written up to a mark is with the network.
    Written,
}

enum Outbound {
    Bytes(Vec<u8>),
    Mark,
}

/// One connection. Dropping it closes the connection after what was sent on it.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) local_address: Option<IpAddr>,
    /// What came of a message that is not whole.
    pub(super) framer: Framer,
    outbound: mpsc::UnboundedSender<Outbound>,
    reader: AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Link {
    /// Takes `stream` up. The handle is that of the writer, which ends when all is sent.
    pub(super) fn open<S: Stream, C: Clock>(
        stream: S,
        id: LinkId,
        clock: C,
        news: mpsc::Sender<(LinkId, News)>,
    ) -> (Self, JoinHandle<()>) {
        let local_address = stream.local_address();
        let (read, write) = split(stream);
        // Unbounded, but the speaker has one batch under way at most and all else is keepalives.
        let (outbound, queue) = mpsc::unbounded_channel();
        let reader = tokio::spawn(read_all(read, id, news.clone())).abort_handle();
        let writer = tokio::spawn(write_all(write, id, clock, queue, news));
        (Self { id, local_address, framer: Framer::default(), outbound, reader }, writer)
    }

    /// Sends a message.
    pub(super) fn send(&self, bytes: Vec<u8>) {
        // A writer that has ended has told so.
        let _ = self.outbound.send(Outbound::Bytes(bytes));
    }

    /// Asks for [`News::Written`] when all of what was sent so far is with the network.
    pub(super) fn mark(&self) {
        let _ = self.outbound.send(Outbound::Mark);
    }
}

async fn read_all<S: Stream>(mut stream: ReadHalf<S>, id: LinkId, news: mpsc::Sender<(LinkId, News)>) {
    let mut room = LITTLE;
    loop {
        let mut bytes = Vec::with_capacity(room);
        let end = match stream.read_buf(&mut bytes).await {
            Ok(0) => "the peer closed the connection".to_owned(),
            Err(error) => format!("the connection broke: {error}"),
            Ok(length) => {
                // Where there was no room for more, there may be more.
                room = if length < room { LITTLE } else { MUCH.min(room * 4) };
                // A session that is gone aborts this task.
                let _ = news.send((id, News::Received(bytes))).await;
                continue;
            }
        };
        let _ = news.send((id, News::Lost(end))).await;
        return;
    }
}

async fn write_all<S: Stream, C: Clock>(
    mut stream: WriteHalf<S>,
    id: LinkId,
    clock: C,
    mut queue: mpsc::UnboundedReceiver<Outbound>,
    news: mpsc::Sender<(LinkId, News)>,
) {
    while let Some(next) = queue.recv().await {
        match next {
            Outbound::Bytes(bytes) => {
                let deadline = clock.now() + SEND_HOLD_TIME;
                let result = tokio::select! {
                    result = stream.write_all(&bytes) => result.map_err(|error| format!("cannot send: {error}")),
                    () = clock.sleep_until(deadline) => {
                        Err(format!("the peer took nothing for {} s", SEND_HOLD_TIME.as_secs()))
                    }
                };
                if let Err(reason) = result {
                    let _ = news.send((id, News::Lost(reason))).await;
                    return;
                }
            }
            Outbound::Mark => {
                let _ = news.send((id, News::Written)).await;
            }
        }
    }
    // The peer may have closed first.
    let _ = stream.shutdown().await;
}
