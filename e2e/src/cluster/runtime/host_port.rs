//! Ports of the node that lead to a pod: from outside, from the node itself, from a pod on the same node and from the pod itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::super::host_ports::{self, Ports};
use super::super::pods::{HTTP_PORT, Pod, with_label};
use super::batch::{NODE, labelled};
use super::crowd::TIDY;
use super::dial::Asker;
use super::kernel_state::becomes_exact;
use super::world::World;
use crate::demo::report::{Report, Shown};
use crate::net::{GATEWAY, node_address6};
use crate::process::wait_for;

const LIMIT: Duration = Duration::from_mins(2);

/// The label of the pods of this part.
const NAME: &str = "ports";

const PORTS: Ports = Ports { tcp: 18080, udp: 18081, sctp: Some(18082) };

/// Who asks, and the pod that is asked.
struct Scene<'a> {
    pod: Pod,
    addresses: Vec<IpAddr>,
    neighbour: Pod,
    /// Another machine: the other node, which is not where the pod is.
    outside: Asker<'a>,
    /// The node of the pod.
    own: Asker<'a>,
    near: Asker<'a>,
    itself: Asker<'a>,
}

/// Makes a pod with host ports and a neighbour, asks from everywhere, and ends them.
pub(super) fn show(world: &mut World, report: &mut Report) {
    let world = &*world;
    let mut scene = None;
    report.check("a pod with host ports for TCP, UDP and SCTP comes up", || {
        scene = Some(Scene::make(world)?);
        Ok(Shown::Good(format!("{PORTS:?}")))
    });
    if let Some(scene) = &scene {
        scene.checks(world, report);
    }
    report.check("their end closes the ports and leaves nothing", || closed(world));
}

impl<'a> Scene<'a> {
    fn make(world: &'a World) -> Result<Self> {
        let pod = json!({ "apiVersion": "v1", "kind": "List", "items": [
            host_ports::pod("ports-server", NAME, NODE, Some(PORTS)),
            host_ports::pod("ports-neighbour", NAME, NODE, None),
        ]});
        world.plane.apply(&pod.to_string())?;
        wait_for("the pods to be ready", LIMIT, || {
            let up = labelled(&world.plane.api, NAME)?.iter().filter(|pod| pod.is_up()).count();
            ensure!(up == 2, "{up} are");
            Ok(Some(()))
        })?;
        let pods = with_label(&world.plane.api, &world.lab, NAME)?;
        let named = |name: &str| pods.iter().find(|pod| pod.name == name).cloned().context("a pod is gone");
        let (pod, neighbour) = (named("ports-server")?, named("ports-neighbour")?);
        let seen = labelled(&world.plane.api, NAME)?;
        let addresses =
            seen.into_iter().find(|seen| seen.name == pod.name).context("the pod is gone")?.addresses;
        let agnhost = world.programs.path("agnhost").to_string_lossy().into_owned();
        let on_node = |index: u8| {
            let node = world.lab.node(index)?;
            let log = world.lab.folder.join(format!("{}.asker.log", node.name));
            Asker::on_node(node, &agnhost, &log.to_string_lossy())
        };
        let node = world.lab.node(NODE)?;
        let inside = |pod: &Pod| Asker {
            name: pod.name.clone(),
            node,
            server: SocketAddr::new(pod.address, HTTP_PORT),
        };
        Ok(Self {
            outside: on_node(NODE + 1)?,
            own: on_node(NODE)?,
            near: inside(&neighbour),
            itself: inside(&pod),
            pod,
            addresses,
            neighbour,
        })
    }

    fn checks(&self, world: &World, report: &mut Report) {
        report.check("host port from a machine outside, TCP and UDP: the pod sees its address", || {
            let node = world.lab.node(NODE)?.address;
            for (protocol, seen) in host_ports::outside(node, PORTS)? {
                ensure!(seen == IpAddr::V4(GATEWAY), "the pod sees {seen} over {protocol}, not {GATEWAY}");
            }
            Ok(Shown::Good(format!("seen as {GATEWAY}")))
        });
        for (family, address) in node_addresses(world) {
            report.check(&format!("host port from another node, TCP, UDP and SCTP, {family}"), || {
                self.everywhere(&self.outside, address)
            });
            report.check(&format!("host port from the node itself, {family}"), || {
                self.everywhere(&self.own, address)
            });
            report.check(&format!("host port from a pod beside it, {family}"), || {
                self.everywhere(&self.near, address)
            });
            report.check(&format!("host port from the pod itself, {family}"), || {
                self.everywhere(&self.itself, address)
            });
        }
        report.check("host port from the node itself by 127.0.0.1", || {
            self.everywhere(&self.own, Ipv4Addr::LOCALHOST.into())
        });
        report.check("host port: another node keeps its address in both families", || {
            let own = [self.outside.node.address, IpAddr::V6(node_address6(NODE + 1))];
            for ((_, address), own) in node_addresses(world).into_iter().zip(own) {
                for (protocol, port) in PORTS.all() {
                    let seen = self.outside.seen_as(protocol, SocketAddr::new(address, port))?;
                    ensure!(seen.contains(&own), "{own} is seen as {seen:?} over {protocol}");
                }
            }
            // A pod of the same subnet would be answered past the node, so it is seen as the node is.
            let to = SocketAddr::new(world.lab.node(NODE)?.address, PORTS.tcp);
            let near = self.near.seen_as("http", to)?;
            Ok(Shown::Good(format!("{own:?}; pod {} beside it is seen as {near:?}", self.neighbour.address)))
        });
        report.check("another machine's port of that number is not taken", || self.passes_by());
    }

    /// Each protocol at an address of the node reaches the pod.
    fn everywhere(&self, from: &Asker<'_>, address: IpAddr) -> Result<Shown> {
        let mut done = Vec::new();
        for (protocol, port) in PORTS.all() {
            from.reaches(protocol, SocketAddr::new(address, port), &self.pod.name)?;
            done.push(protocol);
        }
        Ok(Shown::Good(format!("{} answered by {}", done.join(", "), self.pod.name)))
    }

    /// What is not addressed to the node passes it by: the other node has no such port.
    fn passes_by(&self) -> Result<Shown> {
        let to = SocketAddr::new(self.outside.node.address, PORTS.tcp);
        if let Ok(name) = self.near.ask("http", to, "hostname") {
            bail!("{to} was answered by {name}");
        }
        Ok(Shown::Good(format!("{to} refuses; the pod has {:?}", self.addresses)))
    }
}

/// The addresses of the pod's node.
fn node_addresses(world: &World) -> Vec<(&'static str, IpAddr)> {
    let ipv4 = world.lab.node(NODE).map(|node| ("IPv4", node.address));
    ipv4.into_iter().chain([("IPv6", IpAddr::V6(node_address6(NODE)))]).collect()
}

fn closed(world: &World) -> Result<Shown> {
    world.plane.ask(&["delete", "pods", "--selector", &format!("app={NAME}"), "--wait=false"])?;
    wait_for("the end of the pods", LIMIT, || {
        let left: Vec<Value> =
            world.plane.api.items(&format!("/api/v1/namespaces/default/pods?labelSelector=app%3D{NAME}"))?;
        ensure!(left.is_empty(), "{} are left", left.len());
        Ok(Some(()))
    })?;
    let node = world.lab.node(NODE)?;
    let (_, tidy) = becomes_exact(&world.plane.api, node, TIDY)?;
    if host_ports::outside(node.address, PORTS).is_ok() {
        bail!("{} still answers on {PORTS:?}", node.name);
    }
    Ok(Shown::Good(format!("refused, the node is tidy after {:.1} s", tidy.as_secs_f64())))
}
