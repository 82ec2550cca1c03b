//! Sessions against each other over a path that loses packets: pure, with time as a number.

use std::time::Duration;

use proptest::prelude::*;

use super::{Change, Control, Diagnostic, Session, State, Timing};

const STEP: Duration = Duration::from_millis(1);

fn timing(milliseconds: u64, multiplier: u8) -> Timing {
    let interval = Duration::from_millis(milliseconds);
    Timing { desired_min_tx: interval, required_min_rx: interval, multiplier }
}

/// Two ends of a path that can be cut in each direction.
struct Path {
    ends: [Session; 2],
    now: Duration,
    carries: [bool; 2],
    changes: [Vec<(Duration, Change)>; 2],
    sent: [u64; 2],
}

impl Path {
    fn new(one: Timing, other: Timing) -> Self {
        let now = Duration::ZERO;
        Self {
            ends: [Session::new(one, 1, now), Session::new(other, 2, now)],
            now,
            carries: [true; 2],
            changes: [Vec::new(), Vec::new()],
            sent: [0; 2],
        }
    }

    fn deliver(&mut self, from: usize, packet: Control) {
        let mut packet = Some((from, packet));
        while let Some((from, control)) = packet.take() {
            self.sent[from] += 1;
            if !self.carries[from] {
                return;
            }
            let to = 1 - from;
            // What is read is what was written.
            let control = Control::decode(&control.encode()).unwrap();
            let (answer, change) = self.ends[to].receive(&control, self.now, 0.5);
            self.changes[to].extend(change.map(|change| (self.now, change)));
            packet = answer.map(|answer| (to, answer));
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += STEP;
            for from in [0, 1] {
                let (packet, change) = self.ends[from].tick(self.now, 0.5);
                self.changes[from].extend(change.map(|change| (self.now, change)));
                if let Some(packet) = packet {
                    self.deliver(from, packet);
                }
            }
        }
    }

    fn states(&self) -> [State; 2] {
        [self.ends[0].state(), self.ends[1].state()]
    }
}

fn running(one: Timing, other: Timing) -> Path {
    let mut path = Path::new(one, other);
    path.run(Duration::from_secs(3));
    assert_eq!(path.states(), [State::Up; 2]);
    path
}

#[test]
fn two_ends_that_hear_each_other_come_up_and_send_as_often_as_agreed() {
    let mut path = running(timing(100, 3), timing(50, 3));
    path.run(Duration::from_secs(1));
    let before = path.sent;
    path.run(Duration::from_secs(10));
    // The slower wish of both counts in each direction, less the jitter.
    let count = |end: usize| path.sent[end] - before[end];
    assert!((100..=135).contains(&count(0)) && (100..=135).contains(&count(1)), "{} {}", count(0), count(1));
}

#[test]
fn a_path_that_is_cut_in_one_direction_is_lost_at_both_ends() {
    let mut path = running(timing(50, 3), timing(50, 3));
    path.carries[0] = false;
    let cut = path.now;
    path.run(Duration::from_secs(1));
    assert_ne!(path.states(), [State::Up; 2]);
    let (when, change) = path.changes[1][1];
    assert_eq!(change, Change::Down { diagnostic: Diagnostic::TIME_EXPIRED, by_administrator: false });
    assert!(when <= cut + Duration::from_millis(151), "{when:?} {cut:?}");
    // The end that still hears is told by the other.
    let (when, change) = path.changes[0][1];
    assert_eq!(change, Change::Down { diagnostic: Diagnostic::NEIGHBOR_SIGNALED, by_administrator: false });
    assert!(when <= cut + Duration::from_millis(160), "{when:?} {cut:?}");
    path.carries[0] = true;
    path.run(Duration::from_secs(3));
    assert_eq!(path.states(), [State::Up; 2]);
}

#[test]
fn an_end_that_is_taken_away_by_hand_is_no_failure() {
    let mut path = running(timing(50, 3), timing(50, 3));
    let last = path.ends[0].last_control();
    path.deliver(0, last);
    let (_, change) = path.changes[1][1];
    assert!(matches!(change, Change::Down { by_administrator: true, .. }), "{change:?}");
}

#[test]
fn other_timing_is_agreed_while_the_session_stays_up() {
    let mut path = running(timing(50, 3), timing(50, 3));
    let now = path.now;
    path.ends[0].retime(timing(300, 4), now);
    path.run(Duration::from_secs(5));
    assert_eq!(path.states(), [State::Up; 2]);
    assert_eq!((path.changes[0].len(), path.changes[1].len()), (1, 1), "nothing but the one Up");
    assert_eq!(path.ends[0].detection_time(), Duration::from_millis(900));
    assert_eq!(path.ends[1].detection_time(), Duration::from_millis(1200));
}

#[test]
fn an_end_that_wants_no_packets_gets_none() {
    let mut path = running(timing(50, 3), timing(50, 3));
    let (now, quiet) = (path.now, Control { required_min_rx: Duration::ZERO, ..path.ends[1].control() });
    path.ends[0].receive(&quiet, now, 0.5);
    assert_eq!(path.ends[0].interval(), None);
    assert_eq!(path.ends[0].tick(now + Duration::from_millis(140), 0.5), (None, None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happened on the path: once it carries packets again both ends come up, and each end has said its changes in
    /// turn, Up and Down.
    #[test]
    fn both_ends_agree_in_the_end(
        cuts in proptest::collection::vec((any::<[bool; 2]>(), 1..400_u64), 0..12),
        intervals in (10..400_u64, 10..400_u64),
        multipliers in (1..6_u8, 1..6_u8),
    ) {
        let mut path = Path::new(timing(intervals.0, multipliers.0), timing(intervals.1, multipliers.1));
        for (carries, milliseconds) in cuts {
            path.carries = carries;
            path.run(Duration::from_millis(milliseconds));
        }
        path.carries = [true; 2];
        path.run(Duration::from_secs(8));
        prop_assert_eq!(path.states(), [State::Up; 2]);
        for changes in &path.changes {
            for pair in changes.windows(2) {
                prop_assert_ne!(pair[0].1 == Change::Up, pair[1].1 == Change::Up);
            }
        }
    }
}
