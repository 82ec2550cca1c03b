//! Who is told when somebody else changes something in the kernel.
//!
//! What a plane makes itself also comes back as events. Of links, addresses and routes only events are passed on that
//! its own work rarely has; of nf_tables those that came by none of our own sockets. So a plane does not read everything
//! back after each of its own writes, and does it at once after another's.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use kernel::monitor::{Event, Monitor};
use kernel::nft::{Change, Identity, Watch};
use kernel::rtnl::{Address, Route, RouteKind, Rtnl, RuleAction, table};
use tokio::sync::watch;

use super::network;
use crate::routing;
use crate::ruleset;
use crate::runner::{Poker, Status};
use crate::services::{self, Roll, dsr};

/// How long one wait for events lasts; nothing depends on it.
const TICK: Duration = Duration::from_mins(1);
/// The wait before a monitor that broke is opened again.
const RETRY: Duration = Duration::from_secs(2);

/// A plane as the monitor sees it.
#[derive(Debug, Clone)]
pub(super) struct Watched {
    /// Its name.
    pub(super) name: &'static str,
    /// Makes it look at everything.
    pub(super) poker: Poker,
    /// What it says of itself.
    pub(super) status: watch::Receiver<Status>,
}

/// Starts the threads. They run as long as the process. `roll` says which virtual addresses Services want.
pub(super) fn spawn(planes: Vec<Watched>, roll: Roll, identity: Identity) -> io::Result<()> {
    let also = planes.clone();
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    thread("monitor").spawn(move || run(&planes, || follow(&planes, &roll)))?;
    thread("monitor-rules").spawn(move || run(&also, || follow_rules(&also, identity)))?;
    Ok(())
}

fn run(planes: &[Watched], follow: impl Fn() -> kernel::Result<()>) {
    loop {
        if let Err(error) = follow() {
            tracing::warn!(%error, "the kernel cannot be watched; it is tried again");
        }
        std::thread::sleep(RETRY);
        // What happened meanwhile is not known.
        poke(planes, |_| true);
    }
}

fn follow(planes: &[Watched], roll: &Roll) -> kernel::Result<()> {
    let (monitor, addresses) = open(roll)?;
    attend(planes, monitor, addresses)
}

fn open(roll: &Roll) -> kernel::Result<(Monitor, Addresses)> {
    let monitor = Monitor::open()?.without_routes_of(routing::PROTOCOL);
    Ok((monitor, Addresses::new(Rtnl::open()?, roll.clone())))
}

fn attend(planes: &[Watched], mut monitor: Monitor, mut addresses: Addresses) -> kernel::Result<()> {
    loop {
        for event in monitor.next(TICK)? {
            let news = addresses.tell(&event);
            poke(planes, |plane| concerns(plane, &event, news));
        }
    }
}

/// What an event about an address, or its route in the table `local`, tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// It is about an address of Services, and their plane did so or does not mind.
    OfServices,
    /// An address of Services, or its route, is gone that they want.
    Missed,
    /// An address that was not heard of before.
    New,
    /// Something else, as that a lease is renewed.
    Other,
}

/// The node's addresses as far as events have told of them, without those of Services.
struct Addresses {
    rtnl: Rtnl,
    /// The number of the device that has those of Services.
    device: Option<u32>,
    /// Device and address.
    known: BTreeSet<(u32, IpAddr)>,
    /// Those of Services that are wanted.
    roll: Roll,
}

impl Addresses {
    fn new(rtnl: Rtnl, roll: Roll) -> Self {
        Self { rtnl, device: None, known: BTreeSet::new(), roll }
    }

    fn tell(&mut self, event: &Event) -> News {
        match event {
            Event::Address(address) => self.added(address),
            Event::AddressGone(address) => self.gone(address),
            Event::RouteGone(route) => self.undelivered(route),
            _ => News::Other,
        }
    }

    /// Each pod's device has routes of multicast and of its link-local address in the table `local`, which go with it; and
    /// with a virtual address that no Service wants any more goes its route.
    fn undelivered(&self, route: &Route) -> News {
        let of_an_address =
            route.table == table::LOCAL && route.kind == RouteKind::Local && route.destination.is_host();
        let address = route.destination.address();
        let missed = of_an_address && !is_link_local(address) && self.roll.wants(address);
        if missed { News::Missed } else { News::Other }
    }

    fn added(&mut self, address: &Address) -> News {
        match (self.is_of_services(address), (address.link, address.address)) {
            (true, _) => News::OfServices,
            (false, one) if self.known.insert(one) => News::New,
            (false, _) => News::Other,
        }
    }

    fn gone(&mut self, address: &Address) -> News {
        self.known.remove(&(address.link, address.address));
        match (self.is_of_services(address), self.roll.wants(address.address)) {
            (true, true) => News::Missed,
            (true, false) => News::OfServices,
            (false, _) => News::Other,
        }
    }

    /// Tells the addresses of Services, of which there may be thousands, from others that have no subnet either: a node's
    /// own may be a /32 or /128.
    fn is_of_services(&mut self, address: &Address) -> bool {
        // What has a subnet is none of them.
        if !address.prefix().is_some_and(|subnet| subnet.is_host()) {
            return false;
        }
        if self.device != Some(address.link) {
            let link = self.rtnl.link_by_index(address.link);
            // A device that is gone has none.
            if matches!(link, Ok(Some(link)) if link.name == services::DUMMY_DEVICE) {
                self.device = Some(address.link);
            }
        }
        self.device == Some(address.link)
    }
}

/// Tells planes of changes of their rules that none of our own sockets made.
fn follow_rules(planes: &[Watched], identity: Identity) -> kernel::Result<()> {
    let mut watch = Watch::open()?;
    let ours = ruleset::table();
    loop {
        for change in watch.next(TICK)? {
            match change {
                Change::Object { by, table, name } if table == ours && !identity.made(by) => {
                    tracing::debug!(by, name, "somebody else changed our nf_tables rules; they are compared");
                    poke(planes, |plane| owns(plane.name, name.as_deref()));
                }
                Change::Object { .. } => {}
                Change::Lost => poke(planes, |plane| owns(plane.name, None)),
            }
        }
    }
}

/// True if the plane has objects of this name in the table, or any objects if there is no name.
fn owns(plane: &str, name: Option<&str>) -> bool {
    let begins = |name: &str| name.strip_prefix(plane).is_some_and(|rest| rest.starts_with('-'));
    matches!(plane, "policy" | "services" | "routing" | "dsr") && name.is_none_or(begins)
}

fn poke(planes: &[Watched], wanted: impl Fn(&Watched) -> bool) {
    for plane in planes.iter().filter(|plane| wanted(plane)) {
        plane.poker.poke();
    }
}

/// True for devices that come and go with pods: the outer end of a pair, and what shapes its traffic.
pub(super) fn is_pods(link: &str) -> bool {
    link.starts_with("veth") || link.starts_with("bwp")
}

/// Every pod's device has one.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// True if the plane should look at the kernel after `event`, which tells `news` of addresses.
fn concerns(plane: &Watched, event: &Event, news: News) -> bool {
    if plane.name == network::NAME {
        return network::concerns(&plane.status.borrow().counts, event);
    }
    changes(plane.name, event, news)
}

/// True if `event` tells of something that the plane of this name has made or lives by.
fn changes(name: &str, event: &Event, news: News) -> bool {
    match event {
        Event::Resync => true,
        // By the default route a node may be reached, and then its tunnel is as wide as that way.
        Event::Route(route) => name == "routing" && route.destination.is_default(),
        Event::RouteGone(route) => match name {
            // In the table `local` are those of virtual addresses.
            "routing" => {
                let ours = route.protocol == routing::PROTOCOL && route.table != table::LOCAL;
                ours || route.destination.is_default()
            }
            "services" => news == News::Missed,
            dsr::NAME => route.table == dsr::TABLE && route.protocol == routing::PROTOCOL,
            _ => false,
        },
        // The kernel takes the IPv4 routes of a link away without a word.
        Event::LinkGone(link) | Event::Link(link) => match name {
            "routing" => !is_pods(&link.name),
            "services" => link.name == services::DUMMY_DEVICE,
            _ => false,
        },
        Event::Address(address) | Event::AddressGone(address) if is_link_local(address.address) => false,
        Event::AddressGone(_) => match name {
            "routing" => news == News::Other,
            "services" => news != News::OfServices,
            _ => false,
        },
        Event::Address(_) => match name {
            // It may be the node's own, and say which nodes need a tunnel.
            "routing" => news != News::OfServices,
            // Node ports may be at it, and no Service may have it.
            "services" => news == News::New,
            _ => false,
        },
        Event::RuleGone(rule) => match name {
            "routing" => rule.action == RuleAction::Table(routing::POD_TABLE),
            dsr::NAME => rule.action == RuleAction::Table(dsr::TABLE),
            _ => false,
        },
        Event::Rule(_) => false,
    }
}

#[cfg(test)]
mod healing;

#[cfg(test)]
mod tests {
    use kernel::rtnl::{Route, Rule};
    use kernel::testing::TestNs;
    use prefix::Family;

    use super::*;
    use crate::services::state::{State, Vip};

    /// Services want these.
    fn wanting(addresses: &[&str]) -> Roll {
        let vip = |text: &&str| (text.parse().unwrap(), Vip::default());
        let roll = Roll::default();
        roll.say(&State { vips: addresses.iter().map(vip).collect(), ..State::default() });
        roll
    }

    /// What a namespace tells while something is done there, up to the end of a link that is made behind it.
    fn heard(namespace: &TestNs, line: &str) -> Vec<Event> {
        let mut monitor = Monitor::open_in(namespace.namespace()).unwrap();
        let script = format!("{line}; ip link add last type bridge; ip link delete last");
        namespace.run("sh", &["-ec", &script]);
        let mut heard = Vec::new();
        let is_last = |event: &Event| matches!(event, Event::LinkGone(link) if link.name == "last");
        while !heard.iter().any(is_last) {
            heard.extend(monitor.next(TICK).unwrap());
        }
        heard.into_iter().filter(|event| !matches!(event, Event::Link(_) | Event::LinkGone(_))).collect()
    }

    /// Those of `events` by which the plane looks at everything.
    fn look<'a>(name: &str, events: &'a [Event], namespace: &TestNs, roll: &Roll) -> Vec<&'a Event> {
        let rtnl = namespace.run_in(|| Rtnl::open().unwrap());
        let mut addresses = Addresses::new(rtnl, roll.clone());
        events.iter().filter(|event| changes(name, event, addresses.tell(event))).collect()
    }

    #[test]
    fn a_pod_that_goes_with_its_device_makes_neither_services_nor_routing_look_at_everything() {
        let namespace = TestNs::new("pod-goes");
        let pod = TestNs::new("pod");
        let add = format!("ip link add veth0 type veth peer name eth0 netns {}", pod.name());
        namespace.run("sh", &["-ec", &format!("{add}; ip link set veth0 up")]);
        pod.run("ip", &["link", "set", "eth0", "up"]);
        let routes = || namespace.run("ip", &["-6", "route", "show", "table", "local", "dev", "veth0"]);
        let begin = std::time::Instant::now();
        while !(routes().contains("ff00::/8") && routes().contains("fe80::")) {
            assert!(begin.elapsed() < Duration::from_secs(30), "{}", routes());
            std::thread::sleep(Duration::from_millis(20));
        }
        let events = heard(&namespace, "ip link delete veth0");
        let local = |event: &Event| matches!(event, Event::RouteGone(route) if route.table == table::LOCAL);
        assert!(events.iter().any(local), "the kernel tells of its routes: {events:?}");
        for name in ["services", "routing"] {
            assert_eq!(look(name, &events, &namespace, &wanting(&["10.96.0.1"])), Vec::<&Event>::new());
        }
    }

    #[test]
    fn the_end_of_a_virtual_address_is_news_while_a_service_wants_it_and_not_once_the_plane_took_it_away() {
        let namespace = TestNs::new("vip-goes");
        namespace.run("ip", &["link", "add", "kube-dummy-if", "up", "type", "bridge"]);
        let make = "ip address add 10.96.0.1/32 dev kube-dummy-if scope link
             ip route add local fd00:96::1 dev kube-dummy-if table local proto 179";
        let [four, six] =
            ["ip address del 10.96.0.1/32 dev kube-dummy-if", "ip -6 route del local fd00:96::1 table local"];
        let route = "ip route del local 10.96.0.1 table local";
        for (line, address) in [(four, "10.96.0.1"), (route, "10.96.0.1"), (six, "fd00:96::1")] {
            namespace.run("sh", &["-ec", make]);
            let events = heard(&namespace, line);
            let looks = |roll: &Roll| look("services", &events, &namespace, roll).len();
            assert!(looks(&wanting(&[address])) > 0, "{line}: {events:?}");
            assert_eq!(looks(&wanting(&["10.96.0.77"])), 0, "{line}: {events:?}");
            assert!(looks(&Roll::default()) > 0, "nobody has said yet what is wanted: {line}");
            assert_eq!(look("routing", &events, &namespace, &wanting(&[address])), Vec::<&Event>::new());
            namespace.run("sh", &["-c", &format!("{four}; {six}; true")]);
        }
    }

    #[test]
    fn a_change_of_an_object_concerns_its_plane_and_one_of_the_table_concerns_all_that_have_rules() {
        let concerned = |name| ["routing", "services", "policy", "dsr", "cni"].map(|plane| owns(plane, name));
        assert_eq!(concerned(Some("policy-ingress4")), [false, false, true, false, false]);
        assert_eq!(concerned(Some("services-tuples")), [false, true, false, false, false]);
        assert_eq!(concerned(Some("dsr-marks")), [false, false, false, true, false]);
        assert_eq!(concerned(Some("policyless")), [false; 5]);
        assert_eq!(concerned(None), [true, true, true, true, false]);
    }

    #[test]
    fn the_rule_and_the_route_of_direct_return_are_its_planes_and_those_of_pods_are_routings() {
        let concerned =
            |event: &Event| ["routing", "services", "dsr"].map(|plane| changes(plane, event, News::Other));
        let rule = |table| Event::RuleGone(Rule::lookup(Family::V4, 32_764, table));
        assert_eq!(concerned(&rule(dsr::TABLE)), [false, false, true]);
        assert_eq!(concerned(&rule(routing::POD_TABLE)), [true, false, false]);
        let route = |protocol| {
            let all = "198.51.100.0/24".parse().unwrap();
            Event::RouteGone(Route::new(all).table(dsr::TABLE).protocol(protocol))
        };
        assert_eq!(concerned(&route(routing::PROTOCOL)), [true, false, true]);
        assert_eq!(concerned(&route(4)), [false; 3]);
    }

    #[test]
    fn an_address_is_news_once_and_again_when_it_was_gone_and_those_of_services_never() {
        let namespace = TestNs::new("addresses");
        namespace.run("ip", &["link", "add", "kube-dummy-if", "type", "bridge"]);
        namespace.run("ip", &["link", "add", "uplink", "type", "bridge"]);
        let mut rtnl = namespace.run_in(|| Rtnl::open().unwrap());
        let mut address = |device: &str, text: &str| {
            namespace.run("ip", &["address", "add", text, "dev", device]);
            let link = rtnl.link_by_name(device).unwrap().unwrap().index;
            let all = rtnl.addresses(Some(link), None).unwrap();
            all.into_iter().find(|one| text.starts_with(&one.address.to_string())).unwrap()
        };
        let (own, vip) = (address("uplink", "198.51.100.7/32"), address("kube-dummy-if", "10.96.0.1/32"));
        let rtnl = namespace.run_in(|| Rtnl::open().unwrap());
        let mut addresses = Addresses::new(rtnl, wanting(&[]));
        assert_eq!((addresses.added(&own), addresses.added(&own)), (News::New, News::Other));
        assert_eq!((addresses.gone(&own), addresses.added(&own)), (News::Other, News::New));
        assert_eq!((addresses.added(&vip), addresses.gone(&vip)), (News::OfServices, News::OfServices));
    }
}
