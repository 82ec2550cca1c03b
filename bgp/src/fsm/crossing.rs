//! Two connections of one peer that cross each other (RFC 4271 §6.8).
//!
//! A session must not come up on one of them while the peer has not yet seen the other: who keeps to RFC 4724 §5 (FRR, BIRD) takes a
//! connection that it accepts later for a restart, and ends the session for it, whatever becomes of that connection. So the KEEPALIVE that
//! would let the session come up is held back until the other connection has its OPEN, which shows that the peer has accepted it, or is gone.

use std::time::Duration;

use super::machine::Fsm;
use super::slot::End;
use super::{Action, Side, State, Timer};
use crate::packet::Notification;
use crate::packet::notification::cease;

/// How long a connection waits for an attempt to connect that nobody has answered yet. An attempt that is given up before its answer is there
/// is nothing that the peer would see.
const ATTEMPT: Duration = Duration::from_millis(200);
/// How long it waits for the OPEN on the other connection; less than the third of the smallest hold time.
const OPEN: Duration = Duration::from_millis(900);

impl Fsm {
    /// Both OPENs are there: accepts the peer's, or holds that back while the other connection is in the making.
    pub(super) fn confirm_or_hold(&mut self, side: Side, out: &mut Vec<Action>) {
        let other = side.other();
        let patience = match self.slot(other).state {
            State::Connect => ATTEMPT,
            State::OpenSent => OPEN,
            _ => return self.confirm(side, out),
        };
        self.slot_mut(side).held = Some(false);
        out.push(Action::Arm(Timer::Crossing, patience));
    }

    /// Notes that the peer has accepted our OPEN on a connection that is held back; false if it is not.
    pub(super) fn confirmed_early(&mut self, side: Side) -> bool {
        match &mut self.slot_mut(side).held {
            Some(confirmed) => {
                *confirmed = true;
                true
            }
            None => false,
        }
    }

    /// The attempt to connect that the other connection waited for has become a connection.
    pub(super) fn wait_for_open(&self, side: Side, out: &mut Vec<Action>) {
        if self.slot(side.other()).held.is_some() {
            out.push(Action::Arm(Timer::Crossing, OPEN));
        }
    }

    /// Nothing is in the way of this connection any more.
    pub(super) fn release(&mut self, side: Side, out: &mut Vec<Action>) {
        let Some(confirmed) = self.slot_mut(side).held.take() else { return };
        out.push(Action::Disarm(Timer::Crossing));
        if self.may_come_up() {
            self.confirm(side, out);
            if confirmed {
                self.confirmed(side, out);
            }
        }
    }

    /// The other connection has had its time.
    pub(super) fn waited_enough(&mut self, out: &mut Vec<Action>) {
        let held = [Side::Outgoing, Side::Incoming].into_iter().find(|side| self.slot(*side).held.is_some());
        let Some(side) = held else { return };
        match self.slot(side.other()).state {
            State::Connect => {
                self.give_attempt_up(out);
                self.release(side, out);
            }
            _ => self.lose_collision(side.other(), out),
        }
    }

    /// Ends the one of two connections that does not stay.
    pub(super) fn lose_collision(&mut self, loser: Side, out: &mut Vec<Action>) {
        let notification = Notification::new(cease::CODE, cease::COLLISION);
        self.end(loser, End::with(notification, "the other connection is kept"), out);
    }
}
