//! Pods with host ports, for every run with a real runtime.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::control_plane::ControlPlane;
use super::http::get;
use super::pods::fetch;
use super::run::AGNHOST;
use crate::lab::Lab;
use crate::net::GATEWAY;
use crate::process::wait_for;

/// How long an answer from outside may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Ports of a node that lead to a pod.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    /// TCP, HTTP on it.
    pub(super) tcp: u16,
    /// UDP.
    pub(super) udp: u16,
    /// SCTP, which only the nodes' kernels have.
    pub(super) sctp: Option<u16>,
}

impl Ports {
    /// With the names that the test server has for the protocols.
    pub(super) fn all(self) -> impl Iterator<Item = (&'static str, u16)> {
        [("http", self.tcp), ("udp", self.udp)].into_iter().chain(self.sctp.map(|port| ("sctp", port)))
    }
}

/// A test server on a node, with host ports or without.
pub(super) fn pod(name: &str, app: &str, node: u8, ports: Option<Ports>) -> Value {
    let port = |protocol: &str, port: u16, host: u16| json!({ "containerPort": port, "hostPort": host, "protocol": protocol });
    let list: Vec<Value> = ports
        .map(|ports| {
            let sctp = ports.sctp.map(|host| port("SCTP", 8082, host));
            [port("TCP", 8080, ports.tcp), port("UDP", 8081, ports.udp)].into_iter().chain(sctp).collect()
        })
        .unwrap_or_default();
    let mut args = vec!["netexec", "--http-port=8080", "--udp-port=8081"];
    if ports.is_some_and(|ports| ports.sctp.is_some()) {
        args.push("--sctp-port=8082");
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name, "namespace": "default", "labels": { "app": app } },
        "spec": {
            "nodeName": format!("node{node}"),
            "terminationGracePeriodSeconds": 0,
            "dnsPolicy": "Default",
            "containers": [{
                "name": "server",
                "image": AGNHOST,
                "imagePullPolicy": "Never",
                "args": args,
                "ports": list,
                "readinessProbe": { "httpGet": { "path": "/readyz", "port": 8080 }, "periodSeconds": 1 },
            }],
        },
    })
}

/// The pod of the short check.
const NAME: &str = "host-ports";

/// A pod with host ports is reached from outside, as who asks, and from its node; its end closes the ports.
pub(super) fn work(plane: &ControlPlane, lab: &Lab) -> Result<String> {
    const PORTS: Ports = Ports { tcp: 18080, udp: 18081, sctp: None };
    const LIMIT: Duration = Duration::from_mins(1);
    let node = lab.node(1)?;
    plane.apply(&pod(NAME, NAME, node.index, Some(PORTS)).to_string())?;
    let begin = Instant::now();
    for (protocol, seen) in
        wait_for("answers through the host ports", LIMIT, || outside(node.address, PORTS).map(Some))?
    {
        ensure!(
            seen == IpAddr::V4(GATEWAY),
            "over {protocol} the pod sees {seen}, and not {GATEWAY} that asks"
        );
    }
    let up = begin.elapsed();
    for address in [node.address, Ipv4Addr::LOCALHOST.into()] {
        let to = SocketAddr::new(address, PORTS.tcp);
        let name = fetch(node, to, "/hostname").with_context(|| format!("{} to {to}", node.name))?;
        ensure!(name.trim() == NAME, "{to} on {} was answered by {name}", node.name);
    }
    plane.ask(&["delete", "pod", NAME, "--wait=false"])?;
    wait_for("the end of the host ports", LIMIT, || Ok(outside(node.address, PORTS).is_err().then_some(())))?;
    Ok(format!(
        "answered as {GATEWAY} {:.1} s after the pod was made, closed after its end",
        up.as_secs_f64()
    ))
}

/// Asks from this process, a machine outside, over TCP and UDP. Returns as whom the pod sees it over each.
pub(super) fn outside(node: IpAddr, ports: Ports) -> Result<[(&'static str, IpAddr); 2]> {
    let tcp = get(SocketAddr::new(node, ports.tcp), "/clientip", PATIENCE)?;
    let udp = ask_udp(SocketAddr::new(node, ports.udp), "clientip")?;
    let read = |text: &str| address(text).with_context(|| format!("{text:?} is no address"));
    Ok([("TCP", read(&tcp)?), ("UDP", read(&udp)?)])
}

/// Sends a datagram and returns the answer.
pub(super) fn ask_udp(to: SocketAddr, request: &str) -> Result<String> {
    let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(to)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(request.as_bytes())?;
    let mut buffer = [0; 512];
    let length = socket.recv(&mut buffer).with_context(|| format!("no answer from UDP {to}"))?;
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// The address in `ADDRESS:PORT`. A socket of both families names an IPv4 client in IPv6 words.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim().trim_matches('\0');
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return Some(socket.ip().to_canonical());
    }
    let (host, _) = text.rsplit_once(':')?;
    host.trim_matches(['[', ']']).parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_asks_for_the_ports_it_was_given_and_no_others() {
        let ports = Ports { tcp: 1, udp: 2, sctp: Some(3) };
        let with = pod("a", "b", 1, Some(ports));
        let hosts: Vec<u64> = with["spec"]["containers"][0]["ports"]
            .as_array()
            .unwrap()
            .iter()
            .map(|port| port["hostPort"].as_u64().unwrap())
            .collect();
        assert_eq!(hosts, [1, 2, 3]);
        assert_eq!(pod("a", "b", 1, None)["spec"]["containers"][0]["ports"], json!([]));
    }

    #[test]
    fn addresses_are_read_in_every_form_servers_print() {
        let wanted = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        assert_eq!(address("192.0.2.1:4242\n"), wanted("192.0.2.1"));
        assert_eq!(address("[fd00::1]:80"), wanted("fd00::1"));
        assert_eq!(address("[::ffff:10.0.0.1]:80"), wanted("10.0.0.1"));
        assert_eq!(address("hello"), None);
    }
}
