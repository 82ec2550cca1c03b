//! An ADD that nobody waits for any more must leave no attachment: nobody would ever take it away again, and whoever gets
//! its address next would share it with a pod that is not there.

use super::*;
use crate::cluster::task::handle::{Attach, Look};

/// The task's state after the first view, in which no pod is.
fn started() -> State {
    let settings = Settings { node_name: "n1".into(), source: "folder /x".into(), patience: LONG };
    let (mut state, _) = State::new(settings);
    for kind in Kind::ALL {
        state.take(Input::Source(SourceMessage::Complete(kind, Vec::new())));
    }
    state.settle(Instant::now());
    state
}

/// The ADD of a pod, and where its answer comes.
fn add(state: &mut State, pod: &str) -> oneshot::Receiver<Result<(), AttachError>> {
    let (reply, answer) = oneshot::channel();
    state.take(Input::Attach(Attach { attachment: attachment(pod, None), reply }));
    answer
}

fn shown(state: &mut State, name: &str) {
    state.take(Input::Source(SourceMessage::Events(vec![Event::Upsert(pod(name, ""))])));
}

/// The pods that hold the address of every attachment here.
fn holders(state: &mut State) -> Vec<ObjectName> {
    let (sender, seen) = channel();
    let look = move |index: &Index| {
        let address = attachment("any", None).addresses[0];
        sender.send(index.holders(address).to_vec()).unwrap();
    };
    state.take(Input::Look(Look(Box::new(look))));
    seen.try_recv().unwrap()
}

/// The address is leased again, and is the new pod's alone.
fn only_the_next_pod_holds_it(mut state: State) {
    assert_eq!(holders(&mut state), [], "who gave up holds nothing");
    shown(&mut state, "next");
    let mut answer = add(&mut state, "next");
    state.settle(Instant::now());
    assert_eq!(answer.try_recv(), Ok(Ok(())));
    assert_eq!(holders(&mut state), [ObjectName::new("default", "next")]);
}

#[test]
fn an_add_that_was_taken_back_is_not_attached_by_the_pod_that_comes_with_or_after_it() {
    for pod_first in [true, false] {
        let mut state = started();
        let mut answer = add(&mut state, "late");
        state.settle(Instant::now());
        let taken_back = |state: &mut State| {
            state.take(Input::Detach("container-of-late".into(), "eth0".into()));
        };
        if pod_first {
            shown(&mut state, "late");
            taken_back(&mut state);
        } else {
            taken_back(&mut state);
            shown(&mut state, "late");
        }
        state.settle(Instant::now());
        let pod = ObjectName::new("default", "late");
        assert_eq!(answer.try_recv(), Ok(Err(AttachError::Detached { pod })), "pod first: {pod_first}");
        only_the_next_pod_holds_it(state);
    }
}

#[test]
fn an_add_that_nobody_waits_for_any_more_is_not_attached_before_its_end_is_told() {
    let mut state = started();
    drop(add(&mut state, "late"));
    shown(&mut state, "late");
    state.settle(Instant::now());
    only_the_next_pod_holds_it(state);
}

#[test]
fn what_is_taken_back_is_one_interface_of_one_container() {
    let mut state = started();
    let mut answer = add(&mut state, "late");
    for (container, interface) in [("container-of-late", "eth1"), ("container-of-other", "eth0")] {
        state.take(Input::Detach(container.into(), interface.into()));
    }
    shown(&mut state, "late");
    state.settle(Instant::now());
    assert_eq!(answer.try_recv(), Ok(Ok(())));
    assert_eq!(holders(&mut state), [ObjectName::new("default", "late")]);
}
