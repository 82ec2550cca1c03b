//! Small changes are small writes; what others break is mended; what the kernel refuses holds up nobody.

use std::net::UdpSocket;
use std::time::Duration;

use kernel::KernelError;
use kernel::nft::Nft;
use kernel::testing::TestNs;
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::fixture::pod;
use super::lab::Lab;
use crate::policy::{PolicyApplier, cleanup};
use crate::runner::{Apply, Report, Scope};

pub(super) const WEB: &str = "10.244.1.2";
pub(super) const FROM_FRIENDS: &str = "podSelector: {matchLabels: {app: web}}\ningress: [{from: [{podSelector: {matchLabels: {app: friend}}}]}]";

pub(super) fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.pod("default/web", "app=web", 2);
    lab.pod("default/friend", "app=friend", 3);
    lab.policy("default/p", FROM_FRIENDS);
    lab
}

fn chains(lab: &Lab) -> String {
    let listed = lab.node.run("nft", &["-a", "-t", "list", "table", "inet", "routerd"]);
    listed.lines().filter(|line| !line.contains("counter")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_label_change_writes_elements_and_nothing_else_and_counts_at_once() {
    let mut lab = lab();
    let before = chains(&lab);
    lab.expect(&[("default/friend", WEB, 80, true)]);
    let report = lab.label("default/friend", "app=enemy", 3);
    assert_eq!(report.writes, 3, "the table, and an address out of the sets of both families");
    lab.expect(&[("default/friend", WEB, 80, false)]);
    assert_eq!(chains(&lab), before);
    assert_eq!(lab.label("default/friend", "app=friend", 3).writes, 3);
    lab.expect(&[("default/friend", WEB, 80, true)]);
    assert_eq!(chains(&lab), before);
}

#[test]
fn unchanged_state_writes_nothing() {
    let mut lab = lab();
    let generation = |lab: &Lab| lab.node.run_in(|| Nft::open().unwrap().generation().unwrap());
    let before = generation(&lab);
    for _ in 0..3 {
        assert_eq!(lab.resync().writes, 0);
    }
    let keys: Vec<_> = lab.world.desired().into_keys().collect();
    assert_eq!(lab.apply(keys).writes, 0);
    assert_eq!(generation(&lab), before);
}

#[test]
fn what_somebody_else_breaks_is_mended() {
    let mut lab = lab();
    for damage in [
        "flush chain inet routerd policy-ingress",
        "delete element inet routerd policy-ingress4 { 10.244.1.2 }",
        "flush table inet routerd",
        "delete table inet routerd",
        "add rule inet routerd policy-egress accept",
        "insert rule inet routerd policy-forward accept",
    ] {
        lab.node.run("nft", &[damage]);
        let report: Report = lab.resync();
        assert!(report.writes > 0 && report.problems.is_empty(), "{damage}: {report:?}");
        lab.expect(&[("default/friend", WEB, 80, true), ("outside", WEB, 80, false)]);
        assert_eq!(lab.resync().writes, 0, "{damage}");
    }
}

#[test]
fn a_setting_that_hides_packets_between_pods_from_the_judges_is_put_back_between_runs() {
    let mut lab = lab();
    let desired = lab.world.desired();
    let tend = |lab: &mut Lab| {
        let applier = &mut lab.applier;
        lab.node.run_in(|| applier.tend(&desired))
    };
    assert_eq!(tend(&mut lab), None, "all is as it should be");
    for key in ["iptables", "ip6tables"] {
        let key = format!("net.bridge.bridge-nf-call-{key}");
        lab.node.run("sysctl", &["-qw", &format!("{key}=0")]);
        let report = tend(&mut lab).unwrap();
        assert!(report.writes == 1 && report.repaired && report.problems.is_empty(), "{report:?}");
        assert_eq!(lab.node.run("sysctl", &["-n", &key]).trim(), "1");
        assert_eq!(tend(&mut lab), None);
    }
}

#[test]
fn a_kernel_that_shows_no_packet_between_pods_of_the_bridge_is_a_plane_that_does_not_work() {
    let mut lab = lab();
    let desired = lab.world.desired();
    let mut looks = |bridged: bool, hidden: bool| {
        lab.applier = PolicyApplier::new().bridged(bridged);
        let applier = &mut lab.applier;
        lab.node.run_in(|| {
            if hidden {
                // As without the module, for this thread alone, which ends with the visit.
                unshare(CloneFlags::CLONE_NEWNS).unwrap();
                let none = None::<&str>;
                mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
                mount(Some("none"), "/proc/sys/net/bridge", Some("tmpfs"), MsFlags::empty(), none).unwrap();
            }
            let report = applier.apply(&desired, &Scope::Everything);
            let tended = applier.tend(&desired);
            (report, tended)
        })
    };
    let (report, tended) = looks(true, true);
    let broken: Vec<_> = report.problems.iter().filter(|problem| problem.item == "policy").collect();
    assert!(broken.len() == 2 && broken[0].message.contains("modprobe br_netfilter"), "{report:?}");
    assert_eq!(tended, None, "nothing changed");
    let (report, _) = looks(false, true);
    assert!(
        report.problems.iter().all(|problem| problem.item.starts_with("sysctl net.bridge")),
        "{report:?}"
    );
    let (report, _) = looks(true, false);
    assert_eq!(report.problems, []);
}

#[test]
fn what_a_failed_run_left_undone_is_done_by_the_next_and_is_nobody_elses_damage() {
    let mut lab = lab();
    lab.expect(&[("default/friend", WEB, 80, true)]);
    let touched = lab.world.pod(pod("default/friend", "app=enemy", &Lab::addresses(3).join(" ")));
    // As after a change that the kernel refused, when it could not be read either: what was applied is ahead of the kernel.
    let desired = lab.world.desired();
    lab.applier.applied.clone_from(&desired);
    let keys = Scope::Keys(touched.into_iter().collect());
    let report = lab.applier.report(&desired, &keys, Err(KernelError::new("read the rules", Errno::ENOMEM)));
    assert!(report.problems.iter().any(|problem| problem.item == "policy" && problem.retry), "{report:?}");
    let applier = &mut lab.applier;
    assert_eq!(lab.node.run_in(|| applier.tend(&desired)), None, "the problem stays until it is mended");
    let report = lab.resync();
    assert!(report.writes > 0 && !report.repaired && report.problems.is_empty(), "{report:?}");
    lab.expect(&[("default/friend", WEB, 80, false), ("node", WEB, 80, true)]);
    assert_eq!(lab.resync().writes, 0);
}

#[test]
fn a_pod_with_an_address_of_the_node_does_not_pass_for_the_node() {
    let mut lab = lab();
    lab.policy("default/jail", "podSelector: {matchLabels: {app: friend}}\npolicyTypes: [Egress]");
    let server = lab.node.run_in(|| UdpSocket::bind("[fd00:244:1::1]:7000")).unwrap();
    server.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    let send = |from: &str, space: &TestNs| {
        space.run_in(|| UdpSocket::bind(from)).unwrap().send_to(b"x", "[fd00:244:1::1]:7000").unwrap();
        server.recv(&mut [0; 8]).is_ok()
    };
    let jail = lab.space("default/friend");
    jail.run("ip", &["address", "add", "2001:db8::1/128", "dev", "lo"]);
    assert!(!send("[fd00:244:1::3]:0", jail), "its policy");
    assert!(!send("[2001:db8::1]:0", jail), "its policy, with the node's address");
    let open = lab.space("default/web");
    assert!((0..20).any(|_| send("[fd00:244:1::2]:0", open)), "the server is there");
}

#[test]
fn a_change_that_meets_a_broken_kernel_mends_it_too() {
    let mut lab = lab();
    lab.node.run("nft", &["delete table inet routerd"]);
    let report = lab.label("default/friend", "app=enemy", 3);
    assert_eq!(report.problems, []);
    lab.expect(&[("default/friend", WEB, 80, false), ("node", WEB, 80, true)]);
}

#[test]
fn an_invalid_policy_closes_its_pods_and_says_why() {
    let mut lab = lab();
    let report =
        lab.policy("default/bad", "podSelector: {}\ningress: [{from: [{ipBlock: {cidr: nonsense}}]}]");
    let problem = report.problems.iter().find(|problem| problem.item == "NetworkPolicy default/bad").unwrap();
    assert!(!problem.retry && problem.message.contains("nonsense"), "{problem:?}");
    lab.expect(&[
        ("outside", "10.244.1.3", 80, false),
        // What another policy admits stays admitted.
        ("default/friend", WEB, 80, true),
    ]);
}

#[test]
fn cleaning_up_leaves_what_others_own() {
    let mut lab = lab();
    lab.node.run(
        "nft",
        &["add table ip foreign; add chain ip foreign c { type filter hook forward priority 9; }"],
    );
    lab.node.run("nft", &["add chain inet routerd services-other"]);
    let foreign = lab.node.run("nft", &["-a", "list", "table", "ip", "foreign"]);
    lab.policy("default/more", "podSelector: {}\npolicyTypes: [Egress]");
    lab.node.run_in(|| cleanup(&mut Nft::open().unwrap()).unwrap());
    let printed = lab.node.run("nft", &["list", "ruleset"]);
    assert!(!printed.contains("policy-") && printed.contains("services-other"), "{printed}");
    assert_eq!(lab.node.run("nft", &["-a", "list", "table", "ip", "foreign"]), foreign);
}

#[test]
fn the_report_counts_what_there_is() {
    let mut lab = lab();
    let counts = lab.resync().counts;
    assert_eq!((counts["pods"], counts["policies"], counts["isolated_ingress"]), (2, 1, 1));
    assert_eq!((counts["groups"], counts["isolated_egress"]), (1, 0));
}
