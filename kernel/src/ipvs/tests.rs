//! Our messages against those of `ipvsadm`, the kernel's recorded answers, and hostile input.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use prefix::Family;
use proptest::prelude::*;

use super::command::Command;
use super::model::*;
use super::{Ipvs, decode, encode, wire};
use crate::genl;

const COMMANDS: &str = include_str!("testdata/commands.txt");
const DUMP: &str = include_str!("testdata/dump.txt");

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn lines(text: &'static str) -> impl Iterator<Item = (&'static str, Vec<u8>)> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (name, hex) = line.split_once(": ").unwrap();
        (name, unhex(hex))
    })
}

fn golden(name: &str) -> Vec<u8> {
    lines(COMMANDS).find(|(line, _)| *line == name).unwrap_or_else(|| panic!("no golden {name}")).1
}

fn ours(command: &Command) -> Vec<u8> {
    let (number, attributes) = encode::encode(command);
    genl::message(number, wire::VERSION, &attributes)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn key(protocol: u8, address: &str, port: u16) -> ServiceKey {
    ServiceKey::Address { protocol, address: ip(address), port }
}

fn udp_service() -> Service {
    Service {
        flags: ServiceFlags::PERSISTENT.with(ServiceFlags::SCHEDULER_1).with(ServiceFlags::SCHEDULER_2),
        persistence_seconds: 600,
        netmask: Netmask::V4(Ipv4Addr::new(255, 255, 255, 0)),
        ..Service::new(key(17, "10.96.0.10", 53), "mh")
    }
}

fn ipv6_service() -> Service {
    Service {
        flags: ServiceFlags::PERSISTENT,
        persistence_seconds: 10800,
        ..Service::new(key(6, "fd00:96::10", 443), "sh")
    }
}

fn mark_key() -> ServiceKey {
    ServiceKey::Mark { family: Family::V4, mark: 77 }
}

fn mark_service() -> Service {
    Service { flags: ServiceFlags::ONE_PACKET, ..Service::new(mark_key(), "wlc") }
}

fn gue_destination() -> Destination {
    Destination {
        forwarding: Forwarding::Tunnel,
        tunnel: Tunnel { kind: 1, port: 5555, flags: 1 },
        ..Destination::masquerade(ip("192.0.2.2"), 0, 1)
    }
}

#[test]
fn services_are_written_byte_for_byte_as_ipvsadm_writes_them() {
    let tcp = Service::new(key(6, "10.96.0.10", 80), "rr");
    let changed = Service { scheduler: "lc".into(), ..tcp.clone() };
    let cases = [
        ("add tcp service", Command::AddService(tcp)),
        ("add udp service with mh flags", Command::AddService(udp_service())),
        ("add ipv6 service", Command::AddService(ipv6_service())),
        ("add mark service", Command::AddService(mark_service())),
        ("set scheduler", Command::SetService(changed)),
        ("set timeouts", Command::SetTimeouts(Timeouts { tcp: 900, tcp_fin: 120, udp: 300 })),
    ];
    for (name, command) in cases {
        assert_eq!(ours(&command), golden(name), "{name}");
    }
}

/// `ipvsadm` repeats an empty configuration of the service in these; the kernel reads its key only, and that is all
/// we send. So the destination is compared, and the key as the beginning of the service.
#[test]
fn destinations_are_written_as_ipvsadm_writes_them() {
    let tcp = key(6, "10.96.0.10", 80);
    let limited = Destination {
        upper_threshold: 100,
        lower_threshold: 50,
        ..Destination::masquerade(ip("10.1.0.3"), 8080, 3)
    };
    let v6 = Destination::masquerade(ip("fd00:1::2"), 8443, 1);
    let cases = [
        ("add destination", Command::AddDestination(tcp, Destination::masquerade(ip("10.1.0.2"), 8080, 1))),
        ("add destination with thresholds", Command::AddDestination(tcp, limited)),
        ("add ipv6 destination", Command::AddDestination(key(6, "fd00:96::10", 443), v6)),
        ("add tunnel destination", Command::AddDestination(mark_key(), gue_destination())),
        (
            "set destination weight",
            Command::SetDestination(tcp, Destination::masquerade(ip("10.1.0.2"), 8080, 0)),
        ),
    ];
    for (name, command) in cases {
        let (ours, golden) = (ours(&command), golden(name));
        assert_eq!(ours[0], golden[0], "{name}: command number");
        let part = |bytes: &[u8], kind| genl::parse(bytes).unwrap().1.find(kind).unwrap().payload.to_vec();
        assert_eq!(
            part(&ours, wire::top::DESTINATION),
            part(&golden, wire::top::DESTINATION),
            "{name}: destination"
        );
        let service = part(&ours, wire::top::SERVICE);
        assert!(part(&golden, wire::top::SERVICE).starts_with(&service), "{name}: service key");
    }
}

#[test]
fn deleting_names_the_object_that_ipvsadm_names() {
    let tcp = key(6, "10.96.0.10", 80);
    let socket: SocketAddr = "10.1.0.2:8080".parse().unwrap();
    for (name, command) in [
        ("delete service", Command::DeleteService(tcp)),
        ("delete destination", Command::DeleteDestination(tcp, socket)),
    ] {
        let (ours, golden) = (ours(&command), golden(name));
        assert_eq!(ours[0], golden[0], "{name}");
        for kind in [wire::top::SERVICE, wire::top::DESTINATION] {
            let (Some(mine), Some(theirs)) =
                (genl::parse(&ours).unwrap().1.find(kind), genl::parse(&golden).unwrap().1.find(kind))
            else {
                continue;
            };
            assert!(theirs.payload.starts_with(mine.payload), "{name}: attribute {kind}");
        }
    }
}

#[test]
fn recorded_services_compare_equal_to_what_was_set() {
    let found: Vec<Service> = lines(DUMP)
        .filter(|(name, _)| *name == "service")
        .map(|(_, bytes)| decode::service(&bytes).unwrap().service)
        .collect();
    let changed = Service::new(key(6, "10.96.0.10", 80), "lc");
    assert_eq!(found, [udp_service(), ipv6_service(), changed, mark_service()]);
}

#[test]
fn recorded_destinations_compare_equal_to_what_was_set() {
    let found: Vec<Destination> = lines(DUMP)
        .filter(|(name, _)| *name == "destination")
        .map(|(_, bytes)| decode::destination(&bytes, Family::V4).unwrap().destination)
        .collect();
    let limited = Destination {
        upper_threshold: 100,
        lower_threshold: 50,
        ..Destination::masquerade(ip("10.1.0.3"), 8080, 3)
    };
    let drained = Destination::masquerade(ip("10.1.0.2"), 8080, 0);
    let v6 = Destination::masquerade(ip("fd00:1::2"), 8443, 1);
    assert_eq!(found, [limited, drained, v6, gue_destination()]);
}

#[test]
fn a_missing_scheduler_is_told_with_the_module_to_load() {
    let command = Command::AddService(Service::new(key(6, "10.96.0.10", 80), "maglev"));
    let error = command.failed(nix::errno::Errno::ENOENT, None);
    assert_eq!(
        error.to_string(),
        "add IPVS service TCP 10.96.0.10:80 scheduler maglev: No such file or directory (ENOENT): \
         the kernel has no scheduler maglev: `modprobe ip_vs_maglev`"
    );
}

fn decode_all(bytes: &[u8]) {
    let _ = decode::service(bytes);
    let _ = decode::destination(bytes, Family::V6);
    let _ = decode::timeouts(bytes);
    let _ = decode::info(bytes);
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        decode_all(&bytes);
    }

    #[test]
    fn no_damage_to_a_real_answer_makes_the_decoder_panic(
        which in 0usize..8, at in 0usize..400, value in any::<u8>(), cut in 0usize..400,
    ) {
        let mut bytes = lines(DUMP).nth(which).unwrap().1;
        let length = bytes.len();
        bytes[at % length] = value;
        bytes.truncate(cut.max(1));
        decode_all(&bytes);
    }

    #[test]
    fn what_is_written_reads_back(
        address in any::<[u8; 16]>(), v6 in any::<bool>(), port in any::<u16>(), protocol in any::<u8>(),
        scheduler in "[a-z]{1,15}", flags in 0u32..64, seconds in any::<u32>(), mask in any::<u32>(),
    ) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let service = Service {
            key: ServiceKey::Address { protocol, address: address_from(family, &address).unwrap(), port },
            scheduler,
            flags: ServiceFlags::from_bits(flags),
            persistence_seconds: seconds,
            netmask: if v6 { Netmask::V6(mask) } else { Netmask::V4(Ipv4Addr::from(mask)) },
            persistence_engine: None,
        };
        let read = decode::service(&ours(&Command::AddService(service.clone()))).unwrap();
        prop_assert_eq!(read.service, service);
    }
}

#[test]
fn a_kernel_without_ipvs_is_told_what_to_do() {
    // On the host the family is missing; in a lab guest it is there and opening works.
    if let Err(error) = Ipvs::open() {
        assert!(error.is_not_found(), "{error}");
        assert!(error.to_string().contains("modprobe ip_vs"), "{error}");
    }
}
