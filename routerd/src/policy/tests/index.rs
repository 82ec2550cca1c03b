//! What the index answers at once is what a look at everything would say.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::fixture::{World, ip};
use super::touched::events;
use crate::cluster::Index;
use crate::cluster::objects::{ObjectName, Pod};

fn names<'a>(pods: impl Iterator<Item = &'a std::sync::Arc<Pod>>) -> BTreeSet<ObjectName> {
    pods.map(|pod| pod.name.clone()).collect()
}

fn those(index: &Index, has: impl Fn(&Pod) -> bool) -> BTreeSet<ObjectName> {
    names(index.pods().values().filter(|pod| has(pod)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn questions_the_other_way_round_are_answered_as_by_a_look_at_everything(
        events in events(),
        host_pods in any::<bool>(),
    ) {
        let mut world = World::new();
        world.index = std::mem::take(&mut world.index).with_host_pods_as_peers(host_pods);
        for event in events {
            world.event(event);
            let index = &world.index;
            for group in index.groups().chain(index.subjects()) {
                prop_assert_eq!(names(index.members(group)), those(index, |pod| group.takes(index, pod)));
            }
            for pod in index.pods().values() {
                let (space, labels) = (&pod.name.namespace, &pod.labels);
                let groups: BTreeSet<_> = index.groups().filter(|group| group.takes(index, pod)).collect();
                prop_assert_eq!(index.groups_of(pod).collect::<BTreeSet<_>>(), groups);
                let subjects: BTreeSet<_> = index.subjects().filter(|one| one.takes(index, pod)).collect();
                prop_assert_eq!(index.subjects_of(space, labels).collect::<BTreeSet<_>>(), subjects);
            }
            prop_assert_eq!(names(index.local_pods()), those(index, |pod| index.is_local(pod)));
            for subject in index.subjects() {
                let judged = those(index, |pod| index.is_local(pod) && subject.takes(index, pod));
                prop_assert_eq!(index.is_subject_here(subject), !judged.is_empty());
                let judges = index.policies().values().filter(|one| index.uses(&one.name).is_some_and(|uses| uses.subject == *subject));
                prop_assert_eq!(index.judges(subject).count(), judges.count());
            }
            for address in ["10.244.1.2", "10.244.1.3", "fd00:244:1::2"].map(ip) {
                let owners = those(index, |pod| index.own_addresses(pod).contains(&address));
                prop_assert_eq!(names(index.owners(address)), owners);
                prop_assert_eq!(
                    names(index.claimants(address)),
                    those(index, |pod| pod.addresses.contains(&address))
                );
            }
        }
    }
}
