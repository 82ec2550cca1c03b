//! Throw-away network namespaces for tests, here and in the other crates (cargo feature `testing`).
//!
//! Everything panics where it cannot do its work: a test without privilege must fail and never be skipped.
#![expect(clippy::expect_used, clippy::panic, reason = "test support: a panic is how a test fails")]
#![expect(clippy::disallowed_methods, reason = "tests look at the kernel with other programs' eyes")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use crate::NetNs;
use crate::rtnl::{NewLink, Rtnl, VethPeer};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A network namespace of its own name, removed when dropped, also by a panic.
#[derive(Debug)]
pub struct TestNs {
    name: String,
    namespace: NetNs,
}

impl TestNs {
    /// Makes an empty namespace; `purpose` becomes part of its name. Its `lo` is up.
    ///
    /// # Panics
    /// Without privilege to make namespaces.
    pub fn new(purpose: &str) -> Self {
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("rt-{purpose}-{}-{count}", std::process::id());
        let namespace = NetNs::create(&name).expect("tests need root to make network namespaces");
        let made = Self { name, namespace };
        made.run("ip", &["link", "set", "lo", "up"]);
        made
    }

    /// The name under `/run/netns`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The path, as a runtime would give it in `CNI_NETNS`.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.name)
    }

    /// The namespace.
    pub fn namespace(&self) -> &NetNs {
        &self.namespace
    }

    /// Runs a closure inside.
    ///
    /// # Panics
    /// When the namespace cannot be entered.
    pub fn run_in<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        self.namespace.run_in(inside).expect("enter the test's namespace")
    }

    /// A command that will run inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs a program inside and returns what it prints.
    ///
    /// # Panics
    /// When it cannot be started or fails.
    pub fn run(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.command(program).args(arguments).output().expect("run `ip netns exec`");
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            panic!("{program} {} in {}: {complaint}", arguments.join(" "), self.name);
        }
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// True if a program run inside succeeds.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn succeeds(&self, program: &str, arguments: &[&str]) -> bool {
        self.command(program).args(arguments).output().expect("run `ip netns exec`").status.success()
    }
}

impl Drop for TestNs {
    fn drop(&mut self) {
        if let Err(error) = NetNs::delete(&self.name) {
            eprintln!("a test left a namespace behind: {error}");
        }
    }
}

/// Pairs that come and go in a namespace all the time, beside 400 that stay, until this is dropped.
#[derive(Debug)]
pub struct Churn {
    stop: Arc<AtomicBool>,
    workers: Vec<JoinHandle<()>>,
}

impl Churn {
    /// Begins.
    ///
    /// # Panics
    /// When no pair can be made.
    pub fn start(namespace: &TestNs) -> Self {
        let open = || Rtnl::open_in(namespace.namespace()).expect("open a socket in the test's namespace");
        let mut rtnl = open();
        (0..400).for_each(|number| make_pair(&mut rtnl, &format!("idle{number}")));
        let stop = Arc::new(AtomicBool::new(false));
        let work = |number: u32| {
            let (stop, mut rtnl) = (Arc::clone(&stop), open());
            std::thread::spawn(move || {
                let names: Vec<String> = (0..32).map(|pair| format!("busy{number}.{pair}")).collect();
                while !stop.load(Ordering::Relaxed) {
                    for name in &names {
                        make_pair(&mut rtnl, name);
                    }
                    // At once, or the kernel would do little else than wait.
                    let found = names.iter().map(|name| rtnl.link_by_name(name).expect("look up a pair"));
                    let indexes: Vec<u32> = found.flatten().map(|link| link.index).collect();
                    rtnl.delete_links(&indexes).expect("delete pairs");
                }
            })
        };
        let workers = (0..4).map(work).collect();
        Self { stop, workers }
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers.drain(..) {
            // One that failed has said why.
            drop(worker.join());
        }
    }
}

fn make_pair(rtnl: &mut Rtnl, name: &str) {
    let far = format!("{name}-far");
    rtnl.create_link(&NewLink::veth(name, VethPeer { name: &far, ..VethPeer::default() }))
        .expect("make a pair");
}
