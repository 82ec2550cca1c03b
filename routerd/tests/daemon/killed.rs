//! The daemon is killed at any moment, again and again, while policies and pods change: nothing that policy refuses gets
//! in, and no admitted flow breaks.

use std::hash::{BuildHasher as _, RandomState};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use kernel::testing::TestNs;
use nix::sys::signal::Signal;

use super::wired::{Background, Counter, FLAGS, Wired, echo, flood, rounds};
use super::world::{placed, pods, policy, wait};

/// Much longer than a flow that works takes for an answer, on any machine.
const ANSWER: Duration = Duration::from_secs(30);
const WEB: &str = "10.244.1.2";

fn chance(below: u64) -> Duration {
    Duration::from_millis(RandomState::new().hash_one(below) % below)
}

/// What holds all the time: `web` admits friends to port 80. How it is written differs from round to round.
fn policies(round: u64) -> String {
    let friends = "{from: [{podSelector: {matchLabels: {app: friend}}}], ports: [{port: 80}]}";
    let port = 1000 + round % 500;
    let other = format!(
        "{{from: [{{podSelector: {{matchLabels: {{round: \"{round}\"}}}}}}], ports: [{{port: {port}}}]}}"
    );
    let noise =
        format!("podSelector: {{matchLabels: {{noise: \"{}\"}}}}, policyTypes: [Ingress, Egress]", round % 3);
    policy("web", &format!("podSelector: {{matchLabels: {{app: web}}}}, ingress: [{friends}, {other}]"))
        + &policy(&format!("noise-{}", round % 7), &noise)
}

/// Pods of this node whose labels say the same, and a changing crowd of friends elsewhere.
fn cluster(round: u64) -> String {
    let apps = ["web", "friend", "guest"].map(|app| (app, format!("{app}, noise: \"{}\"", 3 + round % 2)));
    let local = pods(apps.iter().map(|(name, labels)| (*name, labels.as_str())));
    let far = |other| placed(&format!("far-{other}"), "friend", "node2", &format!("10.244.2.{}", other + 2));
    local + &(0..round % 20).map(far).collect::<String>()
}

/// Sends and receives on one connection without end; panics when it breaks.
fn stream(from: &TestNs, to: &str, answers: &Arc<AtomicU64>) -> Background {
    let to: SocketAddr = to.parse().unwrap();
    let mut stream = from.run_in(|| TcpStream::connect_timeout(&to, ANSWER).unwrap());
    stream.set_read_timeout(Some(ANSWER)).unwrap();
    let answers = Arc::clone(answers);
    Background::new(move || {
        stream.write_all(b"ping").unwrap();
        stream.read_exact(&mut [0; 4]).expect("an admitted flow broke");
        answers.fetch_add(1, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(3));
    })
}

/// Tries to connect without end.
fn knock(from: &TestNs, to: &str, patience: Duration, came_about: &Arc<AtomicU64>) -> Background {
    let to: SocketAddr = to.parse().unwrap();
    let (path, count) = (from.path(), Arc::clone(came_about));
    Background::new(move || {
        let from = kernel::NetNs::open(std::path::Path::new(&path)).unwrap();
        let stream = from.run_in(|| TcpStream::connect_timeout(&to, patience)).unwrap();
        count.fetch_add(u64::from(stream.is_ok()), Ordering::Relaxed);
        thread::sleep(Duration::from_millis(5));
    })
}

#[test]
fn killed_at_any_moment_of_churn_nothing_refused_gets_in_and_no_admitted_flow_breaks() {
    let rounds = rounds("KILLS", 8);
    let mut wired = Wired::new("killed");
    wired.world.write("policy.yaml", &policies(0));
    wired.world.write("pods.yaml", &cluster(0));
    wired.world.start_with(&FLAGS);
    wired.synced();
    let (web, friend) = (wired.pod("web", 2), wired.pod("friend", 3));
    let refused = Counter::new(&web.space, 9, true);
    let (_open, _) = echo(&web.space, 80);
    let (_closed, entered) = echo(&web.space, 81);
    let [answers, strangers, friends] = [(); 3].map(|()| Arc::new(AtomicU64::new(0)));
    let short = Duration::from_millis(40);
    let at = |port| format!("{WEB}:{port}");
    let probes = [
        flood(&wired.outside, vec![web.at(9)]),
        flood(&friend.space, vec![web.at(9)]),
        stream(&friend.space, &at(80), &answers),
        knock(&wired.outside, &at(80), short, &strangers),
        knock(&friend.space, &at(81), short, &strangers),
        knock(&friend.space, &at(80), ANSWER, &friends),
    ];
    let churn = {
        let (place, mut round) = (wired.world.place(), 0);
        Background::new(move || {
            round += 1;
            place.write("policy.yaml", &policies(round));
            place.write("pods.yaml", &cluster(round));
            // A guest that comes and goes, whenever there is somebody to tell.
            let _ = place.try_attach("guest", "10.244.1.9");
            let _ = place.try_detach("guest");
            thread::sleep(chance(20));
        })
    };
    for round in 0..rounds {
        if round % 10 == 9 {
            wired.synced();
        }
        thread::sleep(chance(250));
        wired.world.end(Signal::SIGKILL);
        thread::sleep(chance(30));
        wired.world.start_with(&FLAGS);
    }
    wired.synced();
    churn.end();
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let before = count(&answers);
    wait("more answers", || (count(&answers) > before + 10).then_some(()));
    wait("a new connection", || (count(&friends) > 0).then_some(()));
    probes.into_iter().for_each(Background::end);
    println!(
        "{rounds} kills: {} answers on one connection, {} new connections, 0 refused",
        count(&answers),
        count(&friends)
    );
    assert_eq!(
        (refused.arrived(), count(&strangers), count(&entered)),
        (0, 0, 0),
        "something refused got in"
    );
}
