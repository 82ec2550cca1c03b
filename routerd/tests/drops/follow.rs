//! Following, as `routerd drops -f` does.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Stdio};

use serde_json::{Value, json};

use super::lab::{Lab, OUTSIDE};
use super::world::wait;

/// A client that follows. It ends with the test.
struct Follower {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Follower {
    /// One that has seen what was kept before: nothing.
    fn new(lab: &Lab, arguments: &[&str]) -> Self {
        let mut child = lab.drops_command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn next(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn who_follows_sees_packets_as_they_are_refused_and_several_may() {
    let lab = Lab::running(&[("web", 7)]);
    lab.deny("web", "Ingress");
    let mut text = Follower::new(&lab, &["-f"]);
    let mut json = Follower::new(&lab, &["--follow", "--output=json", "--last", "0"]);
    assert!(text.next().starts_with("TIME"));
    // Until both have subscribed something must come again and again.
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                lab.send("outside", OUTSIDE, "10.244.1.7:1234", 1);
                std::thread::sleep(std::time::Duration::from_millis(150));
            }
        });
        let line = text.next();
        assert!(line.contains("default/web (10.244.1.7)") && line.contains("UDP 1234"), "{line}");
        let line: Value = serde_json::from_str(&json.next()).unwrap();
        assert_eq!((&line["port"], &line["pod"]["name"]), (&json!(1234), &json!("web")));
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_follower_is_told_when_the_daemon_ends() {
    let mut lab = Lab::running(&[]);
    let mut follower = Follower::new(&lab, &["-f"]);
    assert!(follower.next().starts_with("TIME"));
    lab.world.end(nix::sys::signal::Signal::SIGTERM);
    let status = wait("the end of the follower", || follower.child.try_wait().unwrap());
    assert_eq!(status.code(), Some(1));
}
