//! Questions asked from a place of the cluster: its agnhost does the asking.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::super::pods::fetch;
use crate::guest::client::{Cmd, Node};
use crate::process::wait_for;

/// A server of the test image that asks others when it is told to.
#[derive(Debug, Clone)]
pub(super) struct Asker<'a> {
    /// For people.
    pub(super) name: String,
    /// A node from which the server can be reached.
    pub(super) node: &'a Node,
    /// The server.
    pub(super) server: SocketAddr,
}

impl<'a> Asker<'a> {
    /// Starts one in the network of a node itself, on a port that nothing else there has.
    pub(super) fn on_node(node: &'a Node, agnhost: &str, log: &str) -> Result<Self> {
        const PORT: u16 = 9180;
        let server = SocketAddr::new(node.address, PORT);
        node.background(
            Cmd::new(agnhost).words("netexec --udp-port=-1 --http-port").arg(PORT.to_string()),
            log,
        )?;
        wait_for("the test server on a node", Duration::from_secs(20), || {
            fetch(node, server, "/hostname").map(Some)
        })?;
        Ok(Self { name: node.name.clone(), node, server })
    }

    /// What a server answers to a request (`hostname`, `clientip`) from here.
    pub(super) fn ask(&self, protocol: &str, to: SocketAddr, request: &str) -> Result<String> {
        let what = || format!("{} asks {protocol} {to}", self.name);
        // A colon in a query is allowed (RFC 3986 section 3.4), a bracket is not needed here.
        let query = format!(
            "/dial?host={}&port={}&protocol={protocol}&request={request}&tries=1",
            to.ip(),
            to.port()
        );
        let text = fetch(self.node, self.server, &query).with_context(what)?;
        let answer: Value = serde_json::from_str(&text).with_context(what)?;
        match answer["responses"][0].as_str() {
            Some(response) => Ok(response.trim_matches(['\0', ' ', '\n']).to_owned()),
            None => bail!("{}: {}", what(), answer["errors"]),
        }
    }

    /// Which addresses a server sees when it is asked from here: one, or all that an SCTP client has named as its own.
    pub(super) fn seen_as(&self, protocol: &str, to: SocketAddr) -> Result<Vec<IpAddr>> {
        let text = self.ask(protocol, to, "clientip")?;
        let seen = addresses(&text);
        ensure!(!seen.is_empty(), "{} asked {to} and was told {text:?}", self.name);
        Ok(seen)
    }

    /// Which server answers, as [`Self::ask`]; an error when it is another one.
    pub(super) fn reaches(&self, protocol: &str, to: SocketAddr, name: &str) -> Result<()> {
        let answer = self.ask(protocol, to, "hostname")?;
        ensure!(answer == name, "{} asked {protocol} {to} and {answer:?} answered, not {name}", self.name);
        Ok(())
    }
}

/// The addresses in `ADDRESS:PORT` or `ADDRESS/ADDRESS:PORT`, without the device that one may be on.
fn addresses(text: &str) -> Vec<IpAddr> {
    let hosts = text.trim().rsplit_once(':').map_or("", |(hosts, _)| hosts);
    let parse = |host: &str| {
        let host = host.trim_matches(['[', ']']);
        host.split('%').next().unwrap_or(host).parse::<IpAddr>().ok().map(|address| address.to_canonical())
    };
    hosts.split('/').filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_a_client_are_read_in_every_form_the_test_server_prints() {
        let read = |text: &str| addresses(text).iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        assert_eq!(read("192.0.2.12:4242"), "192.0.2.12");
        assert_eq!(read("[::ffff:192.0.2.12]:4242"), "192.0.2.12");
        let sctp = "[2001:db8:0:c0de::12%eth0]/192.0.2.12/[fd00:10:244::1]:49748";
        assert_eq!(read(sctp), "2001:db8:0:c0de::12 192.0.2.12 fd00:10:244::1");
        assert_eq!(read("hello"), "");
    }
}
