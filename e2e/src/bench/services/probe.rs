//! Connections from the node's pod to Services, which tell from when on a program has them in force.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, Sender, TryRecvError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::objects::TARGET;
use crate::bench::world::{World, on};
use crate::guest::agent::enter_netns;

/// One Service is asked this often; so exact are the figures.
const PACE: Duration = Duration::from_millis(2);
/// Of many Services one is asked this often: the guest has one processor.
const SLOW_PACE: Duration = Duration::from_millis(5);
/// An answer that is not there by then will not come.
const PATIENCE: Duration = Duration::from_millis(100);
/// Who is not there is told at once. In the sweep over all Services only that counts, and not that the one processor was busy.
const SWEEP_PATIENCE: Duration = Duration::from_secs(4);

/// The server answers on all its addresses until the process ends.
pub(super) fn serve(world: &World) -> Result<()> {
    let any = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, TARGET);
    let listener = on(&world.server(), || TcpListener::bind(any).context("the server's port"))?;
    // A connection that is taken is all that is wanted of it.
    std::thread::spawn(move || listener.incoming().for_each(drop));
    Ok(())
}

fn answers(service: SocketAddrV4) -> bool {
    answers_within(service, PATIENCE)
}

fn answers_within(service: SocketAddrV4, patience: Duration) -> bool {
    TcpStream::connect_timeout(&service.into(), patience).is_ok()
}

/// Asks one Service until it answers for the first time.
pub(super) fn first(world: &World, service: SocketAddrV4) -> Receiver<Instant> {
    let (sender, moment) = mpsc::channel();
    let netns = world.client();
    std::thread::spawn(move || {
        enter_netns(&netns)?;
        while !answers(service) {
            std::thread::sleep(PACE);
        }
        // Nobody waits for it any more.
        let _gone = sender.send(Instant::now());
        anyhow::Ok(())
    });
    moment
}

/// Asks one Service after the other, again and again, until each has answered once; the moment of the last.
pub(super) fn last(world: &World, services: Vec<SocketAddrV4>) -> Receiver<Instant> {
    let (sender, moment) = mpsc::channel();
    let netns = world.client();
    std::thread::spawn(move || {
        enter_netns(&netns)?;
        let _gone = sender.send(drain(services.into()));
        anyhow::Ok(())
    });
    moment
}

fn drain(mut waiting: VecDeque<SocketAddrV4>) -> Instant {
    while let Some(service) = waiting.pop_front() {
        if !answers(service) {
            waiting.push_back(service);
            std::thread::sleep(SLOW_PACE);
        }
    }
    Instant::now()
}

/// Asks every Service once; the moment in which the last of those that did not answer at once did, if there was any.
pub(super) fn sweep(world: &World, services: &[SocketAddrV4]) -> Result<Option<Instant>> {
    on(&world.client(), || {
        let is_late = |service: &SocketAddrV4| !answers_within(*service, SWEEP_PATIENCE);
        let late: VecDeque<SocketAddrV4> = services.iter().copied().filter(is_late).collect();
        Ok((!late.is_empty()).then(|| drain(late)))
    })
}

/// Connects to one Service all the time.
#[derive(Debug)]
pub(super) struct Load {
    stop: Sender<()>,
    thread: JoinHandle<Result<(usize, usize)>>,
}

impl Load {
    /// Begins.
    pub(super) fn start(world: &World, service: SocketAddrV4) -> Self {
        let (stop, stopped) = mpsc::channel::<()>();
        let netns = world.client();
        let thread = std::thread::spawn(move || {
            enter_netns(&netns)?;
            let (mut done, mut failed) = (0, 0);
            while stopped.try_recv() == Err(TryRecvError::Empty) {
                done += 1;
                failed += usize::from(!answers(service));
                std::thread::sleep(SLOW_PACE);
            }
            Ok((done, failed))
        });
        Self { stop, thread }
    }

    /// Ends it: how many connections were tried, and how many of them failed.
    pub(super) fn end(self) -> Result<(usize, usize)> {
        // It may have ended with an error, which comes next.
        let _ended = self.stop.send(());
        self.thread.join().map_err(|_| anyhow!("a thread of the bench ended badly"))?
    }
}
