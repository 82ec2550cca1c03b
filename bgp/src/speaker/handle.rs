//! The handle to a running speaker: messages to its task.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use prefix::Prefix;
use tokio::sync::{mpsc, oneshot};

use super::status::{Advertised, RibEntry, SpeakerStatus};
use super::{Command, ResetCause, Shutdown};
use crate::config::{Announcement, PeerConfig};

/// The speaker has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the BGP speaker has ended")]
pub struct SpeakerGone;

/// A handle; clones speak to the same speaker. For threads without a runtime there is [`SpeakerHandle::blocking`].
#[derive(Debug, Clone)]
pub struct SpeakerHandle {
    commands: mpsc::Sender<Command>,
}

impl SpeakerHandle {
    pub(super) fn new(commands: mpsc::Sender<Command>) -> Self {
        Self { commands }
    }

    async fn send(&self, command: Command) -> Result<(), SpeakerGone> {
        self.commands.send(command).await.map_err(|_| SpeakerGone)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, SpeakerGone> {
        let (answer, question) = oneshot::channel();
        self.send(command(answer)).await?;
        question.await.map_err(|_| SpeakerGone)
    }

    /// Makes a peer what `config` says, as [`PeerConfig`] tells; sessions with others are not touched. One that
    /// [`PeerConfig::check`] refuses is left out, so ask that first.
    pub async fn set_peer(&self, config: PeerConfig) -> Result<(), SpeakerGone> {
        self.send(Command::SetPeer(Box::new(config))).await
    }

    /// Ends the session with a peer and forgets its routes. Sessions with others are not touched.
    pub async fn remove_peer(&self, address: IpAddr) -> Result<(), SpeakerGone> {
        self.send(Command::RemovePeer(address)).await
    }

    /// Originates a prefix, in place of an earlier announcement of it.
    pub async fn announce(&self, prefix: Prefix, announcement: Announcement) -> Result<(), SpeakerGone> {
        self.send(Command::Announce(prefix, announcement)).await
    }

    /// Stops originating a prefix.
    pub async fn withdraw(&self, prefix: Prefix) -> Result<(), SpeakerGone> {
        self.send(Command::Withdraw(prefix)).await
    }

    /// Says whether a prefix is one that peers may not tell us although we do not originate it now: the address of a Service
    /// that is announced by this node at other times. See [`ImportRules::refuse_own`](crate::ImportRules::refuse_own).
    pub async fn protect(&self, prefix: Prefix, ours: bool) -> Result<(), SpeakerGone> {
        self.send(Command::Protect(prefix, ours)).await
    }

    /// Ends a peer's session and lets it come back after `pause`. Its routes go.
    pub async fn reset_peer(
        &self,
        address: IpAddr,
        cause: ResetCause,
        pause: Duration,
    ) -> Result<(), SpeakerGone> {
        self.send(Command::ResetPeer(address, cause, pause)).await
    }

    /// Asks a peer for all of its routes again (RFC 2918).
    pub async fn refresh_peer(&self, address: IpAddr) -> Result<(), SpeakerGone> {
        self.send(Command::RefreshPeer(address)).await
    }

    /// Accepts connections at these addresses and no others from now on. Sessions are not touched.
    pub async fn listen(&self, addresses: Vec<SocketAddr>) -> Result<(), SpeakerGone> {
        self.send(Command::Listen(addresses)).await
    }

    /// All that there was to announce at start has been announced: peers are told the end of our routes (RFC 4724).
    pub async fn view_complete(&self) -> Result<(), SpeakerGone> {
        self.send(Command::ViewComplete).await
    }

    /// The state of the speaker, its listeners and peers.
    pub async fn status(&self) -> Result<SpeakerStatus, SpeakerGone> {
        self.ask(Command::Status).await
    }

    /// All paths of all prefixes.
    pub async fn rib(&self) -> Result<Vec<RibEntry>, SpeakerGone> {
        self.ask(Command::Rib).await
    }

    /// All paths of one prefix; `None` if there are none.
    pub async fn route(&self, prefix: Prefix) -> Result<Option<RibEntry>, SpeakerGone> {
        self.ask(|answer| Command::Route(prefix, answer)).await
    }

    /// What a peer has been told, as it was told; `None` if there is no such peer.
    pub async fn advertised(&self, peer: IpAddr) -> Result<Option<Vec<Advertised>>, SpeakerGone> {
        self.ask(|answer| Command::Advertised(peer, answer)).await
    }

    /// Ends the speaker; returns when the last messages are with the network, or after two seconds.
    pub async fn shutdown(&self, how: Shutdown) -> Result<(), SpeakerGone> {
        self.ask(|answer| Command::Shutdown(how, answer)).await
    }

    /// The same for threads without a runtime. Its methods must not be called from asynchronous code.
    pub fn blocking(&self) -> BlockingHandle {
        BlockingHandle { commands: self.commands.clone() }
    }
}

/// A handle whose methods block; see the methods of [`SpeakerHandle`] for what they do.
#[derive(Debug, Clone)]
pub struct BlockingHandle {
    commands: mpsc::Sender<Command>,
}

impl BlockingHandle {
    fn send(&self, command: Command) -> Result<(), SpeakerGone> {
        self.commands.blocking_send(command).map_err(|_| SpeakerGone)
    }

    /// See [`SpeakerHandle::set_peer`].
    pub fn set_peer(&self, config: PeerConfig) -> Result<(), SpeakerGone> {
        self.send(Command::SetPeer(Box::new(config)))
    }

    /// See [`SpeakerHandle::remove_peer`].
    pub fn remove_peer(&self, address: IpAddr) -> Result<(), SpeakerGone> {
        self.send(Command::RemovePeer(address))
    }

    /// See [`SpeakerHandle::announce`].
    pub fn announce(&self, prefix: Prefix, announcement: Announcement) -> Result<(), SpeakerGone> {
        self.send(Command::Announce(prefix, announcement))
    }

    /// See [`SpeakerHandle::withdraw`].
    pub fn withdraw(&self, prefix: Prefix) -> Result<(), SpeakerGone> {
        self.send(Command::Withdraw(prefix))
    }

    /// See [`SpeakerHandle::protect`].
    pub fn protect(&self, prefix: Prefix, ours: bool) -> Result<(), SpeakerGone> {
        self.send(Command::Protect(prefix, ours))
    }

    /// See [`SpeakerHandle::reset_peer`].
    pub fn reset_peer(&self, address: IpAddr, cause: ResetCause, pause: Duration) -> Result<(), SpeakerGone> {
        self.send(Command::ResetPeer(address, cause, pause))
    }

    /// See [`SpeakerHandle::listen`].
    pub fn listen(&self, addresses: Vec<SocketAddr>) -> Result<(), SpeakerGone> {
        self.send(Command::Listen(addresses))
    }

    /// See [`SpeakerHandle::view_complete`].
    pub fn view_complete(&self) -> Result<(), SpeakerGone> {
        self.send(Command::ViewComplete)
    }

    /// See [`SpeakerHandle::status`].
    pub fn status(&self) -> Result<SpeakerStatus, SpeakerGone> {
        let (answer, question) = oneshot::channel();
        self.send(Command::Status(answer))?;
        question.blocking_recv().map_err(|_| SpeakerGone)
    }
}
