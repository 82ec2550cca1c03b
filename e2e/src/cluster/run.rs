//! The course of the test, from images to nothing left.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::checks::Scene;
use super::control_plane::{ControlPlane, Ranges};
use super::node::{self, Member, PAUSE};
use super::{
    Line, Parts, balancers, diagnose, dns, health, host_ports, manifest, pods, policy, rollout, teardown,
};
use crate::image::{self, Image};
use crate::lab::Lab;
use crate::net::{ip, node_address6};
use crate::process::wait_for;
use crate::progress::step;

/// The test image's name.
pub(super) const AGNHOST: &str = "localhost/agnhost:dev";

/// How long routes and Services may take after the pods are ready.
const SETTLE: Duration = Duration::from_secs(20);

/// A cluster that is being brought up, and what was measured on the way.
pub(crate) struct Cluster {
    // Before the nodes, so that it ends first.
    plane: Option<ControlPlane>,
    lab: Lab,
    folder: PathBuf,
    /// The addresses of pods and Services.
    ranges: Ranges,
    /// Flags of routerd beside those of the manifest.
    flags: Vec<String>,
    lines: Vec<Line>,
}

impl Cluster {
    /// A cluster on these nodes, of which nothing runs yet.
    pub(crate) fn new(lab: Lab, folder: PathBuf, ranges: Ranges) -> Self {
        Self { plane: None, lab, folder, ranges, flags: Vec::new(), lines: Vec::new() }
    }

    /// With further flags of routerd.
    pub(crate) fn with_flags(self, flags: &[String]) -> Self {
        Self { flags: flags.to_vec(), ..self }
    }

    /// The whole course; ends at the first thing that is not as it should be.
    pub(super) fn run(&mut self, parts: &Parts) -> Result<()> {
        self.bring_up(parts, vec![agnhost(parts)?])?;
        self.timed("a DaemonSet of servers and one of clients ready", |cluster| cluster.workload())?;
        self.check()?;
        self.timed("pods deleted, nothing of theirs left on a node", |cluster| {
            teardown::workload(cluster.plane()?, &cluster.lab)
        })?;
        self.timed("routerd deleted", |cluster| teardown::routerd(cluster.plane()?))
    }

    /// Everything up to nodes that are Ready, with these images beside those of routerd and pause.
    pub(crate) fn bring_up(&mut self, parts: &Parts, more: Vec<Image>) -> Result<()> {
        let images = self.timed("images of routerd, pause and the tests", |cluster| {
            images_with(parts, &cluster.folder, more)
        })?;
        let plane = self.timed("control plane and runtimes up", |cluster| cluster.start(parts, &images))?;
        self.plane = Some(plane);
        self.timed("routerd on every node (kubectl apply to all pods ready)", Self::deploy)?;
        self.timed("nodes Ready", |cluster| cluster.nodes_ready())
    }

    /// Control plane, containerd and images at the same time; then the kubelets.
    fn start(&self, parts: &Parts, images: &[PathBuf]) -> Result<ControlPlane> {
        let members = self.lab.nodes.iter().map(|node| Member {
            node,
            programs: &parts.programs,
            folder: &self.folder,
        });
        let members: Vec<Member<'_>> = members.collect();
        let plane = std::thread::scope(|scope| -> Result<ControlPlane> {
            let runtimes: Vec<_> =
                members.iter().map(|member| scope.spawn(|| member.runtime(images))).collect();
            let plane = ControlPlane::start(&parts.programs, &self.folder, self.ranges)?;
            for runtime in runtimes {
                runtime.join().map_err(|_| anyhow::anyhow!("a thread that starts a node ended badly"))??;
            }
            Ok(plane)
        })?;
        for member in &members {
            member.kubelet(&plane.kubeconfig, self.ranges)?;
        }
        Ok(plane)
    }

    fn deploy(&mut self) -> Result<()> {
        let plane = self.plane()?;
        plane.apply(&manifest::routerd_with(self.ranges, &self.flags)?)?;
        pods::wait_for_daemon_set(
            &plane.api,
            manifest::NAMESPACE,
            manifest::DAEMON_SET,
            self.lab.nodes.len(),
            Duration::from_secs(90),
        )
    }

    /// The cluster's DNS, whose image the nodes must have.
    pub(crate) fn name_service(&mut self) -> Result<()> {
        self.timed("DNS of the cluster answers", |cluster| dns::deploy(cluster.plane()?))
    }

    /// Lets the API server reach pods, as its proxy for pods and Services needs: it is beside the nodes, and theirs are the ways.
    pub(crate) fn pods_for_the_api_server(&self) -> Result<()> {
        let api = &self.plane()?.api;
        for node in &self.lab.nodes {
            let object = api.get(&format!("/api/v1/nodes/{}", node.name))?;
            let ranges = object["spec"]["podCIDRs"].as_array();
            let ranges = ranges.with_context(|| format!("{} has no range", node.name))?;
            for range in ranges.iter().filter_map(|range| range.as_str()) {
                let address6 = node_address6(node.index).to_string();
                let address = if range.contains(':') { address6 } else { node.address.to_string() };
                ip(&["route", "replace", range, "via", &address])?;
            }
        }
        Ok(())
    }

    fn nodes_ready(&self) -> Result<()> {
        node::wait_until_ready(&self.plane()?.api, &self.lab)
    }

    fn workload(&self) -> Result<()> {
        let plane = self.plane()?;
        plane.apply(manifest::WORKLOAD)?;
        for set in ["web", "client"] {
            pods::wait_for_daemon_set(
                &plane.api,
                "default",
                set,
                self.lab.nodes.len(),
                Duration::from_secs(90),
            )?;
        }
        Ok(())
    }

    fn check(&mut self) -> Result<()> {
        let scene = Scene::read(&self.plane()?.api, &self.lab)?;
        let mut lines = Vec::new();
        check(&mut lines, "pod to pod", || {
            let (same, across) = settled(|| scene.pod_to_pod())?;
            Ok(format!("{same} pairs on one node, {across} across nodes"))
        })?;
        check(&mut lines, "pod to Service, TCP and UDP", || answered(settled(|| scene.pod_to_service())))?;
        check(&mut lines, "pod to node ports", || answered(scene.pod_to_node_port()))?;
        check(&mut lines, "pod to the API server, by its Service and from the pod network out", || {
            scene.pod_to_api().map(|()| "answered".into())
        })?;
        check(&mut lines, "node to Service and to node ports", || answered(scene.node_to_service()))?;
        check(&mut lines, "from outside to node ports, TCP and UDP", || {
            answered(scene.outside_to_node_port())
        })?;
        check(&mut lines, "a pod's host ports, TCP and UDP, from outside and from its node", || {
            host_ports::work(self.plane()?, &self.lab)
        })?;
        check(&mut lines, "NetworkPolicy through the API", || {
            let times = policy::takes_effect(&scene, self.plane()?)?;
            Ok(format!(
                "closes after {}, admits within {}",
                milliseconds(times.closed),
                milliseconds(times.opened)
            ))
        })?;
        check(&mut lines, "routerd restarted on one node after the other, under load", || {
            rollout::under_load(&scene, self.plane()?)
        })?;
        check(&mut lines, "routerd status by kubectl exec", || health::all_is_well(self.plane()?))?;
        check(&mut lines, "memory", || self.memory())?;
        check(&mut lines, "addresses of load balancers, whoever is killed", || {
            balancers::are_given(self.plane()?, &self.lab)
        })?;
        self.lines.extend(lines);
        Ok(())
    }

    /// How much memory routerd and the control plane have.
    pub(crate) fn memory(&self) -> Result<String> {
        let routerd: Vec<String> = self
            .lab
            .nodes
            .iter()
            .map(|node| Ok(health::resident_kib(node)?.to_string()))
            .collect::<Result<_>>()?;
        let control_plane = self.plane()?.resident_bytes() >> 20;
        Ok(format!("routerd {} KiB a node, control plane {control_plane} MiB", routerd.join(" and ")))
    }

    fn timed<T>(&mut self, what: &str, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let begin = Instant::now();
        let value = step(what, |_| Ok((work(self)?, "done".into())))?;
        if let Some(plane) = &mut self.plane {
            plane.still_running()?;
        }
        self.lines.push((what.into(), seconds(begin.elapsed())));
        Ok(value)
    }

    /// How programs on this side reach the API, with all rights.
    pub(crate) fn kubeconfig(&self) -> Result<&Path> {
        Ok(&self.plane()?.kubeconfig)
    }

    /// An error when a process of the control plane has ended.
    pub(crate) fn still_running(&mut self) -> Result<()> {
        self.plane.as_mut().map_or(Ok(()), ControlPlane::still_running)
    }

    /// What every routerd says of itself; an error when one of its planes is not as it should be.
    pub(crate) fn health(&self) -> Result<String> {
        health::all_is_well(self.plane()?)
    }

    /// Keeps logs and states of now in a folder of their own, beside what is there, and says where.
    pub(crate) fn evidence(&self, to: &Path) -> String {
        diagnose::keep_in(&self.lab, self.plane.as_ref(), &self.folder, to)
    }

    fn plane(&self) -> Result<&ControlPlane> {
        self.plane.as_ref().context("the control plane is not up yet")
    }

    /// Keeps what explains a failure, and says where.
    pub(crate) fn keep_evidence(&self) -> String {
        diagnose::keep(&self.lab, self.plane.as_ref(), &self.folder)
    }

    /// Ends nodes and control plane, looks that no process of theirs is left, and returns what was measured.
    pub(crate) fn end(self) -> Result<Vec<Line>> {
        drop(self.plane);
        drop(self.lab);
        teardown::no_process_left()?;
        Ok(self.lines)
    }
}

/// What is programmed after the pods are ready may take a moment; the step's time says how long.
fn settled<T>(mut question: impl FnMut() -> Result<T>) -> Result<T> {
    wait_for("the network to settle", SETTLE, || question().map(Some))
}

fn answered(result: Result<()>) -> Result<String> {
    result.map(|()| "every backend answers".into())
}

/// One check: its line is printed and remembered.
fn check(lines: &mut Vec<Line>, what: &str, work: impl FnOnce() -> Result<String>) -> Result<()> {
    let value = step(what, |_| work().map(|value| (value.clone(), value))).context(what.to_owned())?;
    lines.push((what.into(), value));
    Ok(())
}

pub(super) fn images(parts: &Parts, folder: &Path) -> Result<Vec<PathBuf>> {
    images_with(parts, folder, vec![agnhost(parts)?])
}

fn agnhost(parts: &Parts) -> Result<Image> {
    image::agnhost(AGNHOST, &parts.programs.path("agnhost"))
}

fn images_with(parts: &Parts, folder: &Path, more: Vec<Image>) -> Result<Vec<PathBuf>> {
    let pause = Image::new(PAUSE, &["/pause"], &[]).program("pause", &parts.programs.path("pause"))?;
    let mut files = Vec::new();
    for (number, image) in [pause, image::routerd(&parts.binaries)?].into_iter().chain(more).enumerate() {
        let file = folder.join(format!("image{number}.tar"));
        image.write(&file)?;
        files.push(file);
    }
    Ok(files)
}

pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn milliseconds(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}
