//! FRR and GoBGP beside the nodes: what BIRD shows of Services, drains and passwords, they show too.

use nix::sys::signal::Signal;

use crate::external::{PASSWORD, ROUTER, VIP, objects, service};
use crate::kit::{Kind, OTHER, Router, Seen, Setup};
use crate::lab::{Lab, wait_for};
use crate::leaving::pod;

const OTHERS: [Kind; 2] = [Kind::Frr, Kind::Gobgp];
const PODS: &str = "10.244.1.0/24";

struct World {
    // The daemons end before the router does.
    lab: Lab,
    router: Router,
}

impl World {
    /// Two nodes, with an address of a Service at the first one.
    fn start(kind: Kind) -> Self {
        let mut lab = Lab::new(2);
        let setup = Setup {
            password: Some("s3cret"),
            graceful: Some(60),
            neighbours: vec![1, 2],
            ..Setup::new(kind, OTHER)
        };
        let ns = kernel::testing::TestNs::new("router");
        ns.run("ip", &["link", "set", "lo", "up"]);
        lab.plug(&ns, "router", &[format!("{}/24", setup.address())]);
        for node in &mut lab.nodes {
            node.flags = vec!["--strict-external-ip-validation=false", "--bgp-drain-time=1s"];
            node.start();
        }
        let world = Self { lab, router: Router::start(ns, setup) };
        world.tell(&world.objects(), &service(1, true));
        world.until("the Service's address from the node with its endpoint", || world.from(1));
        // What is shown may be a second old.
        world.until("the sessions are shown", || [0, 1].iter().all(|node| world.session(*node).1 > 0));
        world
    }

    /// The Node objects with the router as their peer.
    fn objects(&self) -> String {
        objects(&self.lab).replace(ROUTER, &self.router.setup.address().to_string())
    }

    fn tell(&self, nodes: &str, more: &str) {
        self.lab.tell(&(nodes.to_owned() + more));
    }

    fn vip(&self) -> Option<Seen> {
        self.router.seen(&format!("{VIP}/32"))
    }

    fn from(&self, node: u8) -> bool {
        self.vip().is_some_and(|seen| seen.next_hop == format!("192.0.2.{node}"))
    }

    fn asks_to_leave(seen: Option<Seen>) -> bool {
        let names = ["65535:0", "gracefulShutdown", "graceful-shutdown"];
        seen.is_some_and(|seen| seen.communities.iter().any(|one| names.contains(&one.as_str())))
    }

    /// The state of the session of a node, and how often it came up.
    fn session(&self, node: usize) -> (String, u64) {
        let status = self.lab.nodes[node].status();
        let address = self.router.setup.address().to_string();
        let peers = status["bgp"]["peers"].as_array().cloned().unwrap_or_default();
        let peer = peers.into_iter().find(|peer| peer["address"] == address.as_str()).unwrap_or_default();
        (
            peer["state"].as_str().unwrap_or_default().to_owned(),
            peer["established"].as_u64().unwrap_or_default(),
        )
    }

    fn until(&self, what: &str, done: impl FnMut() -> bool) {
        wait_for(&format!("{what} ({:?})", self.router.setup.kind), done, || {
            format!("{}\n{}", self.router.log(), self.lab.nodes[0].story())
        });
    }
}

#[test]
fn an_address_follows_its_endpoint_and_has_the_communities_of_its_service() {
    for world in OTHERS.map(World::start) {
        assert_eq!(world.vip().unwrap().communities, ["64512:7"]);
        world.until("the pods of a node", || world.router.seen(PODS).is_some());
        world.tell(&world.objects(), &service(2, true));
        world.until("the address from the other node", || world.from(2));
        world.tell(&world.objects(), &service(2, false));
        world.until("nobody has it", || world.vip().is_none());
        assert_eq!([0, 1].map(|node| world.session(node).1), [1, 1], "no session was lost over it");
    }
}

#[test]
fn a_node_that_is_drained_asks_to_leave_it_withdraws_its_addresses_and_says_its_end() {
    for mut world in OTHERS.map(World::start) {
        let cordoned = world.objects().replacen("spec: {podCIDRs", "spec: {unschedulable: true, podCIDRs", 1);
        world.tell(&cordoned, &(service(1, true) + &pod()));
        world.until("the request to leave", || {
            World::asks_to_leave(world.vip()) && World::asks_to_leave(world.router.seen(PODS))
        });
        world.tell(&cordoned, &service(1, true));
        world.until("the address is withdrawn with the last pod", || world.vip().is_none());
        assert!(World::asks_to_leave(world.router.seen(PODS)), "what is left of the node is reached still");
        assert_eq!(world.session(0).1, 1, "no session was lost over it");
        world.lab.nodes[0].signal(Signal::SIGTERM);
        world.until("nothing of the node is kept", || world.router.seen(PODS).is_none());
    }
}

#[test]
fn another_password_is_another_session_of_this_peer_alone() {
    // `other` in base64.
    const WRONG: &str = "b3RoZXI=";
    for world in OTHERS.map(World::start) {
        let right = world.objects();
        world.tell(&right.replacen(PASSWORD, WRONG, 1), &service(1, true));
        world.until("the end of the session", || world.session(0).0 != "Established");
        assert_eq!(world.session(1), ("Established".to_owned(), 1), "the other node's is not touched");
        world.tell(&right, &service(1, true));
        world.until("the session again", || world.session(0).0 == "Established");
        assert!(world.session(0).1 > 1, "{:?}", world.session(0));
        world.until("its address", || world.from(1));
        assert_eq!(world.session(1).1, 1);
    }
}
