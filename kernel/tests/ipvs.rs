//! IPVS on a kernel that has it, with `ipvsadm` as second eyes.
//!
//! The host's kernel of a test machine has no IPVS, so these run inside a lab guest:
//! `cargo verify` starts this binary there with `--include-ignored`.
#![expect(clippy::unwrap_used, reason = "helpers of tests: a panic is how a test fails")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use kernel::ipvs::{
    Census, Command, Destination, Forwarding, Ipvs, Netmask, Service, ServiceFlags, ServiceKey, Timeouts,
    Tunnel,
};
use kernel::testing::TestNs;
use prefix::Family;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn key(protocol: u8, address: &str, port: u16) -> ServiceKey {
    ServiceKey::Address { protocol, address: ip(address), port }
}

fn open(purpose: &str) -> (TestNs, Ipvs) {
    let namespace = TestNs::new(purpose);
    let ipvs = Ipvs::open_in(namespace.namespace()).unwrap();
    (namespace, ipvs)
}

fn seen(namespace: &TestNs) -> String {
    namespace.run("ipvsadm", &["-ln"])
}

fn all_services() -> Vec<Service> {
    vec![
        Service::new(key(6, "10.96.0.1", 443), "rr"),
        Service {
            flags: ServiceFlags::PERSISTENT.with(ServiceFlags::SCHEDULER_1).with(ServiceFlags::SCHEDULER_2),
            persistence_seconds: 600,
            netmask: Netmask::V4(Ipv4Addr::new(255, 255, 255, 0)),
            ..Service::new(key(17, "10.96.0.1", 53), "mh")
        },
        Service {
            flags: ServiceFlags::PERSISTENT,
            persistence_seconds: 10800,
            netmask: Netmask::V6(64),
            ..Service::new(key(6, "fd00:96::1", 443), "sh")
        },
        Service::new(key(132, "10.96.0.1", 7777), "wlc"),
        Service {
            flags: ServiceFlags::ONE_PACKET,
            ..Service::new(ServiceKey::Mark { family: Family::V6, mark: 4711 }, "lc")
        },
    ]
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn what_is_set_reads_back_equal_and_ipvsadm_sees_the_same() {
    let (namespace, mut ipvs) = open("set");
    let services = all_services();
    let commands: Vec<Command> = services.iter().cloned().map(Command::AddService).collect();
    assert!(ipvs.change_all(&commands).iter().all(Result::is_ok));

    let mut found: Vec<Service> = ipvs.services().unwrap().into_iter().map(|entry| entry.service).collect();
    found.sort_by_key(|service| services.iter().position(|other| other == service));
    assert_eq!(found, services);
    assert_eq!(ipvs.service(&services[1].key).unwrap().service, services[1]);
    let seen = seen(&namespace);
    for line in [
        "TCP  10.96.0.1:443 rr",
        "UDP  10.96.0.1:53 mh (mh-fallback,mh-port) persistent 600 mask 255.255.255.0",
        "TCP  [fd00:96::1]:443 sh persistent 10800 mask 64",
        "SCTP 10.96.0.1:7777 wlc",
        "FWM  4711 IPv6 lc ops",
    ] {
        assert!(seen.lines().any(|found| found.trim_end() == line), "no {line:?} in\n{seen}");
    }
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn at_a_glance_ipv4_services_are_seen_with_the_number_of_their_destinations() {
    let (namespace, mut ipvs) = open("census");
    let mut census = namespace.run_in(Census::open).unwrap();
    census.read().unwrap();
    assert_eq!(census.headings().count(), 0);
    let services = all_services();
    let first = services[0].key;
    let commands = services.iter().cloned().map(Command::AddService);
    let backends = [1, 2].map(|last| Destination::masquerade(Ipv4Addr::new(10, 1, 1, last).into(), 80, 1));
    let commands: Vec<Command> =
        commands.chain(backends.map(|backend| Command::AddDestination(first, backend))).collect();
    assert!(ipvs.change_all(&commands).iter().all(Result::is_ok));
    let mut glance = || {
        census.read().unwrap();
        let seen = census.headings().map(|found| {
            let service = Service {
                flags: found.flags,
                persistence_seconds: found.persistence_seconds,
                netmask: found.netmask,
                ..Service::new(found.key, found.scheduler)
            };
            let place = services.iter().position(|other| *other == service);
            (place.unwrap_or_else(|| panic!("{found:?}")), found.destinations)
        });
        let mut seen: Vec<(usize, u32)> = seen.collect();
        seen.sort_unstable();
        seen
    };
    assert_eq!(glance(), [(0, 2), (1, 0), (3, 0)], "neither IPv6 nor marks");
    namespace.run("ipvsadm", &["-d", "-t", "10.96.0.1:443", "-r", "10.1.1.2:80"]);
    assert_eq!(glance(), [(0, 1), (1, 0), (3, 0)]);
    namespace.run("ipvsadm", &["-D", "-u", "10.96.0.1:53"]);
    assert_eq!(glance(), [(0, 1), (3, 0)]);
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_change_takes_flags_away_and_keeps_the_destinations() {
    let (namespace, mut ipvs) = open("edit");
    let service = all_services().remove(1);
    let destination = Destination::masquerade(ip("10.1.0.2"), 5353, 2);
    ipvs.change(&Command::AddService(service.clone())).unwrap();
    ipvs.change(&Command::AddDestination(service.key, destination)).unwrap();

    let changed = Service::new(service.key, "rr");
    ipvs.change(&Command::SetService(changed.clone())).unwrap();
    assert_eq!(ipvs.service(&service.key).unwrap().service, changed);
    let drained = Destination { weight: 0, upper_threshold: 9, lower_threshold: 3, ..destination };
    ipvs.change(&Command::SetDestination(service.key, drained)).unwrap();
    let found = ipvs.destinations(&service.key).unwrap();
    assert_eq!(found.iter().map(|entry| entry.destination).collect::<Vec<_>>(), [drained]);
    assert!(seen(&namespace).contains("10.1.0.2:5353                Masq    0"), "{}", seen(&namespace));
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn every_kind_of_destination_reads_back_equal() {
    let (_namespace, mut ipvs) = open("dest");
    let service = Service::new(key(6, "10.96.0.2", 80), "rr");
    let tunnel =
        Destination { forwarding: Forwarding::Tunnel, ..Destination::masquerade(ip("10.1.0.9"), 80, 7) };
    let destinations = [
        Destination::masquerade(ip("10.1.0.1"), 8080, 1),
        Destination { forwarding: Forwarding::Route, ..Destination::masquerade(ip("10.1.0.2"), 80, 3) },
        Destination { tunnel: Tunnel { kind: 1, port: 5555, flags: 1 }, ..tunnel },
        Destination { address: ip("fd00:1::7"), ..tunnel },
    ];
    let mut commands = vec![Command::AddService(service.clone())];
    commands.extend(destinations.map(|destination| Command::AddDestination(service.key, destination)));
    for outcome in ipvs.change_all(&commands) {
        outcome.unwrap();
    }
    let mut found: Vec<Destination> =
        ipvs.destinations(&service.key).unwrap().iter().map(|entry| entry.destination).collect();
    found.sort();
    let mut expected = destinations.to_vec();
    expected.sort();
    assert_eq!(found, expected);

    let gone: SocketAddr = "10.1.0.1:8080".parse().unwrap();
    ipvs.change(&Command::DeleteDestination(service.key, gone)).unwrap();
    assert_eq!(ipvs.destinations(&service.key).unwrap().len(), 3);
    ipvs.change(&Command::DeleteService(service.key)).unwrap();
    assert!(ipvs.services().unwrap().is_empty());
    assert!(ipvs.destinations(&service.key).unwrap().is_empty());
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn a_refused_command_names_itself_and_does_not_hold_back_the_others() {
    let (_namespace, mut ipvs) = open("refuse");
    let service = Service::new(key(6, "10.96.0.3", 80), "rr");
    let missing = key(6, "10.96.0.4", 80);
    let destination = Destination::masquerade(ip("10.1.0.1"), 8080, 1);
    let outcomes = ipvs.change_all(&[
        Command::AddService(service.clone()),
        Command::AddService(service.clone()),
        Command::AddService(Service::new(missing, "nosuch")),
        Command::AddDestination(missing, destination),
        Command::AddDestination(service.key, destination),
        Command::AddDestination(service.key, Destination::masquerade(ip("224.0.0.1"), 1, 1)),
        Command::DeleteDestination(service.key, "10.9.9.9:1".parse().unwrap()),
    ]);
    assert_eq!(outcomes[0], Ok(()));
    assert!(outcomes[1].as_ref().unwrap_err().is_exists());
    let scheduler = outcomes[2].as_ref().unwrap_err();
    assert!(scheduler.is_not_found(), "{scheduler}");
    assert!(scheduler.to_string().contains("modprobe ip_vs_nosuch"), "{scheduler}");
    assert!(outcomes[3].as_ref().unwrap_err().is_not_found());
    assert_eq!(outcomes[4], Ok(()));
    let address = outcomes[5].as_ref().unwrap_err().to_string();
    assert!(address.contains("224.0.0.1:1") && address.contains("unicast"), "{address}");
    assert!(outcomes[6].as_ref().unwrap_err().is_not_found());
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn timeouts_are_set_one_by_one_and_read_back() {
    let (namespace, mut ipvs) = open("time");
    let before = ipvs.timeouts().unwrap();
    ipvs.change(&Command::SetTimeouts(Timeouts { tcp_fin: 33, ..Timeouts::default() })).unwrap();
    assert_eq!(ipvs.timeouts().unwrap(), Timeouts { tcp_fin: 33, ..before });
    assert!(namespace.run("ipvsadm", &["-l", "--timeout"]).contains("tcp tcpfin udp): 900 33 300"));
    assert_eq!(ipvs.info().unwrap().version, 0x0001_0201);
}

#[test]
#[ignore = "needs a kernel with IPVS: run in a lab guest by cargo verify"]
fn two_thousand_services_are_programmed_and_read_back() {
    let (_namespace, mut ipvs) = open("many");
    let mut commands = Vec::new();
    for number in 0..2000u32 {
        let service = ServiceKey::Address {
            protocol: 6,
            address: IpAddr::V4(Ipv4Addr::from(0x0a60_0000 + number)),
            port: 80,
        };
        commands.push(Command::AddService(Service::new(service, "rr")));
        commands.extend([1, 2, 3].map(|host| {
            let address = IpAddr::V4(Ipv4Addr::from(0x0a01_0000 + number * 4 + host));
            Command::AddDestination(service, Destination::masquerade(address, 8080, 1))
        }));
    }
    let start = std::time::Instant::now();
    assert!(ipvs.change_all(&commands).iter().all(Result::is_ok));
    let programmed = start.elapsed();
    let start = std::time::Instant::now();
    let services = ipvs.services().unwrap();
    let destinations: usize =
        services.iter().map(|entry| ipvs.destinations(&entry.service.key).unwrap().len()).sum();
    println!("2,000 services, 6,000 destinations: made in {programmed:?}, read in {:?}", start.elapsed());
    assert_eq!((services.len(), destinations), (2000, 6000));
}
