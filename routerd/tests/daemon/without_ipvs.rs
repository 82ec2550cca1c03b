//! The machine's own kernel where it has no IPVS; on one that has it there is nothing wrong to be seen.

use cni_plugin::socket::Reply;
use serde_json::Value;

use crate::world::World;
use crate::{CLOSED, POD, is_synced, plane};

const SERVICE: &str = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {clusterIP: 10.96.0.7, clusterIPs: [10.96.0.7], ports: [{port: 80}]}\n";

#[test]
fn a_kernel_without_ipvs_is_said_with_the_remedy_the_node_is_not_ready_and_the_other_planes_work() {
    let has_ipvs = kernel::ipvs::Ipvs::open().is_ok();
    let world = World::running("without-ipvs");
    world.write("service.yaml", SERVICE);
    world.write("pods.yaml", &format!("{POD}---\n{CLOSED}"));
    let status = world.until("planes that have run", |status| {
        is_synced(status, &["routing", "policy", "cni", "services", "advertise"])
            && status["cluster"]["objects"]["Service"] == 1
    });
    for name in ["routing", "cni", "advertise"] {
        assert_eq!(plane(&status, name)["state"], "ok", "{status:#}");
    }
    assert_eq!(world.attach("web", "10.244.1.7"), Reply::Committed);
    assert!(world.rules().contains("10.244.1.7"), "policies are in force all the same");
    let (code, reasons) = world.get(20244, "/readyz");
    if has_ipvs {
        assert!(!reasons.contains("services"), "{reasons}");
        return;
    }
    assert!(code == 503 && reasons.lines().all(|line| line.starts_with("services:")), "{reasons}");
    assert_eq!(world.get(20244, "/healthz").0, 200, "a new start would not help");
    let told: &Value = &plane(&status, "services")["problems"];
    assert!(told.to_string().contains("this kernel has no IPVS: load it with `modprobe ip_vs`"), "{told}");
    assert!(!world.rules().contains("services-"), "without what answers for an address nothing leads there");
}
