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
use kernel::rtnl::{Address, Rtnl, RuleAction};
use tokio::sync::watch;

use super::network;
use crate::routing;
use crate::ruleset;
use crate::runner::{Poker, Status};
use crate::services::{self, dsr};

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

/// Starts the threads. They run as long as the process.
pub(super) fn spawn(planes: Vec<Watched>, identity: Identity) -> io::Result<()> {
    let also = planes.clone();
    let thread = |name: &str| std::thread::Builder::new().name(name.to_owned());
    thread("monitor").spawn(move || run(&planes, || follow(&planes)))?;
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

fn follow(planes: &[Watched]) -> kernel::Result<()> {
    let mut monitor = Monitor::open()?.without_routes_of(routing::PROTOCOL);
    let mut addresses = Addresses { rtnl: Rtnl::open()?, device: None, known: BTreeSet::new() };
    loop {
        for event in monitor.next(TICK)? {
            let news = match &event {
                Event::Address(address) => addresses.added(address),
                Event::AddressGone(address) => addresses.gone(address),
                _ => News::Other,
            };
            poke(planes, |plane| concerns(plane, &event, news));
        }
    }
}

/// What an event about an address tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum News {
    /// It is about an address of Services.
    OfServices,
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
}

impl Addresses {
    fn added(&mut self, address: &Address) -> News {
        match (self.is_of_services(address), (address.link, address.address)) {
            (true, _) => News::OfServices,
            (false, one) if self.known.insert(one) => News::New,
            (false, _) => News::Other,
        }
    }

    fn gone(&mut self, address: &Address) -> News {
        self.known.remove(&(address.link, address.address));
        if self.is_of_services(address) { News::OfServices } else { News::Other }
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
            "routing" => route.protocol == routing::PROTOCOL || route.destination.is_default(),
            "services" => route.table == kernel::rtnl::table::LOCAL,
            dsr::NAME => route.table == dsr::TABLE && route.protocol == routing::PROTOCOL,
            _ => false,
        },
        // The kernel takes the IPv4 routes of a link away without a word.
        Event::LinkGone(link) => !is_pods(&link.name) && matches!(name, "routing" | "services"),
        Event::Link(link) => match name {
            "routing" => !is_pods(&link.name),
            "services" => link.name == services::DUMMY_DEVICE,
            _ => false,
        },
        Event::AddressGone(_) => name == "services" || (name == "routing" && news != News::OfServices),
        Event::Address(address) if is_link_local(address.address) => false,
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
mod tests {
    use kernel::rtnl::{Route, Rule};
    use kernel::testing::TestNs;
    use prefix::Family;

    use super::*;

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
        let mut addresses = Addresses { rtnl, device: None, known: BTreeSet::new() };
        assert_eq!((addresses.added(&own), addresses.added(&own)), (News::New, News::Other));
        assert_eq!((addresses.gone(&own), addresses.added(&own)), (News::Other, News::New));
        assert_eq!((addresses.added(&vip), addresses.gone(&vip)), (News::OfServices, News::OfServices));
    }
}
