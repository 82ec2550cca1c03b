//! A network in memory, for tests: hosts with addresses, listeners and connections, without a kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::{mpsc, oneshot, watch};

use super::{Distance, Listener, Network, Passwords, Stream, Way};

/// Octets that may be under way in one direction.
const WINDOW: usize = 64 * 1024;

type Accepted = (MemoryStream, IpAddr);

#[derive(Debug)]
enum Request {
    Listen(SocketAddr, oneshot::Sender<io::Result<mpsc::UnboundedReceiver<Accepted>>>),
    Connect(IpAddr, SocketAddr, oneshot::Sender<io::Result<MemoryStream>>),
    Occupy(SocketAddr, bool),
}

/// The network as one of its hosts sees it.
#[derive(Debug, Clone)]
pub struct Memory {
    address: IpAddr,
    hub: mpsc::UnboundedSender<Request>,
    keyless: watch::Sender<bool>,
}

impl Memory {
    /// A new network, seen from the host with `address`.
    pub fn new(address: IpAddr) -> Self {
        let (hub, requests) = mpsc::unbounded_channel();
        tokio::spawn(serve(requests));
        Self { address, hub, keyless: watch::Sender::new(false) }
    }

    /// The same network, seen from another host.
    #[must_use]
    pub fn host(&self, address: IpAddr) -> Self {
        Self { address, ..self.clone() }
    }

    /// Makes its listeners refuse all keys, or take them.
    pub fn refuse_keys(&self, refused: bool) {
        self.keyless.send_replace(refused);
    }

    /// Makes a listening address taken, or free.
    pub fn occupy(&self, address: SocketAddr, taken: bool) {
        let _ = self.hub.send(Request::Occupy(address, taken));
    }
}

async fn serve(mut requests: mpsc::UnboundedReceiver<Request>) {
    let mut listeners: BTreeMap<SocketAddr, mpsc::UnboundedSender<Accepted>> = BTreeMap::new();
    let mut occupied = BTreeSet::new();
    while let Some(request) = requests.recv().await {
        match request {
            Request::Occupy(address, true) => drop(occupied.insert(address)),
            Request::Occupy(address, false) => drop(occupied.remove(&address)),
            Request::Listen(address, answer) => {
                let taken = listeners.get(&address).is_some_and(|listener| !listener.is_closed());
                let _ = answer.send(if taken || occupied.contains(&address) {
                    Err(io::ErrorKind::AddrInUse.into())
                } else {
                    let (sender, receiver) = mpsc::unbounded_channel();
                    listeners.insert(address, sender);
                    Ok(receiver)
                });
            }
            Request::Connect(from, to, answer) => {
                let (ours, theirs) = duplex(WINDOW);
                let theirs = MemoryStream { inner: theirs, local: to.ip() };
                let accepted =
                    listeners.get(&to).is_some_and(|listener| listener.send((theirs, from)).is_ok());
                let _ = answer.send(if accepted {
                    Ok(MemoryStream { inner: ours, local: from })
                } else {
                    Err(io::ErrorKind::ConnectionRefused.into())
                });
            }
        }
    }
}

fn gone<T>(_: T) -> io::Error {
    io::ErrorKind::NetworkDown.into()
}

impl Network for Memory {
    type Stream = MemoryStream;
    type Listener = MemoryListener;

    async fn listen(&self, address: SocketAddr) -> io::Result<MemoryListener> {
        let (answer, question) = oneshot::channel();
        self.hub.send(Request::Listen(address, answer)).map_err(gone)?;
        let accepted = question.await.map_err(gone)??;
        Ok(MemoryListener { accepted, keyless: self.keyless.subscribe() })
    }

    async fn connect(&self, way: &Way) -> io::Result<MemoryStream> {
        let (answer, question) = oneshot::channel();
        let from = way.local.unwrap_or(self.address);
        self.hub.send(Request::Connect(from, way.peer, answer)).map_err(gone)?;
        question.await.map_err(gone)?
    }
}

/// A listener of the network.
#[derive(Debug)]
pub struct MemoryListener {
    accepted: mpsc::UnboundedReceiver<Accepted>,
    keyless: watch::Receiver<bool>,
}

impl Listener for MemoryListener {
    type Stream = MemoryStream;

    async fn accept(&mut self) -> io::Result<Accepted> {
        self.accepted.recv().await.ok_or_else(|| io::ErrorKind::NetworkDown.into())
    }

    fn sign(&self, old: &Passwords, new: &Passwords) -> BTreeMap<IpAddr, io::Error> {
        let changed = new.iter().filter(|(peer, password)| old.get(peer) != Some(password));
        let refused = changed.filter(|_| *self.keyless.borrow());
        refused.map(|(peer, _)| (*peer, io::ErrorKind::OutOfMemory.into())).collect()
    }
}

/// A connection of the network.
#[derive(Debug)]
pub struct MemoryStream {
    inner: DuplexStream,
    local: IpAddr,
}

impl Stream for MemoryStream {
    fn local_address(&self) -> Option<IpAddr> {
        Some(self.local)
    }

    fn watch(&self, _: u16) -> io::Result<()> {
        Ok(())
    }

    fn limit(&self, _: Distance) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for MemoryStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for MemoryStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
