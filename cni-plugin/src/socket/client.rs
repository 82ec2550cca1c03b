//! The plugin's end of the socket.

use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, socket};

use super::frame::{FrameError, encode, read_frame};
use super::message::{Reply, Request};

/// How long a daemon that is not there is given before it is looked for again. A restart takes a few hundred ms.
const RETRY: Duration = Duration::from_millis(20);
/// And one that speaks another version: it may be about to be replaced, and every question costs it something.
const RETRY_OTHER: Duration = Duration::from_millis(200);

/// Why the daemon gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens, or the connection broke.
    #[error("routerd cannot be reached at {socket}: {source}")]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// What the kernel said last.
        source: io::Error,
    },
    /// No answer came in time.
    #[error("routerd at {socket} did not answer within {waited:?}")]
    Timeout {
        /// The socket.
        socket: PathBuf,
        /// How long was waited.
        waited: Duration,
    },
    /// The listener is neither root nor us.
    #[error("the listener at {socket} runs as user {uid} and is not trusted")]
    Untrusted {
        /// The socket.
        socket: PathBuf,
        /// The listener's user.
        uid: u32,
    },
    /// What came is not the protocol, or another version of it.
    #[error("routerd at {socket}: {source}")]
    Protocol {
        /// The socket.
        socket: PathBuf,
        /// What was wrong.
        source: FrameError,
    },
}

impl ClientError {
    /// The daemon is of another release.
    pub fn is_version(&self) -> bool {
        matches!(self, Self::Protocol { source: FrameError::Version { .. }, .. })
    }

    /// A daemon that is restarted or replaced looks like that meanwhile.
    fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable { .. }) || self.is_version()
    }
}

/// A way to the daemon.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// A way to the daemon that listens at `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Asks and waits for the answer, at most `total` in all. A daemon that is away, goes away meanwhile or speaks
    /// another version is asked again for the time of `away`: it may be restarting or about to be replaced, and every
    /// request may be repeated.
    pub fn ask(&self, request: &Request, total: Duration, away: Duration) -> Result<Reply, ClientError> {
        let deadline = Instant::now() + total;
        let mut gone_since = None;
        loop {
            let started = Instant::now();
            match self.try_once(request, deadline) {
                Err(error) if error.may_pass() => {
                    let pause = if error.is_version() { RETRY_OTHER } else { RETRY };
                    // One that took its time was there until now.
                    if started.elapsed() > RETRY {
                        gone_since = None;
                    }
                    let give_up = *gone_since.get_or_insert_with(Instant::now) + away;
                    if Instant::now() + pause >= deadline.min(give_up) {
                        return Err(error);
                    }
                    thread::sleep(pause);
                }
                // The time that is told is the whole, not what was left for the last attempt.
                Err(ClientError::Timeout { socket, .. }) => {
                    return Err(ClientError::Timeout { socket, waited: total });
                }
                outcome => return outcome,
            }
        }
    }

    /// Asks once: a daemon that is away is not waited for.
    pub fn ask_once(&self, request: &Request, total: Duration) -> Result<Reply, ClientError> {
        self.try_once(request, Instant::now() + total).map_err(|error| match error {
            ClientError::Timeout { socket, .. } => ClientError::Timeout { socket, waited: total },
            other => other,
        })
    }

    /// Says something without waiting for an answer: one attempt, at most `total`.
    pub fn tell(&self, request: &Request, total: Duration) -> Result<(), ClientError> {
        self.send(request, Instant::now() + total).map(drop)
    }

    fn try_once(&self, request: &Request, deadline: Instant) -> Result<Reply, ClientError> {
        let mut stream = self.send(request, deadline)?;
        let mut timed = Timed { stream: &mut stream, deadline };
        read_frame(&mut timed).map_err(|error| match error {
            FrameError::Io(error) => self.io(error),
            source => ClientError::Protocol { socket: self.socket.clone(), source },
        })
    }

    fn send(&self, request: &Request, deadline: Instant) -> Result<UnixStream, ClientError> {
        let protocol = |source| ClientError::Protocol { socket: self.socket.clone(), source };
        let frame = encode(request).map_err(protocol)?;
        let mut stream = connect_until(&self.socket, deadline).map_err(|error| self.io(error))?;
        let peer = getsockopt(&stream, PeerCredentials).map_err(|errno| self.io(errno.into()))?;
        if !super::is_trusted(peer.uid()) {
            return Err(ClientError::Untrusted { socket: self.socket.clone(), uid: peer.uid() });
        }
        let left = remaining(deadline).map_err(|error| self.io(error))?;
        stream
            .set_write_timeout(Some(left))
            .and_then(|()| stream.write_all(&frame))
            .map_err(|error| self.io(error))?;
        Ok(stream)
    }

    fn io(&self, source: io::Error) -> ClientError {
        let socket = self.socket.clone();
        match source.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                ClientError::Timeout { socket, waited: Duration::ZERO }
            }
            _ => ClientError::Unreachable { socket, source },
        }
    }
}

/// What is left until `deadline`; never zero, which would mean "for ever" to the kernel.
fn remaining(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

/// Connects without ever blocking: a full queue of a daemon that hangs would hold a blocking `connect` for ever.
fn connect_until(path: &Path, deadline: Instant) -> io::Result<UnixStream> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    let address = UnixAddr::new(path)?;
    loop {
        match connect(socket.as_raw_fd(), &address) {
            Ok(()) => return blocking(socket),
            Err(Errno::EAGAIN) => {
                remaining(deadline)?;
                thread::sleep(Duration::from_millis(1));
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn blocking(socket: OwnedFd) -> io::Result<UnixStream> {
    fcntl(&socket, FcntlArg::F_SETFL(OFlag::empty()))?;
    Ok(UnixStream::from(socket))
}

/// Reads with one deadline for all parts, so that a peer that sends a byte now and then cannot hold us.
struct Timed<'a> {
    stream: &'a mut UnixStream,
    deadline: Instant,
}

impl io::Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(remaining(self.deadline)?))?;
        io::Read::read(self.stream, buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    const SHORT: Duration = Duration::from_millis(80);
    const LONG: Duration = Duration::from_secs(20);

    fn listen(folder: &Path) -> (UnixListener, Client) {
        let path = folder.join("cni.sock");
        (UnixListener::bind(&path).unwrap(), Client::new(path))
    }

    fn answer(listener: &UnixListener, reply: &Reply) -> Request {
        let (mut stream, _) = listener.accept().unwrap();
        let request = read_frame(&mut stream).unwrap();
        stream.write_all(&encode(reply).unwrap()).unwrap();
        request
    }

    #[test]
    fn a_daemon_that_is_away_ends_in_an_error_in_bounded_time_and_names_the_socket() {
        let client = Client::new("/nonexistent/cni.sock");
        let started = Instant::now();
        let error = client.ask(&Request::Status, SHORT, SHORT).unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
        assert!(error.to_string().contains("/nonexistent/cni.sock"));
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_daemon_that_is_away_is_given_less_time_than_one_that_works() {
        let client = Client::new("/nonexistent/cni.sock");
        let started = Instant::now();
        let error = client.ask(&Request::Status, Duration::from_mins(10), SHORT).unwrap_err();
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_daemon_that_hangs_ends_in_a_timeout_even_when_its_queue_is_full() {
        let folder = tempfile::tempdir().unwrap();
        let (listener, client) = listen(folder.path());
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
        for _ in 0..3 {
            let error = client.ask(&Request::Status, SHORT, SHORT).unwrap_err();
            assert!(matches!(error, ClientError::Timeout { waited: SHORT, .. }), "{error}");
        }
    }

    #[test]
    fn a_daemon_that_restarts_in_the_middle_is_asked_again() {
        let folder = tempfile::tempdir().unwrap();
        let (listener, client) = listen(folder.path());
        let server = thread::spawn(move || {
            drop(listener.accept().unwrap());
            answer(&listener, &Reply::Committed)
        });
        assert_eq!(client.ask(&Request::Status, LONG, LONG).unwrap(), Reply::Committed);
        assert_eq!(server.join().unwrap(), Request::Status);
    }

    #[test]
    fn a_daemon_that_comes_up_late_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cni.sock");
        let client = Client::new(&path);
        let server = thread::spawn(move || {
            thread::sleep(Duration::from_millis(60));
            answer(&UnixListener::bind(&path).unwrap(), &Reply::Committed)
        });
        assert_eq!(client.ask(&Request::Status, LONG, LONG).unwrap(), Reply::Committed);
        server.join().unwrap();
    }

    #[test]
    fn a_daemon_that_speaks_nonsense_is_told_apart_from_one_that_is_away() {
        let folder = tempfile::tempdir().unwrap();
        let (listener, client) = listen(folder.path());
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // Who closes with something unread breaks the connection, and may take its own words along.
            let _: Request = read_frame(&mut stream).unwrap();
            stream.write_all(b"\0\0\0\x02{}").unwrap();
        });
        let error = client.ask(&Request::Status, LONG, LONG).unwrap_err();
        assert!(matches!(error, ClientError::Protocol { .. }), "{error}");
        server.join().unwrap();
    }

    #[test]
    fn a_daemon_of_another_version_is_asked_again_until_it_is_replaced_or_the_time_is_over() {
        const OTHER: &[u8] = b"\0\0\0\x1a{\"version\":9,\"body\":null} ";
        for (others, away) in [(1, LONG), (usize::MAX, SHORT)] {
            let folder = tempfile::tempdir().unwrap();
            let (listener, client) = listen(folder.path());
            thread::spawn(move || {
                for _ in 0..others {
                    let Ok((mut stream, _)) = listener.accept() else { return };
                    let _: Result<Request, _> = read_frame(&mut stream);
                    drop(stream.write_all(OTHER));
                }
                answer(&listener, &Reply::Committed);
            });
            match client.ask(&Request::Status, LONG, away) {
                Ok(reply) => assert_eq!((reply, others), (Reply::Committed, 1)),
                Err(error) => assert!(error.is_version() && others > 1, "{error}"),
            }
        }
    }

    #[test]
    fn telling_does_not_wait_for_an_answer() {
        let folder = tempfile::tempdir().unwrap();
        let (_listener, client) = listen(folder.path());
        client.tell(&Request::Status, Duration::from_secs(20)).unwrap();
    }
}
