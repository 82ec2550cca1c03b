//! The lease folder by itself: what it hands out, what survives a crash, and that cost does not follow size.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use cni_plugin::ipam::{Owner, Store};
use proptest::prelude::*;

const WAIT: Duration = Duration::from_secs(10);

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 1, 2, last])
}

fn open(folder: &Path) -> Store {
    Store::open(folder, WAIT).unwrap()
}

fn visible(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "lock").collect();
    names.sort();
    names
}

#[test]
fn a_lease_is_written_exactly_as_the_reference_plugin_writes_it() {
    let folder = tempfile::tempdir().unwrap();
    assert!(open(folder.path()).reserve(ip(2), &Owner::new("c1", "eth0")).unwrap());
    assert_eq!(fs::read(folder.path().join("10.1.2.2")).unwrap(), b"c1\r\neth0");
    open(folder.path()).set_last_reserved(0, ip(2));
    assert_eq!(fs::read(folder.path().join("last_reserved_ip.0")).unwrap(), b"10.1.2.2");
}

#[test]
fn an_address_is_given_to_one_owner_only_until_it_is_released() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (Owner::new("a", "eth0"), Owner::new("b", "eth0"));
    assert!(open(folder.path()).reserve(ip(2), &a).unwrap());
    assert!(!open(folder.path()).reserve(ip(2), &b).unwrap());
    assert_eq!(open(folder.path()).release(&b).unwrap(), Vec::<IpAddr>::new());
    assert_eq!(open(folder.path()).release(&a).unwrap(), [ip(2)]);
    assert!(open(folder.path()).reserve(ip(2), &b).unwrap());
}

#[test]
fn nothing_but_the_lock_stays_when_all_is_released() {
    let folder = tempfile::tempdir().unwrap();
    let owner = Owner::new("a", "eth0");
    for last in 2..6 {
        assert!(open(folder.path()).reserve(ip(last), &owner).unwrap());
    }
    open(folder.path()).release_addresses(&owner, &[ip(3)]).unwrap();
    assert_eq!(open(folder.path()).release(&owner).unwrap(), [ip(2), ip(4), ip(5)]);
    assert_eq!(visible(folder.path()), Vec::<String>::new());
}

#[test]
fn a_lease_of_an_old_version_is_its_containers_when_there_is_no_other() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("10.1.2.9"), "c1\n").unwrap();
    assert!(open(folder.path()).reserve(ip(2), &Owner::new("c1", "eth0")).unwrap());
    assert_eq!(open(folder.path()).release(&Owner::new("c1", "eth0")).unwrap(), [ip(2)]);
    assert_eq!(open(folder.path()).release(&Owner::new("c1", "eth0")).unwrap(), [ip(9)]);
}

#[test]
fn a_lease_that_somebody_wrote_over_is_its_new_owners() {
    let folder = tempfile::tempdir().unwrap();
    open(folder.path()).reserve(ip(2), &Owner::new("a", "eth0")).unwrap();
    for (content, id) in [("b\r\neth0", "b"), ("a", "a")] {
        open(folder.path()).reserve(ip(2), &Owner::new("a", "eth0")).unwrap();
        fs::write(folder.path().join("10.1.2.2"), content).unwrap();
        assert_eq!(open(folder.path()).release(&Owner::new(id, "eth0")).unwrap(), [ip(2)]);
    }
}

/// Every state that a process can leave when it is killed between two system calls of a reservation.
#[test]
fn whatever_a_killed_process_leaves_is_repaired_by_the_next_one() {
    type Leave = fn(&Path);
    let states: [(&str, Leave); 8] = [
        ("empty lease, as the reference leaves it", |f| fs::write(f.join("10.1.2.7"), "").unwrap()),
        ("zeros after a power cut", |f| fs::write(f.join("10.1.2.7"), [0; 8]).unwrap()),
        ("new lease not begun", |f| fs::write(f.join(".new-lease"), "").unwrap()),
        ("new lease written", |f| fs::write(f.join(".new-lease"), "dead\r\neth0").unwrap()),
        ("new lease linked, both names there", |f| {
            fs::write(f.join(".new-lease"), "dead\r\neth0").unwrap();
            fs::hard_link(f.join(".new-lease"), f.join("10.1.2.7")).unwrap();
        }),
        ("lease without index", |f| fs::write(f.join("10.1.2.7"), "dead\r\neth0").unwrap()),
        ("index of another folder", |f| {
            let copied = tempfile::tempdir().unwrap();
            open(copied.path()).reserve(ip(7), &Owner::new("dead", "eth0")).unwrap();
            fs::copy(copied.path().join("lock"), f.join("lock")).unwrap();
        }),
        ("index cut off", |f| {
            fs::File::options().write(true).open(f.join("lock")).unwrap().set_len(99).unwrap();
        }),
    ];
    for (name, leave) in states {
        let folder = tempfile::tempdir().unwrap();
        let other = Owner::new("other", "eth0");
        assert!(open(folder.path()).reserve(ip(2), &other).unwrap());
        leave(folder.path());
        open(folder.path()).release(&Owner::new("dead", "eth0")).unwrap();
        assert_eq!(visible(folder.path()), ["10.1.2.2"], "{name}");
        assert!(open(folder.path()).reserve(ip(7), &Owner::new("next", "eth0")).unwrap(), "{name}");
        assert_eq!(fs::read(folder.path().join("10.1.2.2")).unwrap(), b"other\r\neth0", "{name}");
    }
}

#[test]
fn a_lease_that_lost_its_content_in_a_power_cut_is_still_released_and_can_be_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let owner = Owner::new("a", "eth0");
    open(folder.path()).reserve(ip(2), &owner).unwrap();
    // Truncation does not touch the folder's time: the index still counts.
    fs::File::options().write(true).truncate(true).open(folder.path().join("10.1.2.2")).unwrap();
    assert!(open(folder.path()).reserve(ip(2), &Owner::new("b", "eth0")).unwrap());
    assert_eq!(open(folder.path()).held_by(&owner).unwrap(), Vec::<IpAddr>::new());
    assert_eq!(open(folder.path()).held_by(&Owner::new("b", "eth0")).unwrap(), [ip(2)]);
}

#[test]
fn what_an_administrator_keeps_an_address_for_is_kept_and_is_nobodys() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("10.1.2.4")).unwrap();
    fs::write(folder.path().join("10.1.2.5"), "kept for the printer").unwrap();
    fs::write(folder.path().join("notes"), "a\r\neth0").unwrap();
    let owner = Owner::new("a", "eth0");
    for last in [4, 5] {
        assert!(!open(folder.path()).reserve(ip(last), &owner).unwrap());
    }
    assert_eq!(open(folder.path()).release(&owner).unwrap(), Vec::<IpAddr>::new());
    assert_eq!(open(folder.path()).leases().unwrap(), BTreeMap::new());
    assert_eq!(visible(folder.path()), ["10.1.2.4", "10.1.2.5", "notes"]);
}

#[test]
fn a_round_robin_mark_is_exact_whatever_was_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("last_reserved_ip.0");
    for garbage in [&b""[..], b"\0\0\0\0\0\0\0\0\0\0\0\0", b"2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", b"\xff"]
    {
        fs::write(&mark, garbage).unwrap();
        open(folder.path()).set_last_reserved(0, ip(2));
        assert_eq!(fs::read(&mark).unwrap(), b"10.1.2.2");
        assert_eq!(open(folder.path()).last_reserved(0), Some(ip(2)));
    }
}

#[test]
fn an_index_that_grew_and_shrank_still_knows_every_owner() {
    let folder = tempfile::tempdir().unwrap();
    let address = |number: u32| IpAddr::from(std::net::Ipv4Addr::from(0x0a01_0000 + number));
    let owner = |number: u32| Owner::new(format!("c{number}"), "eth0");
    for number in 0..600 {
        assert!(open(folder.path()).reserve(address(number), &owner(number)).unwrap());
        if number % 3 == 0 {
            assert_eq!(open(folder.path()).release(&owner(number)).unwrap(), [address(number)]);
        }
    }
    for number in 0..600 {
        let held = open(folder.path()).held_by(&owner(number)).unwrap();
        assert_eq!(held.len(), usize::from(number % 3 != 0), "{number}");
    }
}

#[test]
fn a_lock_that_a_stopped_process_holds_ends_in_an_error_in_bounded_time() {
    let folder = tempfile::tempdir().unwrap();
    let held = open(folder.path());
    let error = Store::open(folder.path(), Duration::from_millis(50)).unwrap_err().to_string();
    assert!(error.contains("lock") && error.contains(&std::process::id().to_string()), "{error}");
    drop(held);
}

/// Read system calls of this thread so far.
fn reads() -> u64 {
    // In one read: how many a longer text takes would count, too, and other numbers in it grow with what the disk does.
    let mut text = [0; 1024];
    let length = fs::File::open("/proc/thread-self/io").unwrap().read(&mut text).unwrap();
    let counts = std::str::from_utf8(&text[..length]).unwrap();
    counts.lines().find_map(|line| line.strip_prefix("syscr: ")).unwrap().parse().unwrap()
}

#[test]
fn an_operation_reads_as_little_among_twenty_thousand_foreign_leases_as_among_none() {
    let cost = |foreign: u32| {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..foreign {
            let address = std::net::Ipv4Addr::from(0x0a02_0000 + number);
            fs::write(folder.path().join(address.to_string()), format!("c{number}\r\neth0")).unwrap();
        }
        open(folder.path()).held_by(&Owner::new("x", "eth0")).unwrap();
        let before = reads();
        let owner = Owner::new("new", "eth0");
        assert!(open(folder.path()).reserve(ip(2), &owner).unwrap());
        assert_eq!(open(folder.path()).release(&owner).unwrap(), [ip(2)]);
        reads() - before
    };
    assert_eq!(cost(20_000), cost(0));
}

#[derive(Debug, Clone)]
enum Step {
    Reserve(u8, u8),
    Release(u8),
    ReleaseOne(u8, u8),
    ForeignAdd(u8, u8),
    ForeignRemove(u8),
    ForeignEmpty(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let (owner, address) = (0..3u8, 2..8u8);
    prop_oneof![
        4 => (owner.clone(), address.clone()).prop_map(|(o, a)| Step::Reserve(o, a)),
        2 => owner.clone().prop_map(Step::Release),
        1 => (owner.clone(), address.clone()).prop_map(|(o, a)| Step::ReleaseOne(o, a)),
        2 => (owner, address.clone()).prop_map(|(o, a)| Step::ForeignAdd(o, a)),
        1 => address.clone().prop_map(Step::ForeignRemove),
        1 => address.prop_map(Step::ForeignEmpty),
    ]
}

fn owner(number: u8) -> Owner {
    Owner::new(format!("c{number}"), "eth0")
}

/// Does the same to the folder, as we, the reference plugin, an administrator or a crash would, and to the model.
fn run(folder: &Path, model: &mut BTreeMap<IpAddr, Owner>, step: &Step) {
    let path = |last: u8| folder.join(ip(last).to_string());
    match *step {
        Step::Reserve(o, a) => {
            assert_eq!(open(folder).reserve(ip(a), &owner(o)).unwrap(), !model.contains_key(&ip(a)));
            model.entry(ip(a)).or_insert_with(|| owner(o));
        }
        Step::Release(o) => {
            let expected: Vec<IpAddr> =
                model.iter().filter(|(_, holder)| **holder == owner(o)).map(|(ip, _)| *ip).collect();
            let mut released = open(folder).release(&owner(o)).unwrap();
            released.sort();
            assert_eq!(released, expected);
            model.retain(|_, holder| *holder != owner(o));
        }
        Step::ReleaseOne(o, a) => {
            open(folder).release_addresses(&owner(o), &[ip(a)]).unwrap();
            model.retain(|address, holder| (*address, &*holder) != (ip(a), &owner(o)));
        }
        Step::ForeignAdd(o, a) => {
            model.entry(ip(a)).or_insert_with(|| {
                fs::write(path(a), format!("c{o}\r\neth0")).unwrap();
                owner(o)
            });
        }
        Step::ForeignRemove(a) => {
            drop(fs::remove_file(path(a)));
            model.remove(&ip(a));
        }
        Step::ForeignEmpty(a) => {
            if !model.contains_key(&ip(a)) {
                fs::write(path(a), "").unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Whatever we and others do in turn, the folder answers as a table of leases would.
    #[test]
    fn the_folder_behaves_as_a_table_of_leases(steps in prop::collection::vec(step(), 1..30)) {
        let folder = tempfile::tempdir().unwrap();
        let mut model = BTreeMap::new();
        for step in &steps {
            run(folder.path(), &mut model, step);
            for number in 0..3 {
                let mut held = open(folder.path()).held_by(&owner(number)).unwrap();
                held.sort();
                let expected: Vec<IpAddr> =
                    model.iter().filter(|(_, holder)| **holder == owner(number)).map(|(ip, _)| *ip).collect();
                prop_assert_eq!(held, expected);
            }
        }
        prop_assert_eq!(open(folder.path()).leases().unwrap(), model);
    }
}
