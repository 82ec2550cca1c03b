//! What others own stays byte for byte as it is, whatever we do and however often.

use kernel::testing::TestNs;

use super::fixture::{World, pod};
use crate::policy::{PolicyApplier, PolicyKey};
use crate::runner::{Apply, Scope};

/// Syncs of each kind; four kinds make a thousand.
const ROUNDS: u32 = 250;

/// Tables that `nft` made, and tables as iptables-nft makes them, with everything that a table can have.
fn furnish(node: &TestNs) {
    node.run(
        "nft",
        &["add table inet theirs { \
             set s { type ipv4_addr; flags interval; elements = { 10.0.0.0/8, 192.0.2.9 }; }; \
             map policy-names { type ipv4_addr : verdict; elements = { 10.244.1.9 : drop }; }; \
             counter c { packets 7 bytes 700; }; \
             chain in { type filter hook input priority 5; policy accept; ip saddr @s counter name c accept comment \"x\"; }; \
             chain policy-forward { ip daddr vmap @policy-names; }; \
           }; \
           add table inet routerd; add table ip routerd { chain policy-forward { type filter hook forward priority 7; }; }; \
           add chain inet routerd somebody-elses; add rule inet routerd somebody-elses tcp dport 22 counter accept"],
    );
    for tool in ["iptables-nft", "ip6tables-nft"] {
        for rule in [
            "-N KUBE-FORWARD",
            "-A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT",
            "-A KUBE-FORWARD -p tcp --dport 8080 -m comment --comment theirs -j ACCEPT",
            "-A FORWARD -j KUBE-FORWARD",
            "-t nat -N KUBE-POSTROUTING",
            "-t nat -A POSTROUTING -j KUBE-POSTROUTING",
        ] {
            node.run(tool, &rule.split(' ').collect::<Vec<_>>());
        }
    }
}

/// Everything in the namespace but our objects, with handles and counters.
fn foreign(node: &TestNs) -> String {
    let mut all = String::new();
    for table in node.run("nft", &["list", "tables"]).lines() {
        let name = table.trim_start_matches("table ");
        if name != "inet routerd" {
            let words: Vec<&str> = ["-a", "list", "table"].into_iter().chain(name.split(' ')).collect();
            all += &node.run("nft", &words);
        }
    }
    all + &node.run("nft", &["-a", "list", "chain", "inet", "routerd", "somebody-elses"])
}

/// The plane in a namespace where no packet moves a counter.
struct Quiet {
    node: TestNs,
    world: World,
    applier: PolicyApplier,
}

impl Quiet {
    fn apply(&mut self, scope: &Scope<PolicyKey>) -> u64 {
        let (desired, applier) = (self.world.desired(), &mut self.applier);
        let report = self.node.run_in(|| applier.apply(&desired, scope));
        assert_eq!(report.problems, []);
        report.writes
    }

    fn label(&mut self, of: &str, labels: &str, addresses: &str) -> u64 {
        let touched = self.world.pod(pod(of, labels, addresses));
        self.apply(&Scope::Keys(touched.into_iter().collect()))
    }

    fn policy(&mut self, spec: &str) -> u64 {
        let touched = self.world.policy("default/p", spec);
        self.apply(&Scope::Keys(touched.into_iter().collect()))
    }
}

#[test]
fn a_thousand_syncs_leave_foreign_tables_chains_and_sets_byte_for_byte_as_they_are() {
    let mut quiet =
        Quiet { node: TestNs::new("foreign"), world: World::new(), applier: PolicyApplier::new() };
    furnish(&quiet.node);
    quiet.apply(&Scope::Everything);
    quiet.label("default/web", "app=web", "10.244.1.2 fd00:244:1::2");
    let before = foreign(&quiet.node);
    assert!(before.contains("KUBE-FORWARD") && before.contains("policy-names"), "{before}");
    let mut writes = 0;
    for round in 0..ROUNDS {
        let app = if round % 2 == 0 { "enemy" } else { "friend" };
        writes += quiet.label("default/friend", &format!("app={app}"), "10.244.1.3 fd00:244:1::3");
        let spec = format!(
            "podSelector: {{matchLabels: {{app: web}}}}\ningress: [{{from: [{{podSelector: {{matchLabels: {{app: {app}}}}}}}], ports: [{{port: {}}}]}}]",
            1000 + round
        );
        writes += quiet.policy(&spec);
        if round % 25 == 0 {
            quiet.node.run("nft", &["flush chain inet routerd policy-ingress"]);
        }
        writes += quiet.apply(&Scope::Everything);
        quiet.applier = PolicyApplier::new();
        writes += quiet.apply(&Scope::Everything);
    }
    assert!(writes > u64::from(ROUNDS) * 2, "{writes}");
    assert_eq!(foreign(&quiet.node), before);
}
