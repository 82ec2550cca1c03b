//! Laws of the choice, with random paths.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn any_path() -> impl Strategy<Value = Path> {
    let asns = vec(1..4_u32, 0..3);
    let source = prop_oneof![1 => Just(0_u8), 6 => Just(1), 6 => Just(2)];
    let age = prop_oneof![4 => Just(Age::Fresh), 1 => Just(Age::Stale), 1 => Just(Age::LongLived)];
    let verdict = prop_oneof![5 => Just(Verdict::Taken), 1 => Just(Verdict::Own)];
    let numbers = (proptest::option::of(99..102_u32), proptest::option::of(0..2_u32), 0..3_u8);
    (1..6_u8, source, asns, numbers, age, verdict).prop_map(|(last, source, asns, numbers, age, verdict)| {
        let (local_pref, med, clusters) = numbers;
        let mut made = path(last, |attributes, from| {
            attributes.as_path = by(&asns);
            attributes.local_pref = local_pref;
            attributes.med = med;
            attributes.cluster_list = vec![Ipv4Addr::LOCALHOST; clusters.into()];
            *from = match source {
                0 => Source::Local,
                1 => Source::External(ip(last)),
                _ => Source::Internal(ip(last)),
            };
        });
        made.age = age;
        made.verdict = verdict;
        made
    })
}

#[derive(Debug, Clone)]
enum Step {
    Put(Path),
    Remove(Source),
    Forget(u8),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => any_path().prop_map(Step::Put),
        2 => any_path().prop_map(|path| Step::Remove(path.common.source)),
        1 => (1..6_u8).prop_map(Step::Forget),
    ]
}

/// The paths in the order of their choice.
fn chosen(paths: &[Path]) -> Vec<Path> {
    select(paths).into_iter().map(|at| paths[at].clone()).collect()
}

proptest! {
    #[test]
    fn the_choice_is_the_same_in_any_order(paths in vec(any_path(), 0..7), turn in 0..7_usize) {
        let mut apart: Vec<Path> = Vec::new();
        for path in paths {
            if apart.iter().all(|other| other.common.source != path.common.source) {
                apart.push(path);
            }
        }
        let straight = chosen(&apart);
        let length = apart.len().max(1);
        apart.rotate_left(turn % length);
        prop_assert_eq!(&straight, &chosen(&apart));
        apart.reverse();
        prop_assert_eq!(&straight, &chosen(&apart));
        for path in &straight {
            prop_assert_eq!(path.verdict, Verdict::Taken);
            prop_assert!(path.is_last_resort() == straight[0].is_last_resort());
        }
    }

    #[test]
    fn a_table_that_changed_step_by_step_is_one_made_at_once(steps in vec(any_step(), 0..40)) {
        let prefix = net("10.0.0.0/8");
        let (mut rib, mut expected) = (Rib::default(), Vec::<Path>::new());
        for step in steps {
            let before = rib.selected(&prefix);
            let changed = match step {
                Step::Put(path) => {
                    expected.retain(|old| old.common.source != path.common.source);
                    expected.push(path.clone());
                    rib.put(prefix, path).is_some()
                }
                Step::Remove(source) => {
                    expected.retain(|old| old.common.source != source);
                    rib.remove(&prefix, source).is_some()
                }
                Step::Forget(last) => {
                    expected.retain(|old| old.common.source.peer() != Some(ip(last)));
                    let mut changed = rib.remove_peer(ip(last));
                    // A peer is of one AS; here it may have a path of either kind.
                    changed.extend(rib.remove_peer(ip(last)));
                    !changed.is_empty()
                }
            };
            let after = rib.selected(&prefix);
            prop_assert_eq!(changed, before != after, "a change is told if and only if there is one");
            prop_assert_eq!(after.map(|one| one.best), chosen(&expected).into_iter().next());
            let of_peer = |last: u8| expected.iter().filter(|path| path.common.source.peer() == Some(ip(last))).count();
            let taken_of_peer = |last: u8| {
                let of_peer = expected.iter().filter(|path| path.common.source.peer() == Some(ip(last)));
                of_peer.filter(|path| path.verdict == Verdict::Taken).count()
            };
            for last in 1..6 {
                prop_assert_eq!(rib.count_of(ip(last)).all(), of_peer(last));
                prop_assert_eq!(rib.accepted_of(ip(last)).all(), taken_of_peer(last));
            }
        }
    }
}
