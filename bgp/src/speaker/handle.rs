//! The handle to a running speaker: messages to its task.

use std::net::IpAddr;

use prefix::Prefix;
use tokio::sync::{mpsc, oneshot};

use super::status::{RibEntry, SpeakerStatus};
use super::{Command, Shutdown};
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

    /// Makes a peer what `config` says. A peer whose configuration is the same is left alone; one that differs gets a
    /// new session. Sessions with others are not touched.
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
