//! TCP.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{Listener, Network, Stream};

/// Connections that wait to be accepted. Every peer may come at once after a restart.
const BACKLOG: u32 = 1024;

/// The network of the namespace the process is in.
#[derive(Debug, Clone, Copy, Default)]
pub struct Tcp;

fn socket(address: IpAddr) -> io::Result<TcpSocket> {
    if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
}

impl Network for Tcp {
    type Stream = TcpStream;
    type Listener = TcpListener;

    async fn listen(&self, address: SocketAddr) -> io::Result<TcpListener> {
        let socket = socket(address.ip())?;
        // A predecessor's connections may linger in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        if address.is_ipv6() {
            // The wildcard of IPv6 would take the port of IPv4 as well.
            setsockopt(&socket.as_fd(), sockopt::Ipv6V6Only, &true)?;
        }
        socket.bind(address)?;
        socket.listen(BACKLOG)
    }

    async fn connect(&self, peer: SocketAddr, local: Option<IpAddr>) -> io::Result<TcpStream> {
        let socket = socket(peer.ip())?;
        if let Some(local) = local {
            socket.bind(SocketAddr::new(local, 0))?;
        }
        socket.connect(peer).await
    }
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, IpAddr)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        Ok((stream, peer.ip().to_canonical()))
    }
}

impl Stream for TcpStream {
    fn local_address(&self) -> Option<IpAddr> {
        self.local_addr().ok().map(|address| address.ip().to_canonical())
    }

    fn watch(&self, hold_time: u16) -> io::Result<()> {
        self.set_nodelay(true)?;
        if hold_time > 0 {
            let milliseconds = Duration::from_secs(hold_time.into()).as_millis();
            let timeout = u32::try_from(milliseconds).unwrap_or(u32::MAX);
            setsockopt(&self.as_fd(), sockopt::TcpUserTimeout, &timeout)?;
        }
        Ok(())
    }
}
