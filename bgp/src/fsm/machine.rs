//! The transitions.

use std::time::Duration;

use super::slot::{End, Kept, Slot};
use super::{
    Action, CONNECT_TIMEOUT, Down, Event, OPEN_TIMEOUT, RETRY_FIRST, RETRY_LAST, Reset, SETTLE, Settings,
    Side, State, Timer,
};
use crate::packet::notification::{cease, fsm as fsm_error, hold};
use crate::packet::{Context, Message, Notification, Open};

/// The state machine of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fsm {
    settings: Settings,
    started: bool,
    outgoing: Slot,
    incoming: Slot,
    /// Failures since the session was last up.
    failures: u32,
    /// The connect timer runs.
    retry_armed: bool,
    /// The peer is to stay away until the connect timer runs out.
    paused: bool,
    /// The session has just come up.
    fresh: bool,
}

impl Fsm {
    /// A machine in state Idle.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            started: false,
            outgoing: Slot::IDLE,
            incoming: Slot::IDLE,
            failures: 0,
            retry_armed: false,
            paused: false,
            fresh: false,
        }
    }

    /// The peer's state.
    pub fn state(&self) -> State {
        self.outgoing.state.max(self.incoming.state)
    }

    /// How messages on a connection are read and written, as far as that is agreed.
    pub fn context(&self, side: Side) -> Context {
        self.slot(side).agreed.as_ref().map(|agreed| agreed.context).unwrap_or_default()
    }

    /// Takes in an event.
    pub fn handle(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        let out = &mut actions;
        match event {
            Event::Start if !self.started => {
                self.started = true;
                self.begin(out);
            }
            Event::Start => {}
            Event::Stop(notification) => self.stop(notification.as_ref(), out),
            Event::Offered => self.offered(out),
            Event::Connected => self.connected(out),
            Event::ConnectFailed(reason) => {
                if self.failed(reason, out) {
                    self.retry(out);
                }
            }
            Event::Unanswered(reason) => {
                // Nobody hears of such an attempt, so there may be many: a way that is back is used soon.
                if self.failed(reason, out) && !self.incoming.is_open() {
                    self.arm_connect(RETRY_FIRST, out);
                }
            }
            Event::Received(side, message) => self.received(side, message, out),
            Event::Invalid(side, notification) => {
                if self.slot(side).is_open() {
                    let reason = format!("the peer sent something malformed: {notification}");
                    self.end(side, End::with(notification, reason), out);
                }
            }
            Event::Lost(side, reason) => {
                if self.slot(side).is_open() {
                    self.end(side, End::lost(reason), out);
                }
            }
            Event::Reset(reset) => self.reset(&reset, out),
            Event::Expired(timer) => self.expired(timer, out),
        }
        actions
    }

    pub(super) fn slot(&self, side: Side) -> &Slot {
        match side {
            Side::Outgoing => &self.outgoing,
            Side::Incoming => &self.incoming,
        }
    }

    pub(super) fn slot_mut(&mut self, side: Side) -> &mut Slot {
        match side {
            Side::Outgoing => &mut self.outgoing,
            Side::Incoming => &mut self.incoming,
        }
    }

    fn begin(&mut self, out: &mut Vec<Action>) {
        if self.settings.passive {
            self.outgoing.state = State::Active;
        } else {
            self.outgoing.state = State::Connect;
            out.push(Action::Connect);
            self.arm_connect(CONNECT_TIMEOUT, out);
        }
    }

    /// The attempt to connect is over; false if there was none.
    fn failed(&mut self, reason: String, out: &mut Vec<Action>) -> bool {
        let attempted = self.outgoing.state == State::Connect;
        if attempted {
            self.outgoing.state = State::Active;
            self.disarm_connect(out);
            out.push(Action::Report(reason));
            self.release(Side::Incoming, out);
        }
        attempted
    }

    /// Does not wait for the answer to the attempt to connect.
    pub(super) fn give_attempt_up(&mut self, out: &mut Vec<Action>) {
        out.push(Action::CancelConnect);
        self.disarm_connect(out);
        self.outgoing.state = State::Active;
    }

    /// True if a session is wanted now.
    pub(super) fn may_come_up(&self) -> bool {
        self.started && !self.paused
    }

    fn arm_connect(&mut self, after: Duration, out: &mut Vec<Action>) {
        self.retry_armed = true;
        out.push(Action::Arm(Timer::Connect, after));
    }

    fn disarm_connect(&mut self, out: &mut Vec<Action>) {
        if self.retry_armed {
            self.retry_armed = false;
            out.push(Action::Disarm(Timer::Connect));
        }
    }

    /// Sees to it that there will be another attempt, unless a connection is there that may come up.
    fn retry(&mut self, out: &mut Vec<Action>) {
        if !self.started || self.settings.passive || self.retry_armed || self.paused {
            return;
        }
        if self.outgoing.state == State::Active && !self.incoming.is_open() {
            let factor = 1_u32 << self.failures.min(8);
            self.failures = self.failures.saturating_add(1);
            self.arm_connect(RETRY_FIRST.saturating_mul(factor).min(RETRY_LAST), out);
        }
    }

    fn stop(&mut self, notification: Option<&Notification>, out: &mut Vec<Action>) {
        self.started = false;
        if self.outgoing.state == State::Connect {
            out.push(Action::CancelConnect);
        }
        self.disarm_connect(out);
        for side in [Side::Outgoing, Side::Incoming] {
            if self.slot(side).is_open() {
                let reason = "stopped".to_owned();
                let survives = self.slot(side).survives(&self.settings);
                let notification =
                    notification.map(|one| if survives { one.hardened() } else { one.clone() });
                let end = End { notification, reason, kept: Kept::Never };
                self.end(side, end, out);
            }
        }
        self.outgoing = Slot::IDLE;
        self.failures = 0;
        self.paused = false;
    }

    /// Ends all connections, and lets none come up before the pause is over.
    fn reset(&mut self, reset: &Reset, out: &mut Vec<Action>) {
        if !self.started {
            return;
        }
        if self.outgoing.state == State::Connect {
            self.give_attempt_up(out);
        }
        self.paused = true;
        for side in [Side::Outgoing, Side::Incoming] {
            if self.slot(side).is_open() {
                let survives = self.slot(side).survives(&self.settings);
                let notification = &reset.notification;
                let notification = if survives { notification.hardened() } else { notification.clone() };
                let reason = reset.reason.clone();
                self.end(side, End { notification: Some(notification), reason, kept: Kept::Never }, out);
            }
        }
        self.arm_connect(reset.pause, out);
    }

    /// The peer has connected to us.
    fn offered(&mut self, out: &mut Vec<Action>) {
        if !self.may_come_up() {
            out.push(Action::Refuse);
            return;
        }
        if let Some(side) = self.established() {
            // RFC 4724 §5: a peer that restarts gracefully has lost the old connection. Any other peer has to wait
            // until the old one is found dead (RFC 4271 §6.8), or else a stranger could end sessions at will. Both ends
            // connect after a restart, and of two connections that cross each other the first must not be ended for the
            // second, which the peer ends for the first.
            let graceful =
                self.slot(side).agreed.as_ref().is_some_and(|agreed| agreed.graceful_restart.is_some());
            if !graceful || self.fresh {
                out.push(Action::Refuse);
                return;
            }
            let reason = "the peer restarted and connected anew".to_owned();
            self.end(side, End::lost(reason), out);
        }
        if self.incoming.is_open() {
            // It connects again, so it has given the earlier connection up.
            let notification = Notification::new(cease::CODE, cease::COLLISION);
            self.end(Side::Incoming, End::with(notification, "the peer connected again"), out);
        }
        out.push(Action::Accept);
        self.greet(Side::Incoming, out);
    }

    fn connected(&mut self, out: &mut Vec<Action>) {
        if self.outgoing.state != State::Connect {
            out.push(Action::Close(Side::Outgoing));
            return;
        }
        self.disarm_connect(out);
        self.greet(Side::Outgoing, out);
        self.wait_for_open(Side::Outgoing, out);
    }

    fn greet(&mut self, side: Side, out: &mut Vec<Action>) {
        *self.slot_mut(side) = Slot { state: State::OpenSent, agreed: None, held: None };
        out.push(Action::SendOpen(side, self.settings.open()));
        out.push(Action::Arm(Timer::Hold(side), OPEN_TIMEOUT));
    }

    fn established(&self) -> Option<Side> {
        [Side::Outgoing, Side::Incoming].into_iter().find(|side| self.slot(*side).state == State::Established)
    }

    fn received(&mut self, side: Side, message: Message, out: &mut Vec<Action>) {
        let state = self.slot(side).state;
        if state < State::OpenSent {
            return;
        }
        match (state, message) {
            (_, Message::Notification(notification)) => {
                let reason = format!("the peer closed the session: {notification}");
                // The peer goes on with the other of two connections that have crossed.
                let crossed = state == State::Established && notification.is_collision();
                let kept = match (crossed, notification.is_hard()) {
                    (true, _) => Kept::Always,
                    (false, true) => Kept::Never,
                    (false, false) => Kept::IfAgreed,
                };
                self.end(side, End { notification: None, reason, kept }, out);
            }
            (State::OpenSent, Message::Open(open)) => self.opened(side, &open, out),
            (State::OpenConfirm, Message::Keepalive) if self.confirmed_early(side) => {}
            (State::OpenConfirm, Message::Keepalive) => self.confirmed(side, out),
            (State::Established, Message::Keepalive) => self.heard(side, out),
            (State::Established, Message::Update(update)) => {
                self.heard(side, out);
                out.push(Action::Deliver(update));
            }
            (State::Established, Message::RouteRefresh(refresh)) => {
                self.heard(side, out);
                out.extend(refresh.map(|(family, what)| Action::Refresh(family, what)));
            }
            (state, message) => {
                let subcode = match state {
                    State::OpenSent => fsm_error::IN_OPEN_SENT,
                    State::OpenConfirm => fsm_error::IN_OPEN_CONFIRM,
                    _ => fsm_error::IN_ESTABLISHED,
                };
                let reason = format!("the peer sent {} in state {state}", message.name());
                self.end(side, End::with(Notification::new(fsm_error::CODE, subcode), reason), out);
            }
        }
    }

    /// The peer's OPEN came (RFC 4271 §8.2.2, event 19).
    fn opened(&mut self, side: Side, open: &Open, out: &mut Vec<Action>) {
        let agreed = match self.settings.agree(open) {
            Ok(agreed) => agreed,
            Err((notification, reason)) => {
                self.end(side, End::with(notification, reason), out);
                return;
            }
        };
        let loser = match self.slot(side.other()).state {
            State::Established => Some(side),
            State::OpenConfirm => Some(self.settings.surviving_side(open).other()),
            _ => None,
        };
        if let Some(loser) = loser {
            self.lose_collision(loser, out);
            if loser == side {
                return;
            }
        }
        let slot = self.slot_mut(side);
        *slot = Slot { state: State::OpenConfirm, agreed: Some(agreed), held: None };
        self.heard(side, out);
        self.confirm_or_hold(side, out);
    }

    /// Accepts the peer's OPEN.
    pub(super) fn confirm(&self, side: Side, out: &mut Vec<Action>) {
        out.push(Action::SendKeepalive(side));
        self.arm_keepalive(side, out);
    }

    /// The peer has accepted our OPEN, and we its.
    pub(super) fn confirmed(&mut self, side: Side, out: &mut Vec<Action>) {
        self.slot_mut(side).state = State::Established;
        self.failures = 0;
        self.fresh = true;
        out.push(Action::Arm(Timer::Settle, SETTLE));
        if self.slot(side.other()).is_open() {
            self.lose_collision(side.other(), out);
        }
        self.disarm_connect(out);
        self.heard(side, out);
        self.settings.capabilities.start_is_over();
        if let Some(agreed) = self.slot(side).agreed.clone() {
            out.push(Action::Up(side, Box::new(agreed)));
        }
    }

    fn hold_time(&self, side: Side) -> u16 {
        self.slot(side).agreed.as_ref().map_or(0, |agreed| agreed.hold_time)
    }

    fn heard(&self, side: Side, out: &mut Vec<Action>) {
        out.push(match self.hold_time(side) {
            0 => Action::Disarm(Timer::Hold(side)),
            seconds => Action::Arm(Timer::Hold(side), Duration::from_secs(seconds.into())),
        });
    }

    fn arm_keepalive(&self, side: Side, out: &mut Vec<Action>) {
        let hold_time = self.hold_time(side);
        if hold_time > 0 {
            out.push(Action::Arm(Timer::Keepalive(side), Duration::from_secs(hold_time.into()) / 3));
        }
    }

    fn expired(&mut self, timer: Timer, out: &mut Vec<Action>) {
        match timer {
            Timer::Connect => {
                self.retry_armed = false;
                self.paused = false;
                if self.outgoing.state == State::Connect {
                    self.give_attempt_up(out);
                    out.push(Action::Report(format!("no answer within {CONNECT_TIMEOUT:?}")));
                    self.release(Side::Incoming, out);
                }
                if self.started && self.outgoing.state == State::Active && !self.incoming.is_open() {
                    // It has waited long enough.
                    self.begin(out);
                }
            }
            Timer::Hold(side) if self.slot(side).is_open() => {
                let reason = match self.slot(side).state {
                    State::OpenSent => format!("no OPEN came within {OPEN_TIMEOUT:?}"),
                    _ => format!("nothing came for {} s (hold time)", self.hold_time(side)),
                };
                self.end(side, End::with(Notification::new(hold::CODE, 0), reason), out);
            }
            Timer::Keepalive(side) if self.slot(side).is_open() => {
                out.push(Action::SendKeepalive(side));
                self.arm_keepalive(side, out);
            }
            Timer::Settle => self.fresh = false,
            Timer::Crossing => self.waited_enough(out),
            Timer::Hold(_) | Timer::Keepalive(_) => {}
        }
    }

    /// Ends one connection and sees to what comes next.
    pub(super) fn end(&mut self, side: Side, end: End, out: &mut Vec<Action>) {
        let slot = std::mem::replace(self.slot_mut(side), Slot::IDLE);
        let collision = end.notification.as_ref().is_some_and(Notification::is_collision);
        if let Some(notification) = end.notification {
            out.push(Action::SendNotification(side, notification));
        }
        out.push(Action::Close(side));
        if slot.held.is_some() {
            out.push(Action::Disarm(Timer::Crossing));
        }
        out.push(Action::Disarm(Timer::Hold(side)));
        out.push(Action::Disarm(Timer::Keepalive(side)));
        if !collision && self.started {
            out.push(Action::Report(end.reason.clone()));
        }
        if slot.state == State::Established {
            let graceful = slot.agreed.as_ref().is_some_and(|agreed| agreed.graceful_restart.is_some());
            let retain = match end.kept {
                Kept::Always => graceful,
                Kept::IfAgreed => slot.survives(&self.settings),
                Kept::Never => false,
            };
            out.push(Action::Down(Down { reason: end.reason, retain }));
        }
        if side == Side::Outgoing && self.started {
            self.outgoing.state = State::Active;
        }
        self.release(side.other(), out);
        self.retry(out);
    }
}
