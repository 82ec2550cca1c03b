//! The transitions of RFC 4271 §8.2.2 as tables.

mod crossing;

use std::net::Ipv4Addr;

use prefix::Family;
use proptest::prelude::*;

use super::{Action, Down, Event, Fsm, Settings, Side, State, Timer};
use crate::packet::{Capabilities, Message, Notification, Open, RestartCapability, Update};

const OURS: u8 = 5;

fn id(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, last)
}

fn settings() -> Settings {
    Settings {
        asn: 64512,
        router_id: id(OURS),
        peer_asn: 64512,
        hold_time: 90,
        capabilities: Capabilities {
            families: Family::BOTH.into(),
            four_octet_as: true,
            route_refresh: true,
            enhanced_refresh: true,
            graceful_restart: Some(RestartCapability { seconds: 90, ..Default::default() }),
            long_lived: Vec::new(),
            extended_next_hop: false,
        },
        passive: false,
    }
}

fn open(last: u8) -> Open {
    Open { asn: 64512, hold_time: 30, router_id: id(last), capabilities: settings().capabilities }
}

fn said(side: Side, message: Message) -> Event {
    Event::Received(side, message)
}

fn opened(side: Side, last: u8) -> Event {
    said(side, Message::Open(open(last)))
}

/// A machine in `state`, by the outgoing connection.
fn in_state(state: State) -> Fsm {
    let mut fsm = Fsm::new(settings());
    let way = [
        (State::Connect, Event::Start),
        (State::OpenSent, Event::Connected),
        (State::OpenConfirm, opened(Side::Outgoing, 9)),
        (State::Established, said(Side::Outgoing, Message::Keepalive)),
    ];
    if state == State::Active {
        fsm.handle(Event::Start);
        fsm.handle(Event::ConnectFailed("refused".to_owned()));
    }
    for (reached, event) in way {
        if state >= reached && state != State::Active {
            fsm.handle(event);
        }
    }
    assert_eq!(fsm.state(), state);
    fsm
}

fn is_held(fsm: &Fsm) -> bool {
    [Side::Outgoing, Side::Incoming].into_iter().any(|side| fsm.slot(side).held.is_some())
}

fn notification(actions: &[Action]) -> Option<(u8, u8)> {
    actions.iter().find_map(|action| match action {
        Action::SendNotification(_, notification) => Some((notification.code, notification.subcode)),
        _ => None,
    })
}

fn down(actions: &[Action]) -> Option<&Down> {
    actions.iter().find_map(|action| match action {
        Action::Down(down) => Some(down),
        _ => None,
    })
}

fn armed(actions: &[Action], timer: Timer) -> Option<u64> {
    actions.iter().find_map(|action| match action {
        Action::Arm(which, after) if *which == timer => Some(after.as_secs()),
        _ => None,
    })
}

#[test]
fn a_session_comes_up_in_the_order_of_the_rfc() {
    let mut fsm = Fsm::new(settings());
    assert_eq!(fsm.state(), State::Idle);
    let actions = fsm.handle(Event::Start);
    assert_eq!(actions[0], Action::Connect);
    assert_eq!(fsm.state(), State::Connect);
    let actions = fsm.handle(Event::Connected);
    assert_eq!(actions[0], Action::Disarm(Timer::Connect));
    assert!(matches!(&actions[1], Action::SendOpen(Side::Outgoing, open) if open.hold_time == 90));
    let actions = fsm.handle(opened(Side::Outgoing, 9));
    assert!(actions.contains(&Action::SendKeepalive(Side::Outgoing)));
    assert_eq!(armed(&actions, Timer::Hold(Side::Outgoing)), Some(30), "the smaller hold time counts");
    assert_eq!(armed(&actions, Timer::Keepalive(Side::Outgoing)), Some(10));
    let actions = fsm.handle(said(Side::Outgoing, Message::Keepalive));
    assert!(matches!(actions.last(), Some(Action::Up(Side::Outgoing, agreed)) if agreed.router_id == id(9)));
    assert_eq!(fsm.state(), State::Established);
}

#[test]
fn a_message_out_of_its_state_ends_the_session_with_the_code_of_that_state() {
    let keepalive = || Message::Keepalive;
    let update = || Message::Update(Box::default());
    let refresh = || Message::RouteRefresh(Some((Family::V4, crate::packet::Refresh::Request)));
    let cases = [
        (State::OpenSent, keepalive(), Some((5, 1))),
        (State::OpenSent, update(), Some((5, 1))),
        (State::OpenSent, refresh(), Some((5, 1))),
        (State::OpenConfirm, Message::Open(open(9)), Some((5, 2))),
        (State::OpenConfirm, update(), Some((5, 2))),
        (State::Established, Message::Open(open(9)), Some((5, 3))),
        (State::OpenSent, Message::Notification(Notification::new(2, 2)), None),
        (State::OpenConfirm, Message::Notification(Notification::new(6, 2)), None),
        (State::Established, Message::Notification(Notification::new(6, 2)), None),
    ];
    for (state, message, expected) in cases {
        let mut fsm = in_state(state);
        let name = format!("{} in {state}", message.name());
        let actions = fsm.handle(said(Side::Outgoing, message));
        assert_eq!(notification(&actions), expected, "{name}");
        assert!(actions.contains(&Action::Close(Side::Outgoing)), "{name}");
        assert_eq!(down(&actions).is_some(), state == State::Established, "{name}");
        assert_eq!(fsm.state(), State::Active, "{name}");
        assert!(armed(&actions, Timer::Connect).is_some(), "{name}: no next attempt");
    }
}

#[test]
fn an_open_that_does_not_fit_is_refused_with_its_code() {
    let mut other_as = open(9);
    other_as.asn = 64999;
    let mut no_family = open(9);
    no_family.capabilities.families = [Family::V6].into();
    let cases = [(other_as, (2, 2)), (open(OURS), (2, 3)), (no_family, (2, 7))];
    for (open, expected) in cases {
        let mut settings = settings();
        settings.capabilities.families = [Family::V4].into();
        let mut fsm = Fsm::new(settings);
        fsm.handle(Event::Start);
        fsm.handle(Event::Connected);
        let actions = fsm.handle(said(Side::Outgoing, Message::Open(open)));
        assert_eq!(notification(&actions), Some(expected));
        assert!(actions.iter().any(|action| matches!(action, Action::Report(_))));
    }
}

#[test]
fn of_two_connections_the_one_of_the_higher_identifier_stays() {
    // (their identifier, which OPEN comes first, the side that stays)
    let cases = [
        (9, Side::Outgoing, Side::Incoming),
        (9, Side::Incoming, Side::Incoming),
        (1, Side::Outgoing, Side::Outgoing),
        (1, Side::Incoming, Side::Outgoing),
    ];
    for (theirs, first, stays) in cases {
        let mut fsm = in_state(State::OpenSent);
        assert_eq!(fsm.handle(Event::Offered)[0], Action::Accept);
        fsm.handle(opened(first, theirs));
        let actions = fsm.handle(opened(first.other(), theirs));
        assert_eq!(notification(&actions), Some((6, 7)), "{theirs} {first:?}");
        assert!(actions.contains(&Action::Close(stays.other())), "{theirs} {first:?}");
        assert!(!actions.contains(&Action::Close(stays)));
        assert_eq!(armed(&actions, Timer::Connect), None, "no attempt while one connection lives");
        let actions = fsm.handle(said(stays, Message::Keepalive));
        assert!(matches!(actions.last(), Some(Action::Up(side, _)) if *side == stays));
    }
}

#[test]
fn an_established_session_is_not_ended_by_a_new_connection() {
    let mut settings = settings();
    settings.capabilities.graceful_restart = None;
    let mut fsm = Fsm::new(settings);
    for event in
        [Event::Start, Event::Connected, opened(Side::Outgoing, 9), said(Side::Outgoing, Message::Keepalive)]
    {
        fsm.handle(event);
    }
    assert_eq!(fsm.handle(Event::Offered), [Action::Refuse]);
    assert_eq!(fsm.state(), State::Established);
}

#[test]
fn a_peer_that_restarts_gracefully_takes_its_old_session_over() {
    let mut fsm = in_state(State::Established);
    fsm.handle(Event::Expired(Timer::Settle));
    let actions = fsm.handle(Event::Offered);
    assert!(down(&actions).unwrap().retain);
    assert!(actions.contains(&Action::Close(Side::Outgoing)) && actions.contains(&Action::Accept));
}

/// After a restart both ends connect; the peer ends its second connection for the first, so nobody may end the first for the
/// second.
#[test]
fn a_connection_that_crossed_the_one_that_came_up_ends_no_session() {
    let mut fsm = in_state(State::Established);
    assert_eq!(fsm.handle(Event::Offered), [Action::Refuse]);
    assert_eq!(fsm.state(), State::Established);
    let crossed = Notification::new(6, 7);
    let actions = fsm.handle(said(Side::Outgoing, Message::Notification(crossed)));
    assert!(down(&actions).unwrap().retain, "the peer goes on with the other one");
}

#[test]
fn routes_are_kept_for_a_lost_connection_but_not_for_a_silent_or_a_closing_peer() {
    let cases = [
        (Event::Lost(Side::Outgoing, "reset".to_owned()), true),
        (Event::Expired(Timer::Hold(Side::Outgoing)), false),
        (said(Side::Outgoing, Message::Notification(Notification::new(6, 2))), false),
        (Event::Stop(Some(Notification::new(6, 3))), false),
    ];
    for (event, retain) in cases {
        let mut fsm = in_state(State::Established);
        assert_eq!(down(&fsm.handle(event.clone())).unwrap().retain, retain, "{event:?}");
    }
}

#[test]
fn silence_ends_a_session_after_the_hold_time_and_traffic_prolongs_it() {
    for message in [Message::Keepalive, Message::Update(Box::default()), Message::RouteRefresh(None)] {
        let mut fsm = in_state(State::Established);
        let actions = fsm.handle(said(Side::Outgoing, message));
        assert_eq!(armed(&actions, Timer::Hold(Side::Outgoing)), Some(30));
    }
    let mut fsm = in_state(State::Established);
    let actions = fsm.handle(Event::Expired(Timer::Hold(Side::Outgoing)));
    assert_eq!(notification(&actions), Some((4, 0)));
    let actions = in_state(State::Established).handle(Event::Expired(Timer::Keepalive(Side::Outgoing)));
    assert_eq!(actions[0], Action::SendKeepalive(Side::Outgoing));
    assert_eq!(armed(&actions, Timer::Keepalive(Side::Outgoing)), Some(10));
}

#[test]
fn a_hold_time_of_zero_runs_no_timers() {
    let mut settings = settings();
    settings.hold_time = 0;
    let mut fsm = Fsm::new(settings);
    fsm.handle(Event::Start);
    fsm.handle(Event::Connected);
    let actions = fsm.handle(opened(Side::Outgoing, 9));
    assert!(actions.contains(&Action::Disarm(Timer::Hold(Side::Outgoing))));
    assert_eq!(armed(&actions, Timer::Keepalive(Side::Outgoing)), None);
}

#[test]
fn attempts_come_ever_more_slowly_and_start_afresh_after_a_session() {
    let mut fsm = Fsm::new(settings());
    fsm.handle(Event::Start);
    let mut waits = Vec::new();
    for _ in 0..6 {
        let actions = fsm.handle(Event::ConnectFailed("refused".to_owned()));
        waits.push(armed(&actions, Timer::Connect).unwrap());
        assert_eq!(fsm.handle(Event::Expired(Timer::Connect))[0], Action::Connect);
    }
    assert_eq!(waits, [1, 2, 4, 8, 16, 16]);
    for event in [Event::Connected, opened(Side::Outgoing, 9), said(Side::Outgoing, Message::Keepalive)] {
        fsm.handle(event);
    }
    let actions = fsm.handle(Event::Lost(Side::Outgoing, "reset".to_owned()));
    assert_eq!(armed(&actions, Timer::Connect), Some(1));
}

/// What nobody hears bothers nobody: when a cut way is healed, the next attempt is not far.
#[test]
fn attempts_that_nobody_answers_go_on_without_ever_longer_waits() {
    let mut fsm = Fsm::new(settings());
    fsm.handle(Event::Start);
    for _ in 0..6 {
        let actions = fsm.handle(Event::Unanswered("no route to host".to_owned()));
        assert_eq!(armed(&actions, Timer::Connect), Some(1));
        assert_eq!(fsm.handle(Event::Expired(Timer::Connect))[0], Action::Connect);
        // This one's time is over without a word of the kernel.
        let actions = fsm.handle(Event::Expired(Timer::Connect));
        assert!(
            actions.contains(&Action::CancelConnect) && actions.contains(&Action::Connect),
            "{actions:?}"
        );
    }
    let actions = fsm.handle(Event::ConnectFailed("refused".to_owned()));
    assert_eq!(armed(&actions, Timer::Connect), Some(1), "the first that the peer had a part in");
}

#[test]
fn a_passive_or_stopped_peer_never_connects() {
    let mut fsm = Fsm::new(Settings { passive: true, ..settings() });
    assert_eq!(fsm.handle(Event::Start), []);
    assert_eq!(fsm.state(), State::Active);
    assert_eq!(fsm.handle(Event::Offered)[0], Action::Accept);
    let mut fsm = in_state(State::Connect);
    assert!(fsm.handle(Event::Stop(None)).contains(&Action::CancelConnect));
    assert_eq!(fsm.state(), State::Idle);
    assert_eq!(fsm.handle(Event::Offered), [Action::Refuse]);
    assert_eq!(fsm.handle(Event::Connected), [Action::Close(Side::Outgoing)]);
}

#[test]
fn an_attempt_without_an_answer_is_given_up_for_another() {
    let mut fsm = in_state(State::Connect);
    let actions = fsm.handle(Event::Expired(Timer::Connect));
    assert_eq!(actions[0], Action::CancelConnect);
    assert!(actions.contains(&Action::Connect), "{actions:?}");
    assert_eq!(armed(&actions, Timer::Connect), Some(super::CONNECT_TIMEOUT.as_secs()));
}

fn any_event() -> impl Strategy<Value = Event> {
    let side = prop_oneof![Just(Side::Outgoing), Just(Side::Incoming)];
    let message = prop_oneof![
        4 => (1..9_u8).prop_map(|last| Message::Open(open(last))),
        4 => Just(Message::Keepalive),
        1 => Just(Message::Update(Box::<Update>::default())),
        1 => Just(Message::Notification(Notification::new(6, 4))),
        1 => Just(Message::RouteRefresh(None)),
    ];
    prop_oneof![
        2 => Just(Event::Start),
        1 => Just(Event::Stop(None)),
        3 => Just(Event::Offered),
        4 => Just(Event::Connected),
        1 => Just(Event::ConnectFailed(String::new())),
        1 => Just(Event::Unanswered(String::new())),
        12 => (side.clone(), message).prop_map(|(side, message)| Event::Received(side, message)),
        1 => side.clone().prop_map(|side| Event::Invalid(side, Notification::new(1, 1))),
        1 => side.clone().prop_map(|side| Event::Lost(side, String::new())),
        3 => Just(Event::Expired(Timer::Connect)),
        1 => Just(Event::Expired(Timer::Settle)),
        2 => Just(Event::Expired(Timer::Crossing)),
        1 => side.clone().prop_map(|side| Event::Expired(Timer::Hold(side))),
        1 => side.prop_map(|side| Event::Expired(Timer::Keepalive(side))),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_up_and_down_alternate_and_a_wanted_peer_is_never_forgotten(
        events in proptest::collection::vec(any_event(), 1..80)
    ) {
        let mut fsm = Fsm::new(settings());
        let (mut up, mut started, mut armed, mut crossing) = (false, false, false, false);
        for event in events {
            started = match event { Event::Start => true, Event::Stop(_) => false, _ => started };
            if event == Event::Expired(Timer::Connect) { armed = false; }
            if event == Event::Expired(Timer::Crossing) { crossing = false; }
            for action in fsm.handle(event) {
                match action {
                    Action::Up(..) => { prop_assert!(!up); up = true; }
                    Action::Down(_) => { prop_assert!(up); up = false; }
                    Action::Deliver(_) => prop_assert!(up),
                    Action::Arm(Timer::Connect, _) => armed = true,
                    Action::Disarm(Timer::Connect) => armed = false,
                    Action::Arm(Timer::Crossing, _) => crossing = true,
                    Action::Disarm(Timer::Crossing) => crossing = false,
                    _ => {}
                }
            }
            prop_assert_eq!(up, fsm.state() == State::Established);
            prop_assert_eq!(crossing, is_held(&fsm), "who waits waits for a time, and nobody else");
            if started {
                prop_assert!(armed || fsm.state() >= State::OpenSent, "nothing will happen in {}", fsm.state());
            } else {
                prop_assert_eq!(fsm.state(), State::Idle);
            }
        }
    }
}
