//! The folder of ordinary Kubernetes YAML that stands in for an API server.

use std::fmt::Write as _;
use std::net::IpAddr;

use anyhow::{Result, anyhow};

use crate::guest::client::Node;
use crate::net::pod_range;
use crate::pods::Pod;

/// Where the folder is on every node. Each has its own copy, because a guest's kernel is not told
/// when the host changes a file that both see.
pub const FOLDER: &str = "/run/lab/manifests";

/// The folder on the nodes.
#[derive(Debug, Clone)]
pub struct Manifests {
    nodes: Vec<Node>,
}

/// A Service of the lab.
#[derive(Debug, Clone)]
pub struct Service {
    /// Its name in the namespace `demo`.
    pub name: String,
    /// Its ClusterIP.
    pub address: IpAddr,
    /// The port it is asked on.
    pub port: u16,
    /// The port of its pods.
    pub target: u16,
    /// Its port on every node, if it has one.
    pub node_port: Option<u16>,
}

impl Manifests {
    /// The folder on these nodes.
    pub fn new(nodes: &[Node]) -> Self {
        Self { nodes: nodes.to_vec() }
    }

    /// A node is gone and gets no more files.
    pub fn without(&mut self, index: u8) {
        self.nodes.retain(|node| node.index != index);
    }

    /// Writes a file on all nodes at once: a reader sees the old one or the new one.
    pub fn write(&self, name: &str, text: &str) -> Result<()> {
        self.everywhere(|node| node.write(&format!("{FOLDER}/{name}"), text))
    }

    /// Removes a file on all nodes.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.everywhere(|node| node.remove(&format!("{FOLDER}/{name}")))
    }

    fn everywhere(&self, change: impl Fn(&Node) -> Result<()> + Sync) -> Result<()> {
        std::thread::scope(|scope| {
            let change = &change;
            let threads: Vec<_> = self.nodes.iter().map(|node| scope.spawn(move || change(node))).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| anyhow!("a writing thread ended badly"))?)
        })
    }

    /// The nodes and the namespace `demo`.
    pub fn cluster(&self, nodes: &[Node]) -> Result<()> {
        let documents: Vec<String> = nodes.iter().map(node).collect();
        self.write("nodes.yaml", &documents.join("---\n"))?;
        self.write("namespace.yaml", NAMESPACE)
    }

    /// A pod as the API server has it: scheduled, and running once it has an address.
    pub fn pod(&self, pod: &Pod) -> Result<()> {
        self.write(&format!("pod-{}.yaml", pod.spec.name), &pod_object(pod))
    }

    /// The pod is gone from the API.
    pub fn pod_gone(&self, pod: &Pod) -> Result<()> {
        self.remove(&format!("pod-{}.yaml", pod.spec.name))
    }

    /// A Service and the EndpointSlice of its ready pods.
    pub fn service(&self, service: &Service, pods: &[&Pod]) -> Result<()> {
        let text = service_object(service) + "---\n" + &slice_object(service, pods);
        self.write(&format!("service-{}.yaml", service.name), &text)
    }
}

const NAMESPACE: &str = "\
apiVersion: v1
kind: Namespace
metadata:
  name: demo
  labels: {kubernetes.io/metadata.name: demo}
";

fn node(node: &Node) -> String {
    let range = pod_range(node.index);
    format!(
        "apiVersion: v1\nkind: Node\nmetadata:\n  name: {name}\n  labels: {{kubernetes.io/hostname: {name}}}\nspec:\n  podCIDR: {range}\n  \
         podCIDRs: [{range}]\nstatus:\n  addresses:\n  - {{type: InternalIP, address: {address}}}\n  - {{type: Hostname, address: {name}}}\n  \
         conditions:\n  - {{type: Ready, status: \"True\"}}\n",
        name = node.name,
        address = node.address,
    )
}

fn pod_object(pod: &Pod) -> String {
    let spec = &pod.spec;
    let mut text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {}\n  namespace: demo\n  uid: {}\n  labels:\n",
        spec.name,
        pod.uid()
    );
    for (key, value) in &spec.labels {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "    {key}: {value}");
    }
    let _infallible = write!(
        text,
        "spec:\n  nodeName: node{}\n  containers:\n  - name: tool\n    image: lab\n    ports: [{{name: http, containerPort: 8080}}]\nstatus:\n",
        spec.node
    );
    let _infallible = match pod.address {
        None => writeln!(text, "  phase: Pending"),
        Some(address) => write!(
            text,
            "  phase: Running\n  podIP: {address}\n  podIPs: [{}]\n  conditions:\n  - {{type: Ready, status: \"True\"}}\n",
            all_of(pod)
        ),
    };
    text
}

fn all_of(pod: &Pod) -> String {
    pod.ips().iter().map(|ip| format!("{{ip: '{ip}'}}")).collect::<Vec<_>>().join(", ")
}

fn service_object(service: &Service) -> String {
    let Service { name, address, port, target, node_port } = service;
    let (kind, node_ports) = match node_port {
        Some(port) => ("NodePort", [format!(", nodePort: {port}"), format!(", nodePort: {port}")]),
        None => ("ClusterIP", [String::new(), String::new()]),
    };
    format!(
        "apiVersion: v1\nkind: Service\nmetadata:\n  name: {name}\n  namespace: demo\nspec:\n  type: {kind}\n  clusterIP: {address}\n  \
         clusterIPs: [{address}]\n  selector: {{app: {name}}}\n  ports:\n  - {{name: http, protocol: TCP, port: {port}, targetPort: {target}{}}}\n  \
         - {{name: http-udp, protocol: UDP, port: {port}, targetPort: {target}{}}}\n",
        node_ports[0], node_ports[1]
    )
}

fn slice_object(service: &Service, pods: &[&Pod]) -> String {
    let Service { name, target, .. } = service;
    let mut text = format!(
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: {name}-1\n  namespace: demo\n  \
         labels: {{kubernetes.io/service-name: {name}}}\naddressType: IPv4\nports:\n- {{name: http, protocol: TCP, port: {target}}}\n\
         - {{name: http-udp, protocol: UDP, port: {target}}}\nendpoints:"
    );
    for pod in pods {
        let Some(address) = pod.address else { continue };
        let _infallible = write!(
            text,
            "\n- addresses: [{address}]\n  nodeName: node{}\n  conditions: {{ready: true, serving: true, terminating: false}}\n  \
             targetRef: {{kind: Pod, namespace: demo, name: {}}}",
            pod.spec.node, pod.spec.name
        );
    }
    text.push_str(if text.ends_with("endpoints:") { " []\n" } else { "\n" });
    text
}
