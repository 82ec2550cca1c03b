//! Real packets that show from when on a rule holds.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::objects::REFUSED_PORT;
use crate::bench::world::{FIRST_PORT, SERVER, World, on};
use crate::guest::agent::enter_netns;

/// A try is asked this often; so exact are the figures.
const PACE: Duration = Duration::from_millis(2);

/// An answer that is not there by then will not come: both pods are on this node.
const PATIENCE: Duration = Duration::from_millis(20);

/// The server answers on both ports until the process ends.
pub(super) fn serve(world: &World) -> Result<()> {
    for port in [FIRST_PORT, REFUSED_PORT] {
        let socket = on(&world.server(), || {
            UdpSocket::bind((SERVER, port)).with_context(|| format!("the server's port {port}"))
        })?;
        std::thread::spawn(move || {
            let mut buffer = [0; 64];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                // A client that does not listen any more.
                let _gone = socket.send_to(&buffer[..length], from);
            }
        });
    }
    Ok(())
}

/// Is one new flow to this port answered?
pub(super) fn answered(world: &World, port: u16) -> Result<bool> {
    on(&world.client(), || ask(port, PATIENCE).map(|answer| answer.is_some()))
}

fn ask(port: u16, patience: Duration) -> Result<Option<Instant>> {
    let socket = UdpSocket::bind("0.0.0.0:0").context("a client's port")?;
    socket.connect(SocketAddr::from((SERVER, port)))?;
    socket.set_read_timeout(Some(patience))?;
    // Nobody there, or nobody any more: it is not answered.
    let exchange = socket.send(b"?").and_then(|_| socket.recv(&mut [0; 8]));
    Ok(exchange.is_ok().then(Instant::now))
}

/// Asks all the time, each time as a new flow, and tells when it was answered.
#[derive(Debug)]
pub(super) struct Asker {
    stop: Sender<()>,
    answers: Receiver<Instant>,
    thread: JoinHandle<Result<()>>,
}

impl Asker {
    /// Begins to ask for this port.
    pub(super) fn start(world: &World, port: u16) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let (sender, answers) = mpsc::channel();
        let netns = world.client();
        let thread = std::thread::spawn(move || {
            enter_netns(&netns)?;
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                let begin = Instant::now();
                if let Some(answer) = ask(port, PACE)? {
                    sender.send(answer)?;
                }
                std::thread::sleep(PACE.saturating_sub(begin.elapsed()));
            }
            Ok(())
        });
        Self { stop, answers, thread }
    }

    /// The first answer from now on.
    pub(super) fn first(&self, limit: Duration) -> Result<Instant> {
        self.answers.recv_timeout(limit).map_err(|_| anyhow!("no answer within {} s", limit.as_secs()))
    }

    /// Ends it. The last answer, if there was one.
    pub(super) fn end(self) -> Result<Option<Instant>> {
        // It may have ended with an error, which comes next.
        let _ended = self.stop.send(());
        self.thread.join().map_err(|_| anyhow!("a thread of the bench ended badly"))??;
        Ok(self.answers.try_iter().last())
    }
}
