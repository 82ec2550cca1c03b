//! A session comes up only when the peer has seen both of two connections that cross each other.

use super::*;

/// The peer's connection has both OPENs while ours is under way.
fn crossed() -> Fsm {
    let mut fsm = in_state(State::Connect);
    fsm.handle(Event::Offered);
    let actions = fsm.handle(opened(Side::Incoming, 9));
    assert!(!actions.contains(&Action::SendKeepalive(Side::Incoming)), "{actions:?}");
    assert!(actions.iter().any(|action| matches!(action, Action::Arm(Timer::Crossing, _))));
    fsm
}

fn is_up(actions: &[Action], side: Side) -> bool {
    matches!(actions.last(), Some(Action::Up(up, _)) if *up == side)
}

#[test]
fn the_other_connection_is_waited_for_until_the_peer_has_accepted_it() {
    for (theirs, stays) in [(9, Side::Incoming), (1, Side::Outgoing)] {
        let mut fsm = in_state(State::Connect);
        fsm.handle(Event::Offered);
        fsm.handle(opened(Side::Incoming, theirs));
        let actions = fsm.handle(Event::Connected);
        assert!(matches!(&actions[1], Action::SendOpen(Side::Outgoing, _)), "{actions:?}");
        assert_eq!(fsm.handle(said(Side::Incoming, Message::Keepalive)), [], "it does not come up yet");
        let actions = fsm.handle(opened(Side::Outgoing, theirs));
        assert_eq!(notification(&actions), Some((6, 7)));
        assert!(actions.contains(&Action::Close(stays.other())), "{actions:?}");
        assert!(actions.contains(&Action::SendKeepalive(stays)) && !is_held(&fsm));
        match stays {
            // The peer's word was there before.
            Side::Incoming => assert!(is_up(&actions, stays), "{actions:?}"),
            Side::Outgoing => assert!(is_up(&fsm.handle(said(stays, Message::Keepalive)), stays)),
        }
    }
}

#[test]
fn an_attempt_that_fails_or_is_not_answered_holds_nothing_up() {
    for end in [
        Event::ConnectFailed("refused".to_owned()),
        Event::Unanswered("no route to host".to_owned()),
        Event::Expired(Timer::Crossing),
        Event::Expired(Timer::Connect),
    ] {
        let mut fsm = crossed();
        let actions = fsm.handle(end.clone());
        assert!(actions.contains(&Action::SendKeepalive(Side::Incoming)), "{end:?}: {actions:?}");
        let canceled = actions.contains(&Action::CancelConnect);
        assert_eq!(canceled, matches!(end, Event::Expired(_)), "{end:?}");
        assert!(!actions.contains(&Action::Connect), "{end:?}: a connection is there");
        assert!(is_up(&fsm.handle(said(Side::Incoming, Message::Keepalive)), Side::Incoming));
    }
}

#[test]
fn a_connection_on_which_nothing_comes_is_not_waited_for_for_ever() {
    for end in [Event::Expired(Timer::Crossing), Event::Lost(Side::Outgoing, "closed".to_owned())] {
        let mut fsm = crossed();
        fsm.handle(Event::Connected);
        fsm.handle(said(Side::Incoming, Message::Keepalive));
        let actions = fsm.handle(end.clone());
        assert!(actions.contains(&Action::Close(Side::Outgoing)), "{end:?}: {actions:?}");
        assert!(is_up(&actions, Side::Incoming), "{end:?}: {actions:?}");
    }
}

#[test]
fn a_peer_that_is_stopped_or_paused_meanwhile_does_not_come_up() {
    let reset = crate::fsm::Reset {
        notification: Notification::new(6, 4),
        reason: "reset".to_owned(),
        pause: std::time::Duration::from_secs(1),
    };
    for end in [Event::Stop(None), Event::Reset(reset)] {
        let mut fsm = crossed();
        fsm.handle(Event::Connected);
        fsm.handle(said(Side::Incoming, Message::Keepalive));
        let actions = fsm.handle(end);
        assert!(!actions.iter().any(|action| matches!(action, Action::Up(..) | Action::SendKeepalive(_))));
        assert!(!is_held(&fsm));
    }
}
