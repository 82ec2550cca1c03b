//! The tasks that accept connections.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;

use crate::clock::{Clock, sleep_until};
use crate::net::{Listener, Network, Passwords};

/// How long an address that cannot be bound is left alone. A predecessor may still hold it, or it may not be there yet.
const RETRY: Duration = Duration::from_secs(1);

/// What a listener tells.
pub(super) enum News<S> {
    /// Whether it listens, and what is wrong.
    State {
        /// Where.
        address: SocketAddr,
        /// It accepts connections.
        listening: bool,
        /// What is wrong.
        error: Option<String>,
    },
    /// Somebody connected.
    Accepted(S, IpAddr),
}

/// A listener in the making.
pub(super) struct Listen<N: Network, C> {
    /// Where.
    pub(super) address: SocketAddr,
    /// In which network.
    pub(super) network: N,
    /// The time.
    pub(super) clock: C,
    /// Whose connections must be signed.
    pub(super) passwords: watch::Receiver<Passwords>,
    /// Who hears of it.
    pub(super) news: mpsc::Sender<News<N::Stream>>,
}

impl<N: Network, C: Clock> Listen<N, C> {
    /// Listens for as long as the task is not aborted.
    pub(super) fn spawn(mut self) -> AbortHandle {
        tokio::spawn(async move {
            loop {
                let error = match self.network.listen(self.address).await {
                    Ok(listener) => self.accept_all(listener).await,
                    Err(error) => {
                        format!("cannot listen at {}: {error}; trying again every {RETRY:?}", self.address)
                    }
                };
                if self.tell(false, Some(error)).await.is_err() {
                    return;
                }
                self.clock.sleep_until(self.clock.now() + RETRY).await;
            }
        })
        .abort_handle()
    }

    async fn tell(&self, listening: bool, error: Option<String>) -> Result<(), ()> {
        let news = News::State { address: self.address, listening, error };
        self.news.send(news).await.map_err(|_| ())
    }

    /// Accepts until the listener itself is broken, and says why.
    async fn accept_all(&mut self, mut listener: N::Listener) -> String {
        let mut failures = 0;
        let mut signed = Passwords::new();
        let mut again = self.sign(&listener, &mut signed).await;
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((_, peer)) if !self.is_protected(&signed, &peer) => {
                        failures = 0;
                        tracing::debug!(%peer, "a BGP connection is closed: the key of its peer is not in force");
                    }
                    Ok((stream, peer)) => {
                        failures = 0;
                        if self.news.send(News::Accepted(stream, peer)).await.is_err() {
                            return "the speaker has ended".to_owned();
                        }
                    }
                    // A connection that broke before it was accepted, or no file descriptor left: both pass.
                    Err(error) if failures < 10 => {
                        failures += 1;
                        tracing::warn!(%error, "cannot accept a BGP connection");
                        self.clock.sleep_until(self.clock.now() + RETRY / 10).await;
                    }
                    Err(error) => return format!("cannot accept connections: {error}"),
                },
                Ok(()) = self.passwords.changed() => again = self.sign(&listener, &mut signed).await,
                () = sleep_until(&self.clock, again) => again = self.sign(&listener, &mut signed).await,
            }
        }
    }

    /// False if the peer's connections must be signed and the kernel does not see to it.
    fn is_protected(&self, signed: &Passwords, peer: &IpAddr) -> bool {
        let wanted = self.passwords.borrow();
        wanted.get(peer).is_none_or(|password| signed.get(peer) == Some(password))
    }

    /// Gives the listener the passwords of now, in place of those it has; when to try again, if that failed for some.
    async fn sign(&mut self, listener: &N::Listener, signed: &mut Passwords) -> Option<Duration> {
        let wanted = self.passwords.borrow_and_update().clone();
        let failed = listener.sign(signed, &wanted);
        let before = std::mem::replace(signed, wanted);
        for peer in failed.keys() {
            // What is there is still to be taken away.
            match before.get(peer) {
                Some(old) => signed.insert(*peer, old.clone()),
                None => signed.remove(peer),
            };
        }
        let error = failed.first_key_value().map(|(peer, error)| {
            let others = match failed.len() - 1 {
                0 => String::new(),
                others => format!(" (and {others} more)"),
            };
            format!("connections of {peer}{others} are closed, because they cannot be protected: {error}; trying again every {RETRY:?}")
        });
        // A speaker that has ended shows at the next connection.
        let _ = self.tell(true, error).await;
        (!failed.is_empty()).then(|| self.clock.now() + RETRY)
    }
}
