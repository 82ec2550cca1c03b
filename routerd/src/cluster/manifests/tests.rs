//! A folder of YAML: what is taken from it, what is said of broken files, what stays when a file breaks.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use proptest::collection::vec;
use proptest::prelude::*;
use tokio::sync::mpsc;

use super::folder::Folder;
use super::spawn;
use crate::cluster::objects::ObjectName;
use crate::cluster::source::SourceMessage;
use crate::cluster::{Event, Kind, Object, ObjectKey};

const NODE: &str = "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nspec: {podCIDR: 10.244.1.0/24}\n";
const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: web-0, labels: {app: web}}\n";
const POLICY: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {podSelector: {matchLabels: {app: web}}, ingress: [{}]}\n";

fn loaded(files: &[(&str, &str)]) -> Folder {
    let mut folder = Folder::default();
    for (name, text) in files {
        folder.load(name, Ok((*text).to_owned()));
    }
    folder.changes();
    folder
}

fn count(folder: &Folder, kind: Kind) -> usize {
    folder.objects(kind).len()
}

/// The one problem of the folder as one text.
fn problem(folder: &Folder) -> String {
    match folder.problems().as_slice() {
        [(item, message)] => format!("{item}: {message}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn documents_lists_json_and_foreign_kinds_are_read() {
    let list = r#"{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}]}"#;
    let foreign = "# a comment\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: d}\n---\n---\n";
    let folder = loaded(&[
        ("a.yaml", &format!("---\n{NODE}---\n{POD}--- # again\n{POLICY}")),
        ("b.json", list),
        ("c.yml", foreign),
        ("empty.yaml", ""),
    ]);
    assert_eq!(folder.problems(), []);
    assert_eq!(
        (count(&folder, Kind::Node), count(&folder, Kind::Pod), count(&folder, Kind::NetworkPolicy)),
        (1, 1, 1)
    );
    let names: Vec<ObjectKey> = folder.objects(Kind::Namespace).iter().map(Object::key).collect();
    let expected = ["a", "default"].map(|name| ObjectKey::Namespace(name.to_owned()));
    assert_eq!(names, expected, "the namespace of the pod exists although nobody wrote it down");
}

#[test]
fn what_is_wrong_is_said_with_file_document_object_and_field() {
    for (text, expected) in [
        (format!("{POD}---\na: [1\n---\n{NODE}"), "x.yaml document 2: line "),
        ("kind: Pod\nmetadata: {name: a}\n".into(), "x.yaml document 1, Pod default/a: apiVersion: it is missing"),
        ("apiVersion: v2\nkind: Pod\nmetadata: {name: a}\n".into(), "apiVersion: \"v2\" is not read; write v1"),
        ("metadata: {name: a}\n".into(), "x.yaml document 1: kind: it is missing"),
        ("apiVersion: v1\nkind: Pod\n".into(), "x.yaml document 1, Pod: metadata.name: it is missing"),
        (
            "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: ns}\nspec: {clusterIP: None, ports: [{port: 80}, {port: x}]}\n".into(),
            "x.yaml document 1, Service ns/s: spec.ports[1].port: invalid type",
        ),
        (
            "apiVersion: v1\nkind: Node\nmetadata: {name: n1}\nspec: {podCIDRs: [10.0.0.0/33]}\n".into(),
            "x.yaml document 1, Node n1: spec.podCIDRs: \"10.0.0.0/33\" is not a prefix",
        ),
        (
            "kind: List\nitems: [{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {v: 1}}}]\n".into(),
            "x.yaml document 1 item 1, Pod default/a: metadata.labels",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: y}\n".into(),
            "x.yaml document 1, Pod: metadata.name: true is not text; put it in quotes",
        ),
        ("kind: List\nitems: 3\n".into(), "x.yaml document 1: items: it is not a list"),
    ] {
        let folder = loaded(&[("x.yaml", &text)]);
        let (item, message) = folder.problems().remove(0);
        let said = format!("{item}: {message}");
        assert!(said.contains(expected), "{said:?} lacks {expected:?}");
    }
}

#[test]
fn a_broken_document_hides_neither_its_neighbours_nor_what_was_known_of_it() {
    let mut folder = loaded(&[("x.yaml", &format!("{NODE}---\n{POD}"))]);
    folder.load("x.yaml", Ok(format!("{NODE}---\n{POD}  broken: [\n---\n{POLICY}")));
    let events = folder.changes();
    assert!(matches!(events.as_slice(), [Event::Upsert(Object::NetworkPolicy(_))]), "{events:?}");
    assert_eq!(count(&folder, Kind::Pod), 1);
    assert!(folder.problems().iter().any(|(item, _)| item == "x.yaml document 2"), "{:?}", folder.problems());

    folder.load("x.yaml", Ok(NODE.to_owned()));
    assert_eq!(folder.changes().len(), 3, "pod, policy and namespace go when the file is whole again");
    assert_eq!(folder.problems(), []);
}

#[test]
fn an_object_with_a_field_of_the_wrong_type_stays_as_it_was() {
    let mut folder = loaded(&[("x.yaml", POD)]);
    folder.load("x.yaml", Ok(format!("{POD}status: 5\n")));
    assert_eq!(folder.changes(), []);
    assert!(problem(&folder).contains("stays as it was before"), "{}", problem(&folder));
}

#[test]
fn a_policy_that_is_not_readable_isolates_its_pods_in_the_directions_it_speaks_of_whatever_it_was_before() {
    let broken = POLICY.replace("ingress: [{}]", "ingress: 5");
    let mut edited = loaded(&[("x.yaml", POLICY)]);
    edited.load("x.yaml", Ok(broken.clone()));
    edited.changes();
    for folder in [edited, loaded(&[("x.yaml", &broken)])] {
        assert!(problem(&folder).contains("spec.ingress: invalid type"), "{}", problem(&folder));
        match folder.objects(Kind::NetworkPolicy).as_slice() {
            [Object::NetworkPolicy(policy)] => {
                assert_eq!((policy.ingress.as_deref(), policy.egress.as_deref()), (Some(&[][..]), None));
                assert_eq!(policy.pods.requirements.len(), 1);
                assert!(policy.invalid.is_some());
            }
            other => panic!("{other:?}"),
        }
    }
}

const TEAM: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p, namespace: team}\nspec: {podSelector: {}}\n";

#[test]
fn a_slip_in_what_names_a_policy_takes_it_not_away_and_is_said() {
    for (right, wrong, said) in [
        ("io/v1", "io/v1beta1", "apiVersion: \"networking.k8s.io/v1beta1\" is not read"),
        ("apiVersion: networking.k8s.io/v1", "apiVersio: x", "apiVersion: it is missing"),
        ("NetworkPolicy", "NetworkPolcy", "kind \"NetworkPolcy\" and apiVersion"),
        ("kind: NetworkPolicy", "kid: NetworkPolicy", "kind: it is missing"),
        ("namespace: team", "namespace: 123", "metadata.namespace: 123 is not text; put it in quotes"),
        ("name: p", "name: 5", "metadata.name: 5 is not text"),
        ("name: p,", "", "metadata.name: it is missing"),
        ("metadata", "metadat", "metadata.name: it is missing"),
    ] {
        let text = format!("{POD}---\n{TEAM}");
        let mut folder = loaded(&[("x.yaml", &text)]);
        let slipped = format!("{POD}---\n{}", TEAM.replace(right, wrong));
        // It stays so however often the file is read meanwhile.
        for reading in 0..3 {
            folder.load("x.yaml", Ok(format!("{slipped}# {reading}\n")));
            assert_eq!(folder.changes(), [], "{wrong}");
            let problems = folder.problems();
            assert!(problems.iter().any(|(_, message)| message.contains(said)), "{said:?}: {problems:?}");
        }
        folder.load("x.yaml", Ok(text));
        assert_eq!((folder.changes(), folder.problems()), (vec![], vec![]));
        folder.load("x.yaml", Ok(POD.to_owned()));
        assert_eq!(folder.changes().len(), 2, "policy and namespace go when the document goes");
    }
}

#[test]
fn a_policy_with_an_unreadable_namespace_is_not_taken_for_one_of_another() {
    let folder = loaded(&[("x.yaml", &TEAM.replace("team", "123").replace("{podSelector: {}}", "5"))]);
    assert_eq!(count(&folder, Kind::NetworkPolicy), 0);
    assert!(problem(&folder).starts_with("x.yaml document 1, NetworkPolicy p: "), "{}", problem(&folder));
}

#[test]
fn an_object_can_be_removed_from_beside_one_of_another_program_with_its_name() {
    let foreign = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web-0}\n";
    let mut folder = loaded(&[("x.yaml", &format!("{foreign}---\n{POD}"))]);
    folder.load("x.yaml", Ok(foreign.to_owned()));
    assert_eq!((count(&folder, Kind::Pod), folder.changes().len()), (1, 2));
    assert_eq!((count(&folder, Kind::Pod), folder.problems()), (0, vec![]));
}

#[test]
fn an_object_in_two_files_is_taken_from_the_first_and_reported() {
    let mut folder = loaded(&[("a.yaml", POD), ("b.yaml", &POD.replace("app: web", "app: other"))]);
    assert!(problem(&folder).starts_with("b.yaml Pod default/web-0: the object is in a.yaml too"));
    folder.remove("a.yaml");
    assert!(
        matches!(folder.changes().as_slice(), [Event::Upsert(Object::Pod(pod))] if pod.labels["app"] == "other")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    /// However files come, change and go: what was told is what the files that are there say, first name first.
    #[test]
    fn the_changes_told_add_up_to_the_files(steps in vec((0_usize..3, 0_u8..8, 0_u8..3), 0..40)) {
        let (mut folder, mut files) = (Folder::default(), BTreeMap::<&str, String>::new());
        let mut told = BTreeMap::new();
        for (file, pods, label) in steps {
            let name = ["a.yaml", "b.yaml", "c.yaml"][file];
            let pod = |number: u8| format!("apiVersion: v1\nkind: Pod\nmetadata: {{name: p{number}, namespace: s{}, labels: {{l: l{label}}}}}\n", number % 2);
            let text: Vec<String> = (0..3).filter(|number| pods & (1 << number) != 0).map(pod).collect();
            if text.is_empty() {
                files.remove(name);
                folder.remove(name);
            } else {
                files.insert(name, text.join("---\n"));
                folder.load(name, Ok(text.join("---\n")));
            }
            for event in folder.changes() {
                match event {
                    Event::Upsert(object) => drop(told.insert(object.key(), object)),
                    Event::Delete(key) => assert!(told.remove(&key).is_some()),
                    other => panic!("{other:?}"),
                }
            }
            let mut fresh = Folder::default();
            for (name, text) in &files {
                fresh.load(name, Ok(text.clone()));
            }
            fresh.changes();
            let expected: Vec<Object> = [Kind::Namespace, Kind::Pod].into_iter().flat_map(|kind| fresh.objects(kind)).collect();
            prop_assert_eq!(told.values().cloned().collect::<Vec<_>>(), expected);
            prop_assert_eq!(folder.problems(), fresh.problems());
        }
    }
}

/// Everything the thread says until `done`, or a failure after some seconds.
fn until(receiver: &mut mpsc::Receiver<SourceMessage>, mut done: impl FnMut(&SourceMessage) -> bool) {
    let end = Instant::now() + Duration::from_mins(1);
    loop {
        match receiver.try_recv() {
            Ok(message) if done(&message) => return,
            Ok(_) => {}
            Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error}"),
        }
    }
}

fn has_pod(message: &SourceMessage, name: &str) -> bool {
    let key = ObjectKey::Pod(ObjectName::new("default", name));
    matches!(message, SourceMessage::Events(events) if events.iter().any(|event| match event {
        Event::Upsert(object) => object.key() == key,
        _ => false,
    }))
}

fn lost_pod(message: &SourceMessage, name: &str) -> bool {
    let gone = Event::Delete(ObjectKey::Pod(ObjectName::new("default", name)));
    matches!(message, SourceMessage::Events(events) if events.contains(&gone))
}

fn pod(name: &str) -> String {
    POD.replace("web-0", name)
}

fn watched(path: &Path) -> mpsc::Receiver<SourceMessage> {
    let (sender, receiver) = mpsc::channel(64);
    spawn(path.to_owned(), sender).unwrap();
    receiver
}

#[test]
fn files_that_are_written_renamed_linked_and_removed_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("first.yaml"), pod("first")).unwrap();
    let mut receiver = watched(folder.path());
    for kind in Kind::ALL {
        until(&mut receiver, |message| matches!(message, SourceMessage::Complete(one, _) if *one == kind));
    }
    fs::write(path("second.yaml"), pod("second")).unwrap();
    until(&mut receiver, |message| has_pod(message, "second"));

    fs::write(path(".third.tmp"), pod("third")).unwrap();
    fs::rename(path(".third.tmp"), path("third.yaml")).unwrap();
    until(&mut receiver, |message| has_pod(message, "third"));

    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("target"), pod("fourth")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path().join("target"), path("fourth.yaml")).unwrap();
    until(&mut receiver, |message| has_pod(message, "fourth"));

    fs::remove_file(path("second.yaml")).unwrap();
    until(&mut receiver, |message| lost_pod(message, "second"));
}

#[test]
fn a_folder_that_comes_later_is_waited_for_and_one_that_goes_keeps_its_objects() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("manifests");
    let mut receiver = watched(&path);
    let complains = |message: &SourceMessage, text: &str| matches!(message, SourceMessage::AllProblems(all) if all.iter().any(|(_, one)| one.contains(text)));
    until(&mut receiver, |message| complains(message, "cannot be watched"));
    fs::create_dir(&path).unwrap();
    fs::write(path.join("a.yaml"), pod("a")).unwrap();
    until(&mut receiver, |message| {
        has_pod(message, "a")
            || matches!(message, SourceMessage::Complete(Kind::Pod, pods) if pods.len() == 1)
    });
    fs::rename(&path, parent.path().join("away")).unwrap();
    until(&mut receiver, |message| {
        assert!(!lost_pod(message, "a"));
        complains(message, "cannot be watched")
    });
    fs::create_dir(&path).unwrap();
    until(&mut receiver, |message| lost_pod(message, "a"));
}

#[test]
fn a_file_that_is_no_text_or_a_folder_is_reported_by_name() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("binary.yaml"), [0xff, 0xfe, 0x00]).unwrap();
    fs::create_dir(folder.path().join("folder.yaml")).unwrap();
    let mut receiver = watched(folder.path());
    until(&mut receiver, |message| match message {
        SourceMessage::AllProblems(all) => {
            let said =
                |name: &str, text: &str| all.iter().any(|(item, one)| item == name && one.contains(text));
            said("binary.yaml", "not UTF-8") && said("folder.yaml", "cannot be read")
        }
        _ => false,
    });
}

#[test]
fn a_file_that_nobody_writes_into_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut receiver = watched(folder.path());
    nix::unistd::mkfifo(&folder.path().join("a.yaml"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    until(
        &mut receiver,
        |message| matches!(message, SourceMessage::AllProblems(all) if all.iter().any(|(item, one)| item == "a.yaml" && one.contains("no regular file"))),
    );
    fs::write(folder.path().join("b.yaml"), pod("b")).unwrap();
    until(&mut receiver, |message| has_pod(message, "b"));
}
