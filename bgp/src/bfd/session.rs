//! The state machine of a session (RFC 5880 §6.8): packets and time in, packets and changes out. Pure.

use std::time::Duration;

use super::packet::{Control, Diagnostic, State};

/// How often packets are sent at least while a session is not Up (RFC 5880 §6.8.3).
const SLOW: Duration = Duration::from_secs(1);

/// What a session is told to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How often we would like to send.
    pub desired_min_tx: Duration,
    /// How often we can receive.
    pub required_min_rx: Duration,
    /// How many packets may be lost; at least 1.
    pub multiplier: u8,
}

/// What a session has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Both ends hear each other.
    Up,
    /// They do not any longer, for this reason. An administrator at the other end is no failure of the path
    /// (RFC 5882 §3.2): `by_administrator`.
    Down {
        /// Why.
        diagnostic: Diagnostic,
        /// The other end is held down by hand.
        by_administrator: bool,
    },
}

/// What the other end has said last.
#[derive(Debug, Clone, Copy)]
struct Remote {
    state: State,
    discriminator: u32,
    min_rx: Duration,
    desired_tx: Duration,
    multiplier: u8,
    demand: bool,
}

/// Of one that is not heard (RFC 5880 §6.8.1: `bfd.RemoteMinRxInterval` is 1 microsecond at first).
const UNHEARD: Remote = Remote {
    state: State::Down,
    discriminator: 0,
    min_rx: Duration::from_micros(1),
    desired_tx: Duration::ZERO,
    multiplier: 0,
    demand: false,
};

/// A session. Times are those of one monotonic clock.
#[derive(Debug, Clone)]
pub struct Session {
    timing: Timing,
    discriminator: u32,
    state: State,
    diagnostic: Diagnostic,
    remote: Remote,
    /// A poll sequence is under way: the other end has not confirmed our timing yet.
    polling: bool,
    /// When a packet is due; `None` while none may be sent.
    next_tx: Option<Duration>,
    /// When the other end is lost; `None` while there is nothing to lose.
    detection: Option<Duration>,
}

impl Session {
    /// A session with a number of ours that is not 0; the first packet is due at once.
    pub fn new(timing: Timing, discriminator: u32, now: Duration) -> Self {
        Self {
            timing,
            discriminator,
            state: State::Down,
            diagnostic: Diagnostic::NONE,
            remote: UNHEARD,
            polling: false,
            next_tx: Some(now),
            detection: None,
        }
    }

    /// Our state.
    pub fn state(&self) -> State {
        self.state
    }

    /// Why it was left last.
    pub fn diagnostic(&self) -> Diagnostic {
        self.diagnostic
    }

    /// How long silence of the other end lasts until it is lost (RFC 5880 §6.8.4); zero before it was heard.
    pub fn detection_time(&self) -> Duration {
        self.timing.required_min_rx.max(self.remote.desired_tx) * u32::from(self.remote.multiplier)
    }

    /// How often we send (RFC 5880 §6.8.7), before jitter; `None` while periodic packets are unwanted.
    pub fn interval(&self) -> Option<Duration> {
        let quiet = self.remote.demand && self.state == State::Up && self.remote.state == State::Up;
        let unwanted = self.remote.min_rx.is_zero() || (quiet && !self.polling);
        (!unwanted).then(|| self.desired_min_tx().max(self.remote.min_rx))
    }

    fn desired_min_tx(&self) -> Duration {
        if self.state == State::Up {
            self.timing.desired_min_tx
        } else {
            self.timing.desired_min_tx.max(SLOW)
        }
    }

    /// When [`Session::tick`] has something to do.
    pub fn wake(&self) -> Option<Duration> {
        [self.next_tx, self.detection].into_iter().flatten().min()
    }

    /// A session with other timing keeps its state and tells the other end (RFC 5880 §6.8.3).
    pub fn retime(&mut self, timing: Timing, now: Duration) {
        if self.timing != timing {
            self.timing = timing;
            self.polling = self.state == State::Up;
            self.next_tx = self.interval().map(|_| now);
        }
    }

    /// The packet to send now.
    pub fn control(&self) -> Control {
        Control {
            state: self.state,
            diagnostic: self.diagnostic,
            poll: self.polling,
            is_final: false,
            demand: false,
            multiplier: self.timing.multiplier,
            my_discriminator: self.discriminator,
            your_discriminator: self.remote.discriminator,
            desired_min_tx: self.desired_min_tx(),
            required_min_rx: self.timing.required_min_rx,
        }
    }

    /// The last packet: the other end need not wait for the detection time, and takes it for no failure.
    pub fn last_control(&self) -> Control {
        Control { state: State::AdminDown, diagnostic: Diagnostic::ADMIN_DOWN, poll: false, ..self.control() }
    }

    /// What has become due: a packet, a lost neighbour. `jitter` is a number from 0 to 1.
    pub fn tick(&mut self, now: Duration, jitter: f64) -> (Option<Control>, Option<Change>) {
        let change = if self.detection.is_some_and(|at| at <= now) { self.lose() } else { None };
        if self.next_tx.is_none_or(|at| at > now) && change.is_none() {
            return (None, change);
        }
        self.schedule(now, jitter);
        (Some(self.control()), change)
    }

    /// RFC 5880 §6.8.4: the other end is not heard any longer.
    fn lose(&mut self) -> Option<Change> {
        self.detection = None;
        self.remote = UNHEARD;
        self.polling = false;
        self.enter(State::Down, Diagnostic::TIME_EXPIRED, false)
    }

    /// RFC 5880 §6.8.7: up to a quarter less than the interval, and with a multiplier of 1 at least a tenth less, so that
    /// no two packets are further apart than what the other end waits.
    fn schedule(&mut self, now: Duration, jitter: f64) {
        let (most, spread) = if self.timing.multiplier == 1 { (0.90, 0.15) } else { (1.0, 0.25) };
        let share = most - spread * jitter.clamp(0.0, 1.0);
        self.next_tx = self.interval().map(|interval| now + interval.mul_f64(share));
    }

    /// A packet of the other end, which is known to be of this session (RFC 5880 §6.8.6). The packet that answers it, and
    /// what has changed.
    pub fn receive(
        &mut self,
        packet: &Control,
        now: Duration,
        jitter: f64,
    ) -> (Option<Control>, Option<Change>) {
        let before = (self.interval(), self.state);
        self.remote = Remote {
            state: packet.state,
            discriminator: packet.my_discriminator,
            min_rx: packet.required_min_rx,
            desired_tx: packet.desired_min_tx,
            multiplier: packet.multiplier,
            demand: packet.demand,
        };
        if packet.is_final {
            self.polling = false;
        }
        let change = self.follow(packet.state);
        self.detection = match self.state {
            State::Init | State::Up => Some(now + self.detection_time()),
            State::Down | State::AdminDown => None,
        };
        if self.interval() != before.0 {
            // A shorter interval holds at once; a longer one may as well begin now.
            self.schedule(now, jitter);
        }
        let answer = packet.poll.then(|| Control { poll: false, is_final: true, ..self.control() });
        // A state that has changed is told at once: the other end waits for it.
        let told = answer.or_else(|| (self.state != before.1).then(|| self.control()));
        (told, change)
    }

    /// The table of RFC 5880 §6.2.
    fn follow(&mut self, remote: State) -> Option<Change> {
        match (self.state, remote) {
            (State::Down, State::Down) => self.enter(State::Init, self.diagnostic, false),
            (State::Down, State::Init) | (State::Init, State::Init | State::Up) => {
                // Our faster timing begins now, and is asked about (RFC 5880 §6.8.3).
                self.polling = true;
                self.enter(State::Up, Diagnostic::NONE, false)
            }
            (State::Up, State::Down) => self.enter(State::Down, Diagnostic::NEIGHBOR_SIGNALED, false),
            (State::Init | State::Up, State::AdminDown) => {
                self.enter(State::Down, Diagnostic::NEIGHBOR_SIGNALED, true)
            }
            _ => None,
        }
    }

    fn enter(&mut self, state: State, diagnostic: Diagnostic, by_administrator: bool) -> Option<Change> {
        let before = std::mem::replace(&mut self.state, state);
        self.diagnostic = diagnostic;
        match (before, state) {
            (State::Up, State::Up) => None,
            (_, State::Up) => Some(Change::Up),
            (State::Up, _) => {
                self.polling = false;
                Some(Change::Down { diagnostic, by_administrator })
            }
            _ => None,
        }
    }
}
