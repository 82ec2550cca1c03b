//! The tasks that accept connections.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::clock::Clock;
use crate::net::{Listener, Network};

/// How long an address that cannot be bound is left alone. A predecessor may still hold it, or it may not be there yet.
const RETRY: Duration = Duration::from_secs(1);

/// What a listener tells, with its place in the configuration.
pub(super) enum News<S> {
    /// It listens, or why not.
    State(usize, Option<String>),
    /// Somebody connected.
    Accepted(S, IpAddr),
}

/// Listens at `address` for as long as the task is not aborted.
pub(super) fn spawn<N: Network, C: Clock>(
    place: usize,
    address: SocketAddr,
    network: N,
    clock: C,
    news: mpsc::Sender<News<N::Stream>>,
) -> AbortHandle {
    tokio::spawn(async move {
        loop {
            let error = match network.listen(address).await {
                Ok(listener) => {
                    let _ = news.send(News::State(place, None)).await;
                    accept_all(listener, &clock, &news).await
                }
                Err(error) => format!("cannot listen at {address}: {error}; trying again every {RETRY:?}"),
            };
            if news.send(News::State(place, Some(error))).await.is_err() {
                return;
            }
            clock.sleep_until(clock.now() + RETRY).await;
        }
    })
    .abort_handle()
}

/// Accepts until the listener itself is broken, and says why.
async fn accept_all<L: Listener, C: Clock>(
    mut listener: L,
    clock: &C,
    news: &mpsc::Sender<News<L::Stream>>,
) -> String {
    let mut failures = 0;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                failures = 0;
                if news.send(News::Accepted(stream, peer)).await.is_err() {
                    return "the speaker has ended".to_owned();
                }
            }
            // A connection that broke before it was accepted, or no file descriptor left: both pass.
            Err(error) if failures < 10 => {
                failures += 1;
                tracing::warn!(%error, "cannot accept a BGP connection");
                clock.sleep_until(clock.now() + RETRY / 10).await;
            }
            Err(error) => return format!("cannot accept connections: {error}"),
        }
    }
}
