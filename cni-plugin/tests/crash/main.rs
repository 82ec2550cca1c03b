//! What a process leaves that is killed, or that finds no room, at any system call.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod kill;
#[path = "../plugin/mod.rs"]
mod plugin;
mod pod;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use kill::{Moments, kill_after, kill_in};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use plugin::{Installed, finish};
use serde_json::{Value, json};

fn conf(installed: &Installed) -> Value {
    installed.host_local(&json!([[{"subnet": "10.1.2.0/24"}], [{"subnet": "fd00::/64"}]]))
}

/// Kills `operation` at every system call; after each the folder must be whole again when DEL was called.
fn at_every_system_call(operation: &str, prepare: impl Fn(&Installed)) {
    for count in 0.. {
        assert!(count < 2000, "it never ends");
        let installed = Installed::new();
        let conf = conf(&installed);
        installed.run("host-local", "ADD", "other", &conf).result();
        prepare(&installed);
        let mut child = installed.command("host-local", operation, "c1").spawn().unwrap();
        let killed = kill_after(&mut child, Moments::All, count, conf.to_string().as_bytes());
        assert_eq!(installed.run("host-local", "DEL", "c1", &conf).result(), Value::Null);
        assert_eq!(installed.leases(), ["10.1.2.2", "fd00::2"], "{operation} killed at step {count}");
        assert_eq!(
            installed.leftovers().len(),
            2,
            "{operation} killed at step {count}: {:?}",
            installed.leftovers()
        );
        if !killed {
            assert!(count > 50, "it did not even begin");
            return;
        }
    }
}

#[test]
fn an_add_that_is_killed_at_any_system_call_leaves_no_lease_after_del() {
    at_every_system_call("ADD", |_| {});
}

#[test]
fn a_del_that_is_killed_at_any_system_call_is_finished_by_the_next() {
    at_every_system_call("DEL", |installed| {
        installed.run("host-local", "ADD", "c1", &conf(installed)).result();
    });
}

/// One of a crowd: an ADD that is killed after `time`, or else its addresses.
fn add_or_die(installed: &Installed, conf: &Value, id: &str, time: Option<Duration>) -> Vec<String> {
    let mut child = installed.command("host-local", "ADD", id).spawn().unwrap();
    if let Some(time) = time {
        kill_in(&mut child, time, conf.to_string().as_bytes());
        return Vec::new();
    }
    let result = finish(child, conf.to_string().as_bytes()).result();
    let ips = result["ips"].as_array().unwrap().iter();
    ips.map(|ip| ip["address"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_crowd_of_which_half_is_killed_shares_no_address_and_leaves_nothing() {
    const CROWD: u32 = 60;
    let installed = Installed::new();
    let conf = conf(&installed);
    for wave in 0..3 {
        let one = |number: u32| {
            let time = Duration::from_micros(u64::from((wave * CROWD + number) * 618_034 % 1_000_000) / 50);
            let time = Some(time).filter(|_| number % 2 == 1);
            add_or_die(&installed, &conf, &format!("c{number}"), time)
        };
        let given: Vec<String> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..CROWD).map(|number| scope.spawn(move || one(number))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        let distinct: BTreeSet<&String> = given.iter().collect();
        assert_eq!((given.len(), distinct.len()), (60, 60), "{given:?}");
        for number in 0..CROWD {
            installed.run("host-local", "DEL", &format!("c{number}"), &conf).result();
        }
        assert_eq!(installed.leftovers(), Vec::<String>::new());
    }
}

/// A file system of memory with room for a few files only.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn mount(path: &'a Path, options: &str) -> Self {
        std::fs::create_dir(path).unwrap();
        mount(Some("routerd-test"), path, Some("tmpfs"), MsFlags::empty(), Some(options)).unwrap();
        Self(path)
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = umount2(self.0, MntFlags::MNT_DETACH);
    }
}

#[test]
fn a_disk_that_fills_at_any_file_gives_an_error_and_no_half_lease() {
    let mut failures = 0;
    for inodes in 2..16 {
        let installed = Installed::new();
        let folder = installed.path().join("leases");
        let _disk = Small::mount(&folder, &format!("size=1m,nr_inodes={inodes}"));
        let conf = conf(&installed);
        let mut child = installed.command("host-local", "ADD", "c1");
        let answer = finish(child.spawn().unwrap(), conf.to_string().as_bytes());
        if answer.status == 0 {
            assert_eq!(installed.leases().len(), 2);
            continue;
        }
        failures += 1;
        assert_eq!(answer.code(), 5);
        assert!(answer.msg().contains("No space left"), "{answer:?}");
        assert_eq!(installed.leftovers(), Vec::<String>::new(), "{inodes} inodes");
    }
    assert!((4..14).contains(&failures), "{failures}");
}

#[test]
fn a_disk_without_a_free_byte_refuses_an_add_and_lets_a_del_free_what_it_holds() {
    let installed = Installed::new();
    let folder = installed.path().join("leases");
    let _disk = Small::mount(&folder, "size=64k");
    let conf = conf(&installed);
    installed.run("host-local", "ADD", "c1", &conf).result();
    // Somebody else's change, so that the index would have to be written anew, too.
    std::fs::write(installed.lease_folder().join("10.1.2.9"), "c2\r\neth0").unwrap();
    let mut filler = std::fs::File::create(folder.join("filler")).unwrap();
    while filler.write_all(&[1; 512]).is_ok() {}
    let answer = installed.run("host-local", "ADD", "c3", &conf);
    assert_eq!(answer.code(), 5, "{answer:?}");
    assert!(answer.msg().contains("No space left"), "{answer:?}");
    assert_eq!(installed.leases(), ["10.1.2.2", "10.1.2.9", "fd00::2"]);
    for id in ["c1", "c2", "c3"] {
        installed.run("host-local", "DEL", id, &conf).result();
    }
    assert_eq!(installed.leftovers(), Vec::<String>::new());
}
