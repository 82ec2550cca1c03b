//! The nodes of a run.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use crate::guest::client::Node;
use crate::guest::{Extras, NodeKind, Place, host, uml};
use crate::net::Segment;
use crate::process::{tail, wait_for};
use crate::sandbox::Inside;

/// What the nodes of a run shall be.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The kind of kernel.
    pub kind: NodeKind,
    /// The User Mode Linux kernel; needed for that kind only.
    pub kernel: Option<PathBuf>,
    /// Memory of a guest in MiB.
    pub memory: u32,
    /// How many nodes (up to 9).
    pub count: u8,
    /// What each has beside the usual.
    pub extras: Extras,
}

/// Nodes that run until this value is dropped.
#[derive(Debug)]
pub struct Lab {
    /// The run's folder: logs and per-run files, at the same path on the host and in every node.
    pub folder: PathBuf,
    /// The kind of the nodes.
    pub kind: NodeKind,
    /// The nodes, in order.
    pub nodes: Vec<Node>,
    plan: Plan,
    places: Vec<Place>,
    processes: Vec<Child>,
}

impl Lab {
    /// Boots the nodes and waits until each one's agent answers. The process must be inside its [`crate::sandbox`].
    pub fn boot(inside: &Inside, plan: &Plan) -> Result<Self> {
        let mut lab = Self {
            folder: inside.folder.clone(),
            kind: plan.kind,
            nodes: Vec::new(),
            plan: plan.clone(),
            places: Vec::new(),
            processes: Vec::new(),
        };
        for _ in 0..plan.count {
            lab.begin(plan.kind, Segment::Near)?;
        }
        for index in 0..lab.nodes.len() {
            lab.wait_for_agent(index)?;
        }
        Ok(lab)
    }

    /// Boots one more machine, on a segment that has been made.
    pub fn join(&mut self, kind: NodeKind, segment: Segment) -> Result<()> {
        self.begin(kind, segment)?;
        self.wait_for_agent(self.nodes.len() - 1)
    }

    fn begin(&mut self, kind: NodeKind, segment: Segment) -> Result<()> {
        let index = u8::try_from(self.nodes.len() + 1)?;
        let place = Place { index, kind, extras: self.plan.extras, segment };
        self.processes.push(start(place, &self.plan, &self.folder)?);
        self.nodes.push(Node { name: place.name(), index, address: place.address().into() });
        self.places.push(place);
        Ok(())
    }

    fn wait_for_agent(&mut self, index: usize) -> Result<()> {
        let (node, process) = (&self.nodes[index], &mut self.processes[index]);
        let console = self.folder.join(format!("{}.console", node.name));
        wait_for(&format!("{} to boot", node.name), Duration::from_mins(1), || match process.try_wait()? {
            Some(status) => Ok(Some(Err(anyhow!("the first process of {} ended with {status}", node.name)))),
            None => node.ping().map(|()| Some(Ok(()))),
        })
        .and_then(|answer| answer)
        .with_context(|| format!("the end of {}:\n{}", console.display(), tail(&console, 40)))
    }

    /// The node with this number, from 1.
    pub fn node(&self, index: u8) -> Result<&Node> {
        self.nodes
            .iter()
            .find(|node| node.index == index)
            .with_context(|| format!("there is no node {index}"))
    }

    /// A node is lost, as by a power cut: its processes end at once. Returns when.
    pub fn kill_node(&mut self, index: u8) -> Result<Instant> {
        let position = self.position(index)?;
        if self.places[position].kind == NodeKind::Host {
            // The kernel lives on and would say good-bye for the node's processes, which a power cut does not.
            crate::net::cut(index)?;
        }
        let process = &mut self.processes[position];
        process.kill().with_context(|| format!("killing node {index}"))?;
        let moment = Instant::now();
        process.wait()?;
        Ok(moment)
    }

    /// Boots a node that was lost once more: with its disk, if it has one, and nothing else of before.
    pub fn boot_again(&mut self, index: u8) -> Result<()> {
        let position = self.position(index)?;
        self.processes[position] = start(self.places[position], &self.plan, &self.folder)?;
        self.wait_for_agent(position)
    }

    fn position(&self, index: u8) -> Result<usize> {
        let place = self.nodes.iter().position(|node| node.index == index);
        place.with_context(|| format!("there is no node {index}"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Ended already when the node was lost on purpose.
            let _ended = process.kill();
            let _reaped = process.wait();
        }
    }
}

fn start(place: Place, plan: &Plan, folder: &Path) -> Result<Child> {
    match place.kind {
        NodeKind::Uml => {
            let kernel = plan.kernel.as_deref().context("no User Mode Linux kernel was made")?;
            uml::start(place, kernel, folder, plan.memory)
        }
        NodeKind::Host => host::start(place, folder),
    }
}
