//! Figures beside other routers in one run: how long a whole table takes to come in, and what it costs.
//!
//! `cargo test --release -p bgp --test peers figures -- --ignored --nocapture`. One BIRD plays all peers;
//! who is measured connects to it, takes everything and passes nothing on.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bgp::{PeerConfig, RibEvent, Speaker, SpeakerConfig};
use kernel::testing::TestNs;

use crate::kit::ASN;

/// Peers and routes of each.
const SIZES: [(u32, u32); 3] = [(100, 100), (10, 20_000), (1, 500_000)];
const RECEIVER: Ipv4Addr = Ipv4Addr::new(10, 99, 255, 1);

fn peer_address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 99, 0, 1)) + number)
}

/// A program that ends with this value.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Program {
    fn spawn(ns: &TestNs, folder: &Path, log: &str, program: &str, arguments: &[&str]) -> Self {
        let log = std::fs::File::create(folder.join(log)).unwrap();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", ns.name(), program]).args(arguments).current_dir(folder);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Self(command.spawn().unwrap())
    }

    /// The highest memory in MB and the time of the processor in seconds.
    fn cost(&self) -> (f64, f64) {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", self.0.id())).unwrap();
        let status = read("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak: f64 = line.split_whitespace().next().unwrap().parse().unwrap();
        let stat = read("stat");
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        (peak / 1024.0, ticks / 100.0)
    }
}

/// All peers in one BIRD, each with a table of its own.
fn feeder(peers: u32, routes: u32) -> String {
    let mut text = "log stderr all; router id 10.99.0.1; protocol device {}\n".to_owned();
    for number in 0..peers {
        let own = peer_address(number);
        let _ = writeln!(text, "ipv4 table t{number};\nprotocol static {{ ipv4 {{ table t{number}; }};");
        for route in number * routes..(number + 1) * routes {
            let prefix = Ipv4Addr::from((11 << 24) + (route << 8));
            let _ = writeln!(text, "route {prefix}/24 blackhole;");
        }
        let _ = writeln!(
            text,
            "}}\nprotocol bgp b{number} {{ local {own} as {ASN}; neighbor {RECEIVER} as {ASN}; strict bind yes; passive yes;
             router id {own}; ipv4 {{ table t{number}; import none; export all; next hop self; }}; }}"
        );
    }
    text
}

fn bird(peers: u32) -> String {
    let mut text = format!("log stderr all; router id {RECEIVER}; protocol device {{}}\n");
    for number in 0..peers {
        let peer = peer_address(number);
        let _ = writeln!(
            text,
            "protocol bgp b{number} {{ local {RECEIVER} as {ASN}; neighbor {peer} as {ASN}; connect delay time 1;
             ipv4 {{ import all; export none; }}; }}"
        );
    }
    text
}

fn frr(peers: u32) -> String {
    let mut text = format!("router bgp {ASN}\n bgp router-id {RECEIVER}\n no bgp default ipv4-unicast\n");
    for number in 0..peers {
        let peer = peer_address(number);
        let _ = writeln!(text, " neighbor {peer} remote-as {ASN}\n neighbor {peer} timers connect 1");
        let _ =
            writeln!(text, " address-family ipv4 unicast\n  neighbor {peer} activate\n exit-address-family");
    }
    text
}

fn gobgp(peers: u32) -> String {
    let mut text = format!("[global.config]\nas = {ASN}\nrouter-id = \"{RECEIVER}\"\n");
    for number in 0..peers {
        let _ = writeln!(
            text,
            "[[neighbors]]\n[neighbors.config]\nneighbor-address = \"{}\"\npeer-as = {ASN}\n[neighbors.timers.config]\nconnect-retry = 5",
            peer_address(number)
        );
    }
    text
}

fn ask(ns: &TestNs, folder: &Path, program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", ns.name(), program]).args(arguments).current_dir(folder);
    String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
}

fn first_number(text: &str) -> u32 {
    text.split(|c: char| !c.is_ascii_digit()).find_map(|word| word.parse().ok()).unwrap_or(0)
}

/// Runs one of the programs until it has all routes: seconds, MB, seconds of CPU.
fn measure(name: &str, ns: &TestNs, folder: &Path, peers: u32, routes: u32) -> (f64, f64, f64) {
    let path = folder.to_str().unwrap();
    let write = |file: &str, text: String| std::fs::write(folder.join(file), text).unwrap();
    let start = Instant::now();
    let own = std::env::current_exe().unwrap();
    let program = match name {
        "BIRD" => {
            write("bird.conf", bird(peers));
            let arguments = ["-f", "-c", "bird.conf", "-s", "r.ctl", "-P", "r.pid"];
            Program::spawn(ns, folder, "bird.log", "/usr/sbin/bird", &arguments)
        }
        "FRR" => {
            write("bgpd.conf", frr(peers));
            let config = format!("{path}/bgpd.conf");
            let pid = format!("{path}/bgpd.pid");
            let arguments =
                ["-S", "-Z", "-f", &config, "-i", &pid, "--vty_socket", path, "-P", "0", "--log", "stdout"];
            Program::spawn(ns, folder, "frr.log", "/usr/lib/frr/bgpd", &arguments)
        }
        "GoBGP" => {
            write("gobgp.toml", gobgp(peers));
            let arguments =
                ["-f", "gobgp.toml", "--api-hosts", "127.0.0.1:50051", "--pprof-disable", "-l", "error"];
            Program::spawn(ns, folder, "gobgp.log", "gobgpd", &arguments)
        }
        _ => {
            let arguments = ["scale::subject", "--exact", "--ignored", "--nocapture"];
            Program::spawn(ns, folder, "ours.log", own.to_str().unwrap(), &arguments)
        }
    };
    let count = || match name {
        "BIRD" => first_number(
            &ask(ns, folder, "birdc", &["-r", "-s", "r.ctl", "show", "route", "count"])
                .split("ready.")
                .nth(1)
                .unwrap_or_default()
                .replace('\n', " "),
        ),
        "FRR" => {
            let shown =
                ask(ns, folder, "vtysh", &["--vty_socket", path, "-c", "show bgp ipv4 unicast statistics"]);
            shown.lines().find(|line| line.starts_with("Total Prefixes")).map_or(0, first_number)
        }
        "GoBGP" => first_number(&ask(ns, folder, "gobgp", &["global", "rib", "summary"])),
        _ => std::fs::read_to_string(folder.join("ours.log"))
            .unwrap()
            .lines()
            .rev()
            .find_map(|line| line.strip_prefix("has ")?.parse().ok())
            .unwrap_or(0),
    };
    while count() < peers * routes {
        assert!(
            start.elapsed() < Duration::from_mins(4),
            "{name} has only {} of {}",
            count(),
            peers * routes
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    let time = start.elapsed().as_secs_f64();
    let (memory, cpu) = program.cost();
    (time, memory, cpu)
}

#[test]
#[ignore = "measures for minutes; see the head of the file"]
fn figures_beside_bird_frr_and_gobgp() {
    for (peers, routes) in SIZES {
        let (ours, theirs) = (TestNs::new("scale"), TestNs::new("feeder"));
        let folder = tempfile::tempdir().unwrap();
        ours.run(
            "ip",
            &["link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", theirs.name()],
        );
        ours.run("ip", &["address", "add", &format!("{RECEIVER}/16"), "dev", "cable"]);
        for number in 0..peers {
            theirs.run("ip", &["address", "add", &format!("{}/16", peer_address(number)), "dev", "cable"]);
        }
        for ns in [&ours, &theirs] {
            ns.run("ip", &["link", "set", "cable", "up"]);
            ns.run("ip", &["link", "set", "lo", "up"]);
        }
        std::fs::write(folder.path().join("feeder.conf"), feeder(peers, routes)).unwrap();
        let arguments = ["-f", "-c", "feeder.conf", "-s", "f.ctl", "-P", "f.pid"];
        let _feeder = Program::spawn(&theirs, folder.path(), "feeder.log", "/usr/sbin/bird", &arguments);
        crate::kit::wait_for("the feeder", || {
            std::fs::read_to_string(folder.path().join("feeder.log")).unwrap().contains("Started")
        });
        // Our own child reads it.
        std::fs::write(folder.path().join("size"), format!("{peers} {routes}")).unwrap();
        for name in ["routerd", "BIRD", "FRR", "GoBGP"] {
            let (time, memory, cpu) = measure(name, &ours, folder.path(), peers, routes);
            println!(
                "{peers:3} peers x {routes:6} routes  {name:8} {time:6.2} s  {memory:6.1} MB  {cpu:6.2} s CPU"
            );
        }
    }
}

/// Our own side of the figures, a process of its own; its folder says how much is to come.
#[test]
#[ignore = "the child process of the figures"]
fn subject() {
    let size = std::fs::read_to_string("size").expect("only the figures start this");
    let numbers: Vec<u32> = size.split(' ').map(|word| word.parse().unwrap()).collect();
    let (peers, wanted) = (numbers[0], numbers[0] * numbers[1]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let config = SpeakerConfig {
            listen: vec![SocketAddr::new(IpAddr::V4(RECEIVER), 179)],
            ..SpeakerConfig::new(ASN, RECEIVER)
        };
        let (handle, mut events) = Speaker::start(config).unwrap();
        for number in 0..peers {
            handle.set_peer(PeerConfig::new(IpAddr::V4(peer_address(number)), ASN)).await.unwrap();
        }
        let mut known = 0;
        while let Some(RibEvent::Best { next_hops, .. }) = events.recv().await {
            assert!(!next_hops.is_empty());
            known += 1;
            if known >= wanted {
                println!("has {known}");
                break;
            }
        }
        std::future::pending::<()>().await;
    });
}
