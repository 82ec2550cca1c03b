//! A dual-stack cluster whose nodes have disks, with routerd as its only network.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};

use super::super::control_plane::{ControlPlane, DUAL_STACK};
use super::super::node::{self, Member};
use super::super::pods::wait_for_daemon_set;
use super::super::{MEMORY, NODES, Parts, diagnose, manifest, run};
use crate::guest::client::{Cmd, Node};
use crate::guest::{Extras, NodeKind};
use crate::lab::{Lab, Plan};
use crate::progress::step;
use crate::sandbox::Inside;
use crate::setup::go::Programs;

/// The cluster.
pub(super) struct World {
    // Before the nodes, so that it ends first.
    /// The control plane.
    pub(super) plane: ControlPlane,
    /// The nodes.
    pub(super) lab: Lab,
    /// The Go programs.
    pub(super) programs: Programs,
    /// How many pods are made at once.
    pub(super) pods: u16,
    /// What is imported into a containerd that has nothing.
    images: Vec<PathBuf>,
    /// containerd's process on each node.
    containerd: Vec<i32>,
    folder: PathBuf,
}

impl World {
    /// Brings everything up and waits until the nodes are Ready.
    pub(super) fn start(inside: &Inside, parts: &Parts, pods: u16) -> Result<Self> {
        let folder = inside.folder.join("cluster");
        std::fs::create_dir_all(&folder)?;
        let images =
            step("images", |_| run::images(parts, &folder).map(|files| (files, "written".to_owned())))?;
        let mut world = step("control plane and two nodes, each with a disk", |_| {
            let lab = boot(inside, parts)?;
            let plane = ControlPlane::start(&parts.programs, &folder, DUAL_STACK)?;
            let programs = parts.programs.clone();
            let world = Self { plane, lab, programs, pods, images, containerd: vec![], folder };
            Ok((world, "up".to_owned()))
        })?;
        let outcome = world.populate();
        match outcome {
            Ok(()) => Ok(world),
            Err(error) => Err(error.context(world.keep_evidence())),
        }
    }

    fn populate(&mut self) -> Result<()> {
        self.containerd = step("containerd and kubelet", |_| {
            let pids = std::thread::scope(|scope| -> Result<Vec<i32>> {
                let images = self.images.as_slice();
                let members: Vec<_> = self.lab.nodes.iter().map(|node| self.member(node)).collect();
                let starts: Vec<_> =
                    members.into_iter().map(|member| scope.spawn(move || member.runtime(images))).collect();
                let pids = starts.into_iter().map(std::thread::ScopedJoinHandle::join);
                pids.map(|pid| pid.ok().context("a thread that starts a node ended badly")?).collect()
            })?;
            for node in &self.lab.nodes {
                self.kubelet(node)?;
            }
            Ok((pids, "started".to_owned()))
        })?;
        step("routerd on every node, nodes Ready", |_| {
            self.plane.apply(&manifest::routerd(DUAL_STACK)?)?;
            self.routerd_ready()?;
            node::wait_until_ready(&self.plane.api, &self.lab)?;
            // What a real node wrote long before its power is cut lies on its disk.
            self.lab.nodes.iter().try_for_each(|node| node.run(Cmd::new("sync")).map(drop))?;
            Ok(((), "ready".to_owned()))
        })
    }

    /// Waits until routerd is ready on every node.
    pub(super) fn routerd_ready(&self) -> Result<()> {
        let (space, set) = (manifest::NAMESPACE, manifest::DAEMON_SET);
        wait_for_daemon_set(&self.plane.api, space, set, self.lab.nodes.len(), Duration::from_mins(3))
    }

    fn member<'a>(&'a self, node: &'a Node) -> Member<'a> {
        Member { node, programs: &self.programs, folder: &self.folder }
    }

    fn kubelet(&self, node: &Node) -> Result<()> {
        self.member(node).kubelet(&self.plane.kubeconfig, DUAL_STACK)
    }

    /// Ends containerd of a node without a warning and starts it again.
    pub(super) fn restart_containerd(&mut self, index: u8) -> Result<()> {
        let node = self.lab.node(index)?;
        let place = usize::from(index - 1);
        let pid = *self.containerd.get(place).context("containerd was not started")?;
        node.signal(pid, nix::sys::signal::Signal::SIGKILL)?;
        self.containerd[place] = self.member(node).runtime(&[])?;
        Ok(())
    }

    /// Ends a node as a power cut does.
    pub(super) fn cut_power(&mut self, index: u8) -> Result<()> {
        self.lab.kill_node(index).map(drop)
    }

    /// Boots that node again: its disk is there, its memory is not; containerd and the kubelet start as at any boot.
    pub(super) fn power_on(&mut self, index: u8) -> Result<()> {
        self.lab.boot_again(index)?;
        self.start_node(index, &[])
    }

    /// Boots that node again, with containerd's part of the disk empty: it knows no container of before, so nobody will
    /// ever ask for the end of one.
    pub(super) fn power_on_without_containers(&mut self, index: u8) -> Result<()> {
        self.lab.boot_again(index)?;
        self.lab.node(index)?.run(Cmd::new("rm").words("-rf /var/lib/containerd"))?;
        self.start_node(index, &self.images.clone())
    }

    fn start_node(&mut self, index: u8, images: &[PathBuf]) -> Result<()> {
        let node = self.lab.node(index)?;
        self.containerd[usize::from(index - 1)] = self.member(node).runtime(images)?;
        self.kubelet(node)
    }

    /// Keeps what explains a failure, and says where.
    pub(super) fn keep_evidence(&self) -> String {
        diagnose::keep(&self.lab, Some(&self.plane), &self.folder)
    }
}

fn boot(inside: &Inside, parts: &Parts) -> Result<Lab> {
    let plan = Plan {
        kind: NodeKind::Uml,
        kernel: Some(parts.kernel.clone()),
        memory: MEMORY,
        count: NODES,
        extras: Extras { disk: true, dual_stack: true },
    };
    Lab::boot(inside, &plan)
}
