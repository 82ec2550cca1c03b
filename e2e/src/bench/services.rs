//! Services into an empty kernel, in a guest.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::daemon::{Daemon, Programs};
use crate::guest::client::{Cmd, Node};
use crate::guest::{Extras, NodeKind};
use crate::lab::{Lab, Plan};
use crate::manifests::Manifests;
use crate::sandbox::Inside;
use crate::setup::Ready;

/// How long programming may take.
const LIMIT: Duration = Duration::from_mins(2);

/// Measures and prints the figures.
pub(super) fn run(inside: &Inside, ready: &Ready, count: usize) -> Result<()> {
    let plan = Plan {
        kind: NodeKind::Uml,
        kernel: ready.kernel.clone(),
        memory: 600,
        count: 1,
        extras: Extras::default(),
    };
    let lab = Lab::boot(inside, &plan)?;
    let node = lab.node(1)?;
    let manifests = Manifests::new(&lab.nodes);
    manifests.cluster(&lab.nodes)?;
    let services: Vec<String> = (0..count).map(service).collect();
    manifests.write("services.yaml", &services.join("---\n"))?;
    let peer = restore(node, count)?;
    let programs = Programs::copy(inside, &ready.binaries)?;
    let begin = Instant::now();
    let daemon = Daemon::start(node, &programs, &lab.folder, &["--run-firewall=false"])?;
    let first = wait_for_services(node, count, begin)?;
    // Let it come to rest, so that the next change is alone.
    std::thread::sleep(Duration::from_secs(2));
    let one = one_more(node, &manifests, count)?;
    let status = daemon.status()?;
    println!("  {count} Services with 2 endpoints each, in a guest (one CPU, slow system calls)");
    println!("  from the start of routerd on an empty kernel    {} ms", first.as_millis());
    println!("  one Service more, from its file's rename        {} ms", one.as_millis());
    println!("  ipvsadm --restore of the same, IPVS only        {} ms", peer.as_millis());
    println!(
        "  ratio, routerd to ipvsadm                       {:.2}",
        first.as_secs_f64() / peer.as_secs_f64()
    );
    println!("  kernel writes of the services plane             {}", writes(&status));
    Ok(())
}

fn writes(status: &serde_json::Value) -> u64 {
    let planes = status["planes"].as_array().map(Vec::as_slice).unwrap_or_default();
    let services = planes.iter().find(|plane| plane["name"] == "services");
    services.and_then(|plane| plane["writes"].as_u64()).unwrap_or(0)
}

/// The peer does IPVS only: no addresses of Services on a device, no marks.
fn restore(node: &Node, count: usize) -> Result<Duration> {
    let rules: Vec<String> = (0..count).map(rules).collect();
    node.netns("peer", true)?;
    // Without a device that is up the namespace has no table of addresses, and no address counts as unicast.
    node.run(Cmd::new("ip").words("link set lo up").in_pod("peer"))?;
    let ended = node.output(Cmd::new("ipvsadm").arg("--restore").in_pod("peer").stdin(rules.concat()))?;
    if ended.code != 0 {
        bail!("ipvsadm --restore: {}", ended.stderr.lines().next().unwrap_or_default());
    }
    node.netns("peer", false)?;
    Ok(ended.took)
}

fn rules(number: usize) -> String {
    let (address, [first, second]) = (address(number), endpoints(number));
    format!(
        "-A -t {address}:80 -s rr\n-a -t {address}:80 -r {first}:8080 -m -w 1\n-a -t {address}:80 -r {second}:8080 -m -w 1\n"
    )
}

fn one_more(node: &Node, manifests: &Manifests, count: usize) -> Result<Duration> {
    let text = service(count);
    let begin = Instant::now();
    manifests.write("one-more.yaml", &text)?;
    wait_for_services(node, count + 1, begin)
}

/// Until so many services with two backends each are in the kernel.
fn wait_for_services(node: &Node, wanted: usize, since: Instant) -> Result<Duration> {
    loop {
        let (services, backends) = count(&node.read("/proc/net/ip_vs")?);
        let took = since.elapsed();
        if services >= wanted && backends >= 2 * wanted {
            return Ok(took);
        }
        if took > LIMIT {
            bail!(
                "after {} s the kernel has {services} of {wanted} services and {backends} backends",
                LIMIT.as_secs()
            );
        }
        std::thread::sleep(Duration::from_millis(if wanted - services.min(wanted) > 10 { 20 } else { 1 }));
    }
}

fn count(table: &str) -> (usize, usize) {
    let services = table.lines().filter(|line| line.starts_with("TCP ")).count();
    // The heading has an arrow as well.
    let backends = table
        .lines()
        .filter(|line| line.trim_start().starts_with("-> ") && !line.contains("RemoteAddress"))
        .count();
    (services, backends)
}

fn address(number: usize) -> Ipv4Addr {
    let number = u32::try_from(number).unwrap_or(0);
    (u32::from(Ipv4Addr::new(10, 96, 1, 0)) + number).into()
}

fn endpoints(number: usize) -> [Ipv4Addr; 2] {
    let first = u32::from(Ipv4Addr::new(10, 245, 0, 0)) + 2 * u32::try_from(number).unwrap_or(0);
    [first.into(), (first + 1).into()]
}

fn service(number: usize) -> String {
    let [first, second] = endpoints(number);
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: s{number}, namespace: demo}}\nspec:\n  type: ClusterIP\n  clusterIP: {address}\n  \
         clusterIPs: [{address}]\n  ports: [{{name: http, protocol: TCP, port: 80, targetPort: 8080}}]\n---\n\
         apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: s{number}-1\n  namespace: demo\n  \
         labels: {{kubernetes.io/service-name: s{number}}}\naddressType: IPv4\nports: [{{name: http, protocol: TCP, port: 8080}}]\n\
         endpoints:\n- {{addresses: [{first}], conditions: {{ready: true}}}}\n- {{addresses: [{second}], conditions: {{ready: true}}}}\n",
        address = address(number),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_and_backends_are_counted_as_the_kernel_lists_them() {
        let table = "IP Virtual Server version 1.2.1 (size=4096)\nProt LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port Forward Weight\n\
                     TCP  0A600100:0050 rr\n  -> 0AF50000:1F90      Masq    1      0          0\n  -> 0AF50001:1F90      Masq    1      0          0\n";
        assert_eq!(count(table), (1, 2));
    }

    #[test]
    fn every_service_has_addresses_of_its_own() {
        assert_ne!(address(0), address(1));
        assert_eq!(address(1000), Ipv4Addr::new(10, 96, 4, 232));
        assert!(!endpoints(1).contains(&endpoints(0)[1]));
    }
}
