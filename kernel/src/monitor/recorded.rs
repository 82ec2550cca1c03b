//! What two kernels said of the same changes, said again: one message a line, as it came. `RECORD=FILE cargo test -p kernel
//! --lib recorded` writes what this machine's kernel says.

use std::fmt::Write as _;

use super::*;
use crate::testing::TestNs;

/// What was done, as arguments of `ip`.
const STEPS: [&str; 24] = [
    "link add uplink type veth peer name far",
    "link add kube-bridge type bridge",
    "link set uplink addrgenmode none",
    "link set far addrgenmode none",
    "link set far up",
    "link set uplink up",
    "address add 192.0.2.1/24 dev uplink",
    "-6 address add 2001:db8::1/64 dev uplink nodad",
    "route add default via 192.0.2.254",
    "route add 10.244.2.0/24 via 192.0.2.2 proto 179",
    "-6 route add fd00:2::/64 via 2001:db8::2 proto 179",
    "route replace 10.244.2.0/24 proto 179 nexthop via 192.0.2.2 nexthop via 192.0.2.3",
    "route del 10.244.2.0/24",
    "-6 route flush proto 179",
    "rule add from 10.244.1.0/24 lookup 77",
    "rule del from 10.244.1.0/24 lookup 77",
    "link add veth0 master kube-bridge type veth peer name pod",
    "link del veth0",
    "address add 10.96.0.10/32 dev kube-bridge scope link",
    "address del 10.96.0.10/32 dev kube-bridge",
    "route add 10.244.3.0/24 via 192.0.2.3 proto 179",
    "link set uplink mtu 1400",
    "link set uplink down",
    "link del uplink",
];

/// What the lab's kernel and a newer one said of it.
const RECORDED: [&str; 2] = [
    include_str!("../../tests/recorded/linux-6.12.hex"),
    include_str!("../../tests/recorded/linux-6.18.hex"),
];

/// And what is read from that.
const WORDS: [&str; 47] = [
    "link far false 1500",
    "link uplink false 1500",
    "link kube-bridge false 1500",
    "link far true 1500",
    "link uplink true 1500",
    "route ff00::/8 table 255 by 2 of 1",
    "link uplink true 1500",
    "route ff00::/8 table 255 by 2 of 1",
    "link far true 1500",
    "address 192.0.2.1",
    "route 192.0.2.0/24 table 254 by 2 of 1",
    "route 2001:db8::/64 table 254 by 2 of 1",
    "address 2001:db8::1",
    "route 0.0.0.0/0 table 254 by 3 of 1",
    "route 10.244.2.0/24 table 254 by 179 of 1",
    "route fd00:2::/64 table 254 by 179 of 1",
    "route 10.244.2.0/24 table 254 by 179 of 2",
    "no route 10.244.2.0/24 table 254",
    "no route fd00:2::/64 table 254",
    "rule Some(\"10.244.1.0/24\") Table(77)",
    "no rule Some(\"10.244.1.0/24\") Table(77)",
    "link pod false 1500",
    "link veth0 false 1500",
    "link veth0 false 1500",
    "link veth0 false 1500",
    "link kube-bridge false 1500",
    "link kube-bridge false 1500",
    "link kube-bridge false 1500",
    "link kube-bridge false 1500",
    "no link veth0",
    "no link pod",
    "no address 10.96.0.10",
    "no route 10.96.0.10/32 table 255",
    "route 10.244.3.0/24 table 254 by 179 of 1",
    "link uplink true 1400",
    "link uplink false 1400",
    "no route 2001:db8::/64 table 254",
    "no route 2001:db8::1/128 table 255",
    "no route ff00::/8 table 255",
    "no address 2001:db8::1",
    "link far true 1500",
    "link far false 1500",
    "no route ff00::/8 table 255",
    "no address 192.0.2.1",
    "no route 192.0.2.1/32 table 255",
    "no link uplink",
    "no link far",
];

/// Every message of a recording.
fn messages(text: &str) -> Vec<Vec<u8>> {
    let octet = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    text.lines().map(|line| line.as_bytes().chunks(2).map(octet).collect()).collect()
}

/// What a datagram tells.
fn read(datagram: &[u8]) -> Result<Vec<String>> {
    Ok(Message::parse_all(datagram)?.iter().filter_map(event).map(|event| words(&event)).collect())
}

/// An event in a few words.
fn words(event: &Event) -> String {
    let hops = |route: &Route| route.next_hops.len();
    match event {
        Event::Link(link) => format!("link {} {} {}", link.name, link.up, link.mtu),
        Event::LinkGone(link) => format!("no link {}", link.name),
        Event::Address(one) => format!("address {}", one.address),
        Event::AddressGone(one) => format!("no address {}", one.address),
        Event::Route(one) => {
            format!("route {} table {} by {} of {}", one.destination, one.table, one.protocol, hops(one))
        }
        Event::RouteGone(one) => format!("no route {} table {}", one.destination, one.table),
        Event::Rule(rule) => format!("rule {:?} {:?}", rule.from.map(|from| from.to_string()), rule.action),
        Event::RuleGone(rule) => {
            format!("no rule {:?} {:?}", rule.from.map(|from| from.to_string()), rule.action)
        }
        Event::Resync => "resync".to_owned(),
    }
}

/// As `RTM_…` messages, a line each.
fn record() -> String {
    let namespace = TestNs::new("record");
    let mut monitor = Monitor::open_in(namespace.namespace()).unwrap();
    for step in STEPS {
        namespace.run("ip", &step.split(' ').collect::<Vec<_>>());
        // What comes later of itself, as a carrier, is to come before the next step.
        std::thread::sleep(Duration::from_millis(300));
    }
    let mut text = String::new();
    while monitor.socket.wait(Duration::from_secs(1)).unwrap() {
        for one in monitor.socket.receive("record").unwrap() {
            let mut bytes = Vec::new();
            Message::write(&mut bytes, one.kind, one.flags, one.sequence, &one.payload);
            for octet in bytes {
                write!(text, "{octet:02x}").unwrap();
            }
            text.push('\n');
        }
    }
    text
}

#[test]
fn what_kernels_said_is_understood_one_by_one_and_all_at_once() {
    if let Some(file) = std::env::var_os("RECORD") {
        std::fs::write(file, record()).unwrap();
    }
    for text in RECORDED {
        let messages = messages(text);
        let each: Vec<String> = messages.iter().flat_map(|message| read(message).unwrap()).collect();
        assert_eq!(each, WORDS);
        assert_eq!(read(&messages.concat()).unwrap(), WORDS);
    }
}

/// The kernel's word is trusted, but a newer kernel's may be longer or shorter than any that was seen.
#[test]
fn words_that_are_cut_off_or_changed_are_an_error_or_another_event_and_never_the_end() {
    for message in RECORDED.iter().flat_map(|text| messages(text)) {
        for length in 0..message.len() {
            // A header that claims more than there is.
            let cut = &message[..length];
            assert!(length < 16 || read(cut).is_err());
            // And one that claims no more.
            let mut honest = cut.to_vec();
            if let Some(claim) = honest.get_mut(..4) {
                claim.copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
            }
            let _ = read(&honest);
            for octet in [0, 1, 0x7f, 0xff] {
                let mut other = message.clone();
                other[length] = octet;
                let _ = read(&other);
            }
        }
    }
}
