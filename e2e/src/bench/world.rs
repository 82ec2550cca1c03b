//! A node in the small: a network namespace that forwards between two pods with real packets. Rules of one are not in the way
//! of another, so several can be measured in turn.

use std::net::Ipv4Addr;

use anyhow::{Context, Result, anyhow};

use crate::guest::agent::{enter_netns, make_netns, remove_netns};
use crate::process::{capture, command};

/// The address of the node.
pub(super) const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The pod that sends.
pub(super) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 244, 255, 2);
/// The pod that receives.
pub(super) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 244, 255, 3);
/// From this UDP port on the server may be asked; from the third on nobody answers, and nothing says so.
pub(super) const FIRST_PORT: u16 = 20_000;

/// What pods know as their gateway.
const GATEWAY: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);

/// The node's namespace and those of its two pods; removed with this value.
#[derive(Debug)]
pub(super) struct World {
    /// The name of the node's namespace.
    pub(super) node: String,
}

impl World {
    /// Makes all three.
    pub(super) fn new(name: &str) -> Result<Self> {
        let world = Self { node: name.to_owned() };
        for netns in [world.node.clone(), world.client(), world.server()] {
            make_netns(&netns)?;
        }
        world.inside(|| {
            ip("link set lo up")?;
            ip(&format!("addr add {NODE_ADDRESS}/32 dev lo"))?;
            for (key, value) in [("ipv4/ip_forward", "1"), ("ipv4/conf/all/rp_filter", "0")] {
                std::fs::write(format!("/proc/sys/net/{key}"), value)
                    .with_context(|| format!("setting {key}"))?;
            }
            Self::join(&world.client(), "client", CLIENT)?;
            Self::join(&world.server(), "server", SERVER)
        })?;
        // Nobody listens at the ports of new flows; answers that say so would be in the figures.
        on(&world.server(), || {
            nft("add table ip silent")?;
            nft("add chain ip silent in { type filter hook prerouting priority -300; }")?;
            nft(&format!("add rule ip silent in udp dport {}-65535 drop", FIRST_PORT + 2))
        })?;
        Ok(world)
    }

    /// The namespace of the pod that sends.
    pub(super) fn client(&self) -> String {
        format!("{}-client", self.node)
    }

    /// The namespace of the pod that receives.
    pub(super) fn server(&self) -> String {
        format!("{}-server", self.node)
    }

    /// Empties the node's tables of nf_tables and forgets its flows.
    pub(super) fn forget_rules(&self) -> Result<()> {
        self.inside(|| nft("flush ruleset"))?;
        self.forget_flows()
    }

    /// Forgets the node's flows.
    pub(super) fn forget_flows(&self) -> Result<()> {
        self.inside(|| capture(command("conntrack").arg("-F")).map(|_| ()))
    }

    /// Does some work in the node's network.
    pub(super) fn inside<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on(&self.node, work)
    }

    fn join(netns: &str, device: &str, address: Ipv4Addr) -> Result<()> {
        ip(&format!("link add {device} type veth peer name eth0 netns {netns}"))?;
        ip(&format!("addr add {GATEWAY}/32 dev {device}"))?;
        ip(&format!("link set {device} up"))?;
        on(netns, || {
            ip("link set lo up")?;
            ip("link set eth0 up")?;
            ip(&format!("addr add {address}/32 dev eth0"))?;
            ip(&format!("route add {GATEWAY} dev eth0"))?;
            ip(&format!("route add default via {GATEWAY}"))
        })?;
        ip(&format!("route add {address} dev {device}"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for netns in [self.client(), self.server(), self.node.clone()] {
            // One that was never made is not there.
            let _gone = remove_netns(&netns);
        }
    }
}

/// Does some work on a thread in a named namespace.
pub(super) fn on<T: Send>(netns: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            enter_netns(netns)?;
            work()
        });
        thread.join().map_err(|_| anyhow!("a thread of the bench ended badly"))?
    })
}

/// Runs `ip` with these words, in the network of the calling thread.
pub(super) fn ip(words: &str) -> Result<()> {
    capture(command("ip").args(words.split_whitespace())).map(|_| ())
}

/// Runs `nft` with this line, in the network of the calling thread.
pub(super) fn nft(line: &str) -> Result<()> {
    capture(command("nft").arg(line)).map(|_| ())
}
