//! What must be true of a cluster whose only network is routerd.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::control_plane::API_PORT;
use super::host_ports::ask_udp;
use super::http::{Api, get};
use super::pods::{HTTP_PORT, Pod, fetch, with_label};
use crate::guest::client::Cmd;
use crate::lab::Lab;
use crate::net::GATEWAY;

/// The node port of the Service `web`, TCP; UDP is the next.
pub(super) const NODE_PORT: u16 = 30080;

/// How often a Service is asked: enough for every backend to be seen.
const TRIES: u32 = 8;

/// The pods and addresses the checks use.
pub(super) struct Scene<'a> {
    /// The nodes.
    pub(super) lab: &'a Lab,
    /// The servers behind the Service, one a node.
    pub(super) web: Vec<Pod>,
    /// The clients, one a node.
    pub(super) client: Vec<Pod>,
    /// The address of the Service `web`.
    pub(super) service: IpAddr,
    /// The address of the API server's own Service.
    pub(super) kubernetes: IpAddr,
}

impl<'a> Scene<'a> {
    /// Reads what runs.
    pub(super) fn read(api: &Api, lab: &'a Lab) -> Result<Self> {
        let (web, client) = (with_label(api, lab, "web")?, with_label(api, lab, "client")?);
        ensure!(
            web.len() == lab.nodes.len() && client.len() == web.len(),
            "not one server and one client on each node: {web:?} {client:?}"
        );
        Ok(Self {
            lab,
            web,
            client,
            service: cluster_ip(api, "web")?,
            kubernetes: cluster_ip(api, "kubernetes")?,
        })
    }

    /// Every client reaches every server by its pod address. Returns how many pairs share a node and how many do not.
    pub(super) fn pod_to_pod(&self) -> Result<(usize, usize)> {
        let (mut same, mut across) = (0, 0);
        for client in &self.client {
            for web in &self.web {
                let answers = client.dial(self.lab, (web.address, HTTP_PORT).into(), "http", 1)?;
                ensure!(
                    answers == [web.name.as_str()],
                    "{} answered as {answers:?}, not as {}",
                    web.address,
                    web.name
                );
                if client.node == web.node { same += 1 } else { across += 1 }
            }
        }
        Ok((same, across))
    }

    /// Every client reaches the Service by its address over TCP and UDP, and every server has its part.
    pub(super) fn pod_to_service(&self) -> Result<()> {
        for client in &self.client {
            for (protocol, port) in [("http", 80), ("udp", 81)] {
                let answers = client.dial(self.lab, (self.service, port).into(), protocol, TRIES)?;
                self.all_servers(&answers)
                    .with_context(|| format!("{} to the Service, {protocol}", client.name))?;
            }
        }
        Ok(())
    }

    /// Every client reaches a node port of the other node.
    pub(super) fn pod_to_node_port(&self) -> Result<()> {
        for (client, other) in self.client.iter().zip(self.lab.nodes.iter().rev()) {
            let answers = client.dial(self.lab, (other.address, NODE_PORT).into(), "http", TRIES)?;
            self.all_servers(&answers)
                .with_context(|| format!("{} to the node port of {}", client.name, other.name))?;
        }
        Ok(())
    }

    /// Every client reaches the API server by its Service, and by its own address, which has no route back to pods: only
    /// as its node is it answered. It speaks TLS only and says so in plain HTTP, which is an answer.
    pub(super) fn pod_to_api(&self) -> Result<()> {
        for client in &self.client {
            let netns = client.netns(self.lab)?;
            for to in [SocketAddr::new(self.kubernetes, 443), SocketAddr::new(GATEWAY.into(), API_PORT)] {
                let fetch = Cmd::tool("fetch")?.arg(to.to_string()).arg("/version").in_pod(&netns);
                let ended = self.lab.node(client.node)?.output(fetch)?;
                let answered = ended.stderr.contains("400 Bad Request");
                ensure!(answered, "{} to the API server at {to}: {}", client.name, ended.stderr);
            }
        }
        Ok(())
    }

    /// Every node reaches the Service by its address and by the node port of every node.
    pub(super) fn node_to_service(&self) -> Result<()> {
        for node in &self.lab.nodes {
            let ports = self.lab.nodes.iter().map(|other| SocketAddr::new(other.address, NODE_PORT));
            for to in ports.chain([SocketAddr::new(self.service, 80)]) {
                let answers: Vec<String> =
                    (0..TRIES).map(|_| fetch(node, to, "/hostname")).collect::<Result<_>>()?;
                self.all_servers(&answers).with_context(|| format!("{} to {to}", node.name))?;
            }
        }
        Ok(())
    }

    /// A machine outside reaches the node ports of every node, TCP and UDP. This process is that machine.
    pub(super) fn outside_to_node_port(&self) -> Result<()> {
        for node in &self.lab.nodes {
            let to = SocketAddr::new(node.address, NODE_PORT);
            let answers: Vec<String> =
                (0..TRIES).map(|_| get(to, "/hostname", Duration::from_secs(5))).collect::<Result<_>>()?;
            self.all_servers(&answers).with_context(|| format!("from outside to {to}"))?;
            let to = SocketAddr::new(node.address, NODE_PORT + 1);
            let answers: Vec<String> = (0..TRIES).map(|_| ask_udp(to, "hostname")).collect::<Result<_>>()?;
            self.all_servers(&answers).with_context(|| format!("from outside to UDP {to}"))?;
        }
        Ok(())
    }

    /// No node port lets a machine outside through, whichever node it asks.
    pub(super) fn outside_is_refused(&self) -> Result<()> {
        for node in &self.lab.nodes {
            for _ in 0..self.web.len() {
                let to = SocketAddr::new(node.address, NODE_PORT);
                if let Ok(answer) = get(to, "/hostname", Duration::from_millis(700)) {
                    bail!(
                        "the policy does not admit a machine outside, but through {to} it was answered by {}",
                        answer.trim()
                    );
                }
            }
        }
        Ok(())
    }

    fn all_servers(&self, answers: &[String]) -> Result<()> {
        let seen: BTreeSet<&str> = answers.iter().map(|answer| answer.trim()).collect();
        let all: BTreeSet<&str> = self.web.iter().map(|pod| pod.name.as_str()).collect();
        ensure!(seen == all, "answered by {seen:?}, not by each of {all:?}");
        Ok(())
    }
}

fn cluster_ip(api: &Api, service: &str) -> Result<IpAddr> {
    let object = api.get(&format!("/api/v1/namespaces/default/services/{service}"))?;
    let address = object["spec"]["clusterIP"].as_str().and_then(|text| text.parse().ok());
    address.with_context(|| format!("the Service {service} has no address"))
}
