//! What the parts share: the machines, the router, the daemons and a pod on each node.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::router::{ASN, Router};
use crate::cluster::keep_nodes;
use crate::daemon::{Daemon, Programs};
use crate::demo::report::{Report, Shown};
use crate::guest::client::{Cmd, Node};
use crate::guest::{Extras, NodeKind};
use crate::lab::{Lab, Plan};
use crate::manifests::Manifests;
use crate::net::{Segment, ip, pod_range};
use crate::pods::{Pod, Spec};
use crate::process::wait_for;
use crate::sandbox::Inside;
use crate::setup::Ready;

/// Where the nodes are, in order.
pub(super) const NODES: [Segment; 3] = [Segment::Near, Segment::Near, Segment::Far];
/// The number of the machine outside.
const OUTSIDE: u8 = 4;
/// The port that pods serve on.
pub(super) const PORT: u16 = 8080;
/// How long anything may take that the whole network has to settle for.
pub(super) const SETTLE: Duration = Duration::from_secs(40);
/// Memory of a guest in MiB.
const MEMORY: u32 = 300;
/// What all daemons are told, whatever else they are.
const FLAGS: [&str; 4] = [
    "--enable-ipv6",
    "--bgp-holdtime=3s",
    "--service-external-ip-range=198.18.0.0/24",
    "--advertise-external-ip",
];

/// The state of the run.
#[derive(Debug)]
pub(super) struct World {
    // Before the machines, so that it ends first. It does its work alone.
    _router: Router,
    /// The machines: nodes and the one outside.
    pub(super) lab: Lab,
    /// How many restarts were asked for.
    pub(super) restarts: usize,
    manifests: Manifests,
    programs: Programs,
    daemons: BTreeMap<u8, Daemon>,
    pods: Vec<Pod>,
    /// Annotations of the nodes, by number.
    annotations: BTreeMap<u8, Vec<String>>,
    /// Other objects, by the name of their file.
    objects: BTreeMap<String, String>,
}

impl World {
    /// Machines, router and daemons up, a pod on each node.
    pub(super) fn start(
        inside: &Inside,
        ready: &Ready,
        restarts: usize,
        report: &mut Report,
    ) -> Result<Self> {
        let begin = Instant::now();
        let lab = boot(inside, ready)?;
        let addresses: Vec<String> =
            (1..).zip(NODES).map(|(n, segment)| segment.address(n).to_string()).collect();
        let router = Router::start(&inside.folder, &addresses)?;
        let programs = Programs::copy(inside, &ready.binaries)?;
        let manifests = Manifests::new(&lab.nodes[..NODES.len()]);
        let mut world = Self {
            _router: router,
            lab,
            restarts,
            manifests,
            programs,
            daemons: BTreeMap::new(),
            pods: Vec::new(),
            annotations: BTreeMap::new(),
            objects: BTreeMap::new(),
        };
        report.check("three nodes on two segments, a router and a machine outside", || {
            let kernel = world.lab.node(1)?.read("/proc/sys/kernel/osrelease")?;
            Ok(Shown::Good(format!(
                "{} ms, Linux {}, a kernel each",
                begin.elapsed().as_millis(),
                kernel.trim()
            )))
        });
        world.publish_nodes()?;
        for number in 1..=NODES.len() {
            world.bring(u8::try_from(number)?, &[])?;
        }
        world.ready()?;
        for number in 1..=NODES.len() {
            world.make_pod(u8::try_from(number)?)?;
        }
        Ok(world)
    }

    /// The Node objects as all nodes see them.
    fn publish_nodes(&self) -> Result<()> {
        let objects: Vec<String> = self.nodes().iter().map(|node| self.object(node)).collect();
        self.manifests.write("nodes.yaml", &objects.concat())
    }

    fn object(&self, node: &Node) -> String {
        let Node { name, index, address } = node;
        let address6 = NODES[usize::from(*index) - 1].address6(*index);
        let annotations = self.annotations.get(index).map(|all| all.join(", ")).unwrap_or_default();
        format!(
            "---\napiVersion: v1\nkind: Node\nmetadata: {{name: {name}, annotations: {{{annotations}}}}}\n\
             spec: {{podCIDRs: [{}, '{}']}}\n\
             status: {{addresses: [{{type: InternalIP, address: {address}}}, {{type: InternalIP, address: '{address6}'}}]}}\n",
            pod_range(*index),
            pod_range6(*index),
        )
    }

    /// From now on the nodes have these annotations, each made of the node's number and segment.
    pub(super) fn annotate(&mut self, annotations: impl Fn(u8, Segment) -> Vec<String>) -> Result<()> {
        self.annotations =
            (1..).zip(NODES).map(|(number, segment)| (number, annotations(number, segment))).collect();
        self.publish_nodes()
    }

    /// Those that have routerd.
    pub(super) fn nodes(&self) -> &[Node] {
        &self.lab.nodes[..NODES.len()]
    }

    /// The machine outside.
    pub(super) fn outside(&self) -> Result<&Node> {
        self.lab.node(OUTSIDE)
    }

    /// Installs and starts the product on a node.
    fn bring(&mut self, index: u8, flags: &[&str]) -> Result<()> {
        let node = self.lab.node(index)?;
        self.programs.install(node)?;
        let daemon = Daemon::start(node, &self.programs, &self.lab.folder, &[&FLAGS[..], flags].concat())?;
        self.daemons.insert(index, daemon);
        Ok(())
    }

    /// Waits until every daemon is ready and has a session with every other.
    pub(super) fn ready(&self) -> Result<()> {
        self.daemons.values().try_for_each(|daemon| daemon.wait_until_ready(&[]).map(drop))
    }

    /// An object beside nodes and pods, as all nodes see it.
    pub(super) fn write(&mut self, file: &str, text: &str) -> Result<()> {
        self.objects.insert(file.to_owned(), text.to_owned());
        self.manifests.write(file, text)
    }

    fn daemon(&self, index: u8) -> Result<&Daemon> {
        self.daemons.get(&index).with_context(|| format!("node{index} has no daemon"))
    }

    /// What a node's daemon answers to one of the commands that ask it.
    pub(super) fn asks(&self, index: u8, words: &str) -> Result<String> {
        self.daemon(index)?.says(words)
    }

    /// The addresses that a node has a BGP session with.
    pub(super) fn sessions(&self, index: u8) -> Result<Vec<IpAddr>> {
        let status = self.daemon(index)?.status()?;
        let peers = status["bgp"]["peers"].as_array().into_iter().flatten();
        let up =
            peers.filter(|peer| peer["state"] == "Established").filter_map(|peer| peer["address"].as_str());
        up.map(|address| address.parse().with_context(|| format!("{address:?} is no address"))).collect()
    }

    /// Waits until a node has so many sessions.
    pub(super) fn has_sessions(&self, index: u8, count: usize) -> Result<()> {
        wait_for(&format!("{count} BGP sessions of node{index}"), SETTLE, || {
            let sessions = self.sessions(index)?;
            ensure!(sessions.len() == count, "it has {sessions:?}");
            Ok(Some(()))
        })
    }

    /// Boots a node that was lost, with nothing of before, and gives it routerd and a pod. How long routerd took to be ready, and then the
    /// network to carry everybody.
    pub(super) fn revive(&mut self, index: u8) -> Result<(Duration, Duration)> {
        // One that lives still is lost first.
        self.lab.kill_node(index)?;
        self.lab.boot_again(index)?;
        self.pods.retain(|pod| pod.spec.node != index);
        self.publish_nodes()?;
        self.pods.iter().try_for_each(|pod| self.manifests.pod(pod))?;
        self.objects.iter().try_for_each(|(file, text)| self.manifests.write(file, text))?;
        let begin = Instant::now();
        self.bring(index, &[])?;
        self.ready()?;
        let ready = begin.elapsed();
        self.make_pod(index)?;
        Ok((ready, self.settled()?))
    }

    /// All daemons end without a warning and start with these flags beside the usual.
    pub(super) fn run_with(&mut self, flags: &[&str]) -> Result<()> {
        for daemon in std::mem::take(&mut self.daemons).into_values() {
            daemon.kill()?;
        }
        for number in 1..=NODES.len() {
            self.bring(u8::try_from(number)?, flags)?;
        }
        self.ready()
    }

    /// A pod as the cluster would make it; it serves from before it has a network.
    fn make_pod(&mut self, index: u8) -> Result<()> {
        let node = self.lab.node(index)?.clone();
        let spec = Spec { name: format!("web-{index}"), labels: vec![("app", "web")], node: index };
        let mut pod = Pod::new(&node, spec)?;
        self.manifests.pod(&pod)?;
        let words = format!("serve --tcp {PORT} --udp {PORT} --name web-{index}");
        let log = self.lab.folder.join(format!("web-{index}.log"));
        node.background(pod.tool(&words)?, &log.to_string_lossy())?;
        pod.add(&node)?;
        self.manifests.pod(&pod)?;
        self.pods.push(pod);
        Ok(())
    }

    /// The pod of a node.
    pub(super) fn pod(&self, index: u8) -> Result<&Pod> {
        let found = self.pods.iter().find(|pod| pod.spec.node == index);
        found.with_context(|| format!("node{index} has no pod"))
    }

    /// Each pod asks each other in both families with so many bytes; how many questions that were, all of them answered.
    pub(super) fn each_to_each(&self, bytes: usize) -> Result<usize> {
        let mut asked = 0;
        for from in &self.pods {
            for to in self.pods.iter().filter(|to| to.spec.node != from.spec.node) {
                for (own, address) in from.ips().into_iter().zip(to.ips()) {
                    self.ask_from(from, own, to, address, bytes)?;
                    asked += 1;
                }
            }
        }
        ensure!(asked == 12, "{asked} questions between {} pods: one has not both families", self.pods.len());
        Ok(asked)
    }

    fn ask_from(&self, from: &Pod, own: IpAddr, to: &Pod, address: IpAddr, bytes: usize) -> Result<()> {
        let server = SocketAddr::new(address, PORT);
        let words = format!("ask {server} --timeout 3000 --bytes {bytes}");
        let said = self.lab.node(from.spec.node)?.output(from.tool(&words)?)?.stdout;
        let wanted = format!("{} {own}", to.spec.name);
        ensure!(
            said.trim().split_once(' ').is_some_and(|(_, answer)| answer == wanted),
            "{} to {server}: {:?} instead of {wanted:?}",
            from.spec.name,
            said.trim()
        );
        Ok(())
    }

    /// Waits until each pod reaches each other; how long it took.
    pub(super) fn settled(&self) -> Result<Duration> {
        let begin = Instant::now();
        wait_for("pods that reach each other", SETTLE, || self.each_to_each(0).map(Some))?;
        Ok(begin.elapsed())
    }

    /// What a program on a node prints.
    pub(super) fn says(&self, index: u8, words: &str) -> Result<String> {
        let (program, arguments) = words.split_once(' ').context("a command without arguments")?;
        self.lab.node(index)?.run(Cmd::new(program).words(arguments))
    }

    /// Ends a daemon and starts it again as it was; returns when it is ready.
    pub(super) fn restart(&mut self, index: u8, signal: Signal) -> Result<()> {
        let node = self.lab.node(index)?.clone();
        let daemon = self.daemons.get_mut(&index).context("no daemon")?;
        node.signal(daemon.pid, signal)?;
        let process = format!("/proc/{}", daemon.pid);
        wait_for("routerd to end", SETTLE, || {
            if node.list(&process)?.is_empty() {
                return Ok(Some(()));
            }
            bail!("its process is still there")
        })?;
        daemon.again()?;
        daemon.wait_until_ready(&[]).map(drop)
    }

    /// Keeps what explains a failure, and says where.
    pub(super) fn keep_evidence(&self) -> String {
        let frr = self.lab.folder.join("frr");
        for daemon in self.daemons.values() {
            for words in ["status --json", "bgp rib"] {
                let said = daemon.says(words).unwrap_or_else(|error| format!("{error:#}"));
                let file = frr.join(format!("{}.{}.log", daemon.node(), words.replace(' ', "")));
                // What cannot be kept is missing there.
                let _missing = std::fs::write(file, said);
            }
        }
        keep_nodes(&self.lab, &frr)
    }
}

fn boot(inside: &Inside, ready: &Ready) -> Result<Lab> {
    for segment in [Segment::Far, Segment::Outside] {
        segment.make()?;
    }
    // As behind a switch with other machines: the router's own device never tells that a node is gone.
    ip(&["link", "add", "other", "type", "veth", "peer", "name", "others"])?;
    ip(&["link", "set", "other", "master", Segment::Far.bridge(), "up"])?;
    ip(&["link", "set", "others", "up"])?;
    let extras = Extras { dual_stack: true, ..Extras::default() };
    let near = NODES.iter().filter(|segment| **segment == Segment::Near).count();
    let count = u8::try_from(near)?;
    let plan = Plan { kind: NodeKind::Uml, kernel: ready.kernel.clone(), memory: MEMORY, count, extras };
    let mut lab = Lab::boot(inside, &plan)?;
    lab.join(NodeKind::Uml, Segment::Far)?;
    lab.join(NodeKind::Host, Segment::Outside)?;
    Ok(lab)
}

/// The IPv6 range of the pods of a node.
pub(super) fn pod_range6(index: u8) -> String {
    format!("fd00:244:{index}::/64")
}

/// The annotation that makes the router a peer of the node.
pub(super) fn peer_of_router(segment: Segment) -> String {
    format!("kube-router.io/peers: '[{{remoteip: {}, remoteasn: {ASN}}}]'", segment.gateway())
}
