//! Network namespaces are made, told apart, entered and removed.

use kernel::NetNs;
use kernel::netns::is_not_a_namespace;
use kernel::testing::TestNs;

#[test]
fn a_namespace_disappears_with_its_name() {
    let namespace = TestNs::new("gone");
    let name = namespace.name().to_owned();
    assert!(NetNs::named(&name).is_ok());
    drop(namespace);
    assert!(NetNs::named(&name).unwrap_err().is_not_found());
}

#[test]
fn code_runs_inside_and_the_caller_stays_outside() {
    let namespace = TestNs::new("inside");
    let before = NetNs::current().unwrap().id().unwrap();
    let inside = namespace.run_in(|| NetNs::current().unwrap().id().unwrap());
    assert_eq!(inside, namespace.namespace().id().unwrap());
    assert_ne!(inside, before);
    assert_eq!(NetNs::current().unwrap().id().unwrap(), before);
}

#[test]
fn a_visitor_is_home_again_also_after_a_panic() {
    let namespace = TestNs::new("visit");
    let home = NetNs::current().unwrap().id().unwrap();
    let inside = namespace.namespace().visit(|| NetNs::current().unwrap().id().unwrap()).unwrap();
    assert_eq!(inside, namespace.namespace().id().unwrap());
    assert_eq!(NetNs::current().unwrap().id().unwrap(), home);
    let broken = std::panic::catch_unwind(|| namespace.namespace().visit(|| panic!("on purpose")));
    assert!(broken.is_err());
    assert_eq!(NetNs::current().unwrap().id().unwrap(), home);
}

#[test]
fn the_same_namespace_is_known_by_another_path() {
    let namespace = TestNs::new("same");
    let again = NetNs::open(namespace.path()).unwrap();
    assert!(again.is_same(namespace.namespace()).unwrap());
    assert!(!again.is_same(&NetNs::of_process(std::process::id()).unwrap()).unwrap());
}

#[test]
fn an_absent_path_and_a_file_that_is_no_namespace_are_told_apart() {
    let absent = NetNs::open("/run/netns/routerd-nobody-made-this").unwrap_err();
    assert!(absent.is_not_found() && !is_not_a_namespace(&absent), "{absent}");
    let file = tempfile::NamedTempFile::new().unwrap();
    for path in [file.path(), std::path::Path::new("/proc/self/ns/mnt")] {
        let wrong = NetNs::open(path).unwrap_err();
        assert!(is_not_a_namespace(&wrong) && !wrong.is_not_found(), "{wrong}");
    }
}

#[test]
fn a_name_that_leaves_its_folder_is_refused() {
    for name in ["", "..", "a/b", "."] {
        assert!(NetNs::create(name).is_err(), "{name:?}");
        assert!(NetNs::delete(name).is_err(), "{name:?}");
    }
}

#[test]
fn a_second_namespace_of_the_same_name_is_refused_and_the_first_stays() {
    let namespace = TestNs::new("twice");
    assert!(NetNs::create(namespace.name()).unwrap_err().is_exists());
    assert!(NetNs::named(namespace.name()).is_ok());
}
