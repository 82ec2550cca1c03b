//! BFD against FRR's bfdd: both ends notice the loss of the path, and how long that takes.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bgp::bfd::Change;
use kernel::testing::TestNs;

use super::{BIRDS as THEIRS, EXPIRED, OURS, Ours, cable, wait_for};

/// What either end may take: 400 ms times 5. Notices come with the next packet that is missing, and a busy machine is late.
const DETECTION: Duration = Duration::from_secs(2);

/// bfdd with zebra, which tells it of addresses; both end with this value.
struct Frr {
    processes: Vec<Child>,
    ns: TestNs,
    folder: tempfile::TempDir,
}

impl Drop for Frr {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Frr {
    fn start(ns: TestNs) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // They run as a user of their own.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let peer = |(peer, local): (&str, &str)| {
            format!(
                " peer {peer} local-address {local}\n  detect-multiplier 5\n  receive-interval 400\n  transmit-interval 400\n exit\n"
            )
        };
        let peers: String = OURS.into_iter().zip(THEIRS).map(peer).collect();
        std::fs::write(folder.path().join("bfdd.conf"), format!("hostname frr\nbfd\n{peers}exit\n")).unwrap();
        std::fs::write(folder.path().join("zebra.conf"), "hostname frr\n").unwrap();
        let mut frr = Self { processes: Vec::new(), ns, folder };
        frr.run("zebra", &[]);
        wait_for("zebra's socket", || frr.folder.path().join("zebra.sock").exists());
        let control = frr.folder.path().join("bfdd.sock").display().to_string();
        frr.run("bfdd", &["--bfdctl", &control]);
        wait_for("bfdd's start", || frr.ask("show bfd peers").contains("peer"));
        frr
    }

    fn run(&mut self, name: &str, more: &[&str]) {
        let path = self.folder.path().to_str().unwrap().to_owned();
        let of = |end: &str| format!("{path}/{name}.{end}");
        let log = std::fs::File::options().create(true).append(true).open(format!("{path}/log")).unwrap();
        let process = Command::new("ip")
            .args(["netns", "exec", self.ns.name(), &format!("/usr/lib/frr/{name}")])
            .args(["-f", &of("conf"), "-i", &of("pid"), "-z", &format!("{path}/zebra.sock")])
            .args(["--vty_socket", &path, "-A", "127.0.0.1", "-P", "0", "--log", "stdout"])
            .args(more)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .expect("tests need frr (Debian package frr)");
        self.processes.push(process);
    }

    fn ask(&self, words: &str) -> String {
        let path = self.folder.path().to_str().unwrap();
        let output =
            Command::new("vtysh").args(["--vty_socket", path, "-d", "bfdd", "-c", words]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// How many of the sessions are up for it.
    fn up(&self) -> usize {
        self.ask("show bfd peers").matches("Status: up").count()
    }
}

fn cut(ns: &TestNs) {
    ns.run("nft", &["add", "table", "inet", "cut"]);
    ns.run("nft", &["add", "chain", "inet", "cut", "out", "{ type filter hook output priority 0; }"]);
    ns.run("nft", &["add", "rule", "inet", "cut", "out", "udp dport 3784 drop"]);
}

#[test]
fn frr_and_we_each_notice_within_the_agreed_time_that_the_other_is_silent() {
    let (ours, theirs) = cable();
    let frr = Frr::start(theirs);
    let mut end = Ours::start(&ours);
    end.both(Change::Up);
    wait_for("FRR's view", || frr.up() == 2);
    wait_for("the timing that both want", || {
        THEIRS.iter().all(|peer| end.status(peer).detection_time == DETECTION)
    });
    // FRR is silent.
    cut(&frr.ns);
    let start = Instant::now();
    end.both(EXPIRED);
    println!("we lose FRR {:?} after its last packets could pass, agreed are {DETECTION:?}", start.elapsed());
    frr.ns.run("nft", &["delete", "table", "inet", "cut"]);
    end.both(Change::Up);
    wait_for("FRR's view", || frr.up() == 2);
    // We are: our packets do not leave, and we go on to hear FRR, which says that it hears nothing.
    cut(&ours);
    let start = Instant::now();
    wait_for("FRR's loss", || frr.up() == 0);
    println!(
        "FRR loses us {:?} after our last packets could pass, agreed are {DETECTION:?}",
        start.elapsed()
    );
    let (_, change) = end.next();
    assert!(matches!(change, Change::Down { by_administrator: false, .. }), "{change:?}");
}

#[test]
fn frr_that_is_killed_is_lost_and_our_goodbye_is_no_failure_to_it() {
    let (ours, theirs) = cable();
    let mut frr = Frr::start(theirs);
    let mut end = Ours::start(&ours);
    end.both(Change::Up);
    wait_for("FRR's view", || frr.up() == 2);
    end.bfd.remove(super::ip(THEIRS[0]));
    wait_for("FRR's view", || {
        let shown = frr.ask("show bfd peers");
        shown.contains("Remote diagnostics: administratively down")
            || shown.contains("Diagnostics: neighbor signaled session down")
    });
    for process in &mut frr.processes {
        process.kill().unwrap();
    }
    assert_eq!(end.next(), (super::ip(THEIRS[1]), EXPIRED));
}
