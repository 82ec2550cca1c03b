//! Each annotation, right and wrong.

use std::net::Ipv4Addr;
use std::time::Duration;

use bgp::ao::{Algorithm, Key};
use bgp::{Password, Prepend, Signature};

use super::{Annotations, Role};
use crate::cluster::objects::Node;

fn of(annotations: &[(&str, &str)]) -> Annotations {
    let pairs = annotations.iter().map(|(key, value)| (format!("kube-router.io/{key}"), (*value).into()));
    Annotations::of(&Node { annotations: pairs.collect(), ..Node::default() })
}

#[test]
fn a_node_without_annotations_says_nothing() {
    assert_eq!(of(&[]), Annotations::default());
}

#[test]
fn peers_are_a_yaml_list() {
    let found = of(&[(
        "peers",
        "- remoteip: 192.0.2.9\n  remoteasn: 65001\n  password: czNjcmV0\n  localip: 192.0.2.1\n  port: 1179\n  bfd:\n    enabled: true\n    detection_multiplier: 5\n    required_min_rx_interval: 300\n- {remoteip: '2001:db8::9', remoteasn: 4200000000, port: 0, bfd: {enabled: false}}\n",
    )]);
    assert_eq!(found.problems, Vec::<String>::new());
    let [one, two] = &found.peers[..] else { panic!("{:?}", found.peers) };
    assert_eq!((one.address.to_string(), one.asn, one.port), ("192.0.2.9".into(), 65001, 1179));
    assert_eq!(one.password, Some(Password::new("s3cret").unwrap()));
    assert_eq!(one.local, Some("192.0.2.1".parse().unwrap()));
    let bfd = one.bfd.unwrap();
    assert_eq!((bfd.port, bfd.timing.multiplier), (3784, 5));
    assert_eq!(bfd.timing.required_min_rx, Duration::from_millis(300));
    assert_eq!(bfd.timing.desired_min_tx, Duration::from_secs(1));
    assert_eq!((two.asn, two.port, two.password.is_none(), two.bfd), (4_200_000_000, 179, true, None));
}

#[test]
fn an_item_that_is_wrong_leaves_the_others_and_never_shows_a_password() {
    let found = of(&[(
        "peers",
        "- {remoteip: 192.0.2.300, remoteasn: 1}\n- {remoteip: 192.0.2.9, remoteasn: 65001}\n- {remoteip: 192.0.2.8, remoteasn: 65001, pasword: czNjcmV0}\n- {remoteip: 192.0.2.7, remoteasn: 65001, password: 's3cret!'}\n- {remoteip: 192.0.2.9, remoteasn: 65002}\n",
    )]);
    assert_eq!(found.peers.len(), 1);
    let all = found.problems.join("\n");
    for part in [
        "item 1: remoteip",
        "item 3: ",
        "`pasword`",
        "item 4: the password is not base64",
        "192.0.2.9 is named twice",
    ] {
        assert!(all.contains(part), "{part} in {all}");
    }
    assert!(!all.contains("s3cret") && !all.contains("czNj"), "{all}");
    assert_eq!(of(&[("peers", "a: [")]).problems.len(), 1);
    assert_eq!(of(&[("peers", "")]).peers, []);
}

#[test]
fn no_mistake_in_the_list_shows_what_is_written_there() {
    let peer = "remoteip: 192.0.2.9\n  remoteasn: 65001";
    for (text, part) in [
        (format!("- {peer}\n    password: S3cr3t123456"), "no YAML list of peers (line 3"),
        (format!("- {peer}\n password: S3cr3t123456"), "no YAML list"),
        (format!("- {peer}\n  password: \"S3cr3t123456"), "no YAML list"),
        (format!("- {peer}\n  password: 'S3cr3t123456"), "no YAML list"),
        (format!("- {peer}\n  password: *S3cr3t123456"), "no YAML list"),
        (format!("- {peer}\n  password:\tS3cr3t123456: S3cr3t123456"), "no YAML list"),
        (format!("- {peer}\n  password: S3cr3t123456\n  password: S3cr3t123456"), "no YAML list"),
        (format!("- {peer}\n  S3cr3t123456: a\n  S3cr3t123456: b"), "no YAML list"),
        ("remoteip: 192.0.2.9\npassword: S3cr3t123456".into(), "no YAML list"),
        ("S3cr3t123456".into(), "no YAML list"),
        ("- S3cr3t123456".into(), "item 1: invalid type: string, expected"),
        ("- {remoteip: 192.0.2.9, remoteasn: 1, password S3cr3t123456}".into(), "item 1: unknown field"),
        ("- {remoteip: 192.0.2.9, remoteasn: 1, password:S3cr3t123456}".into(), "item 1: unknown field"),
        (
            "- {remoteip: 192.0.2.9, remoteasn: 1, password: [S3cr3t123456]}".into(),
            "password: invalid type: sequence",
        ),
        (
            "- {remoteip: 192.0.2.9, remoteasn: 1, password: {S3cr3t123456: 1}}".into(),
            "password: invalid type: map",
        ),
        (
            "- {remoteip: 192.0.2.9, remoteasn: 1, password: 123456}".into(),
            "password: invalid type: integer, expected a string",
        ),
        (
            "- {remoteip: 192.0.2.9, remoteasn: 1, password: 123456.5}".into(),
            "password: invalid type: floating point",
        ),
        (
            "- {remoteip: 192.0.2.9, remoteasn: 'a, expected S3cr3t123456'}".into(),
            "remoteasn: invalid type: string",
        ),
        ("- {remoteip: S3cr3t123456, remoteasn: 1}".into(), "remoteip: invalid IP address"),
        (
            "- {remoteip: 192.0.2.9, remoteasn: 1, port: 12345678}".into(),
            "port: invalid type: integer, expected u16",
        ),
        (
            "- {remoteip: 192.0.2.9, remoteasn: 1, tcpao: {sendid: 1, algorithm: S3cr3t123456}}".into(),
            "tcpao.algorithm: unknown value, expected",
        ),
        ("- {remoteip: 192.0.2.9, remoteasn: 1, bfd: S3cr3t123456}".into(), "bfd: invalid type: string"),
        ("- {remoteasn: 1, password: S3cr3t123456}".into(), "missing field `remoteip`"),
    ] {
        let found = of(&[("peers", &text)]);
        let [problem] = &found.problems[..] else { panic!("{text}: {:?}", found.problems) };
        assert!(problem.contains(part), "{part} in {problem}");
        assert!(!problem.contains("S3cr3t") && !problem.contains("123456"), "{problem}");
    }
}

#[test]
fn tcp_ao_takes_the_password_and_its_own_settings() {
    let found = of(&[(
        "peers",
        "- {remoteip: 192.0.2.9, remoteasn: 1, password: czNjcmV0, tcpao: {sendid: 7, recvid: 9, algorithm: aes-128-cmac-96}}\n- {remoteip: 192.0.2.8, remoteasn: 1, passwordkey: tor, tcpao: {sendid: 7}}\n- {remoteip: 192.0.2.7, remoteasn: 1, tcpao: {sendid: 7}}\n- {remoteip: 192.0.2.6, remoteasn: 1, password: czNjcmV0, tcpao: {sendid: 7, algorithm: md5}}\n- {remoteip: 192.0.2.5, remoteasn: 1, password: czNjcmV0, tcpao: {sendid: 256}}\n",
    )]);
    let [one, two] = &found.peers[..] else { panic!("{:?}", found.peers) };
    let key = |receive_id, algorithm| Signature::Ao(Key { send_id: 7, receive_id, algorithm });
    let signing = Password::new("s3cret").unwrap().signing(key(9, Algorithm::Aes128Cmac));
    assert_eq!(one.password, Some(signing));
    assert_eq!((&two.password, two.signature), (&None, key(7, Algorithm::HmacSha1)));
    let expected = ["item 3: tcpao signs with a password", "item 4: tcpao.algorithm", "item 5: tcpao.sendid"];
    assert_eq!(found.problems.len(), expected.len(), "{:?}", found.problems);
    for (problem, part) in found.problems.iter().zip(expected) {
        assert!(problem.contains(part), "{part} in {problem}");
    }
}

#[test]
fn the_older_lists_hold_where_there_is_no_yaml() {
    let lists = [
        ("peer.ips", "192.0.2.9, 192.0.2.8"),
        ("peer.asns", "65001,65002"),
        ("peer.ports", ",1179"),
        ("peer.passwords", "czNjcmV0,"),
        ("peer.localips", "192.0.2.1,"),
    ];
    let found = of(&lists);
    assert_eq!(found.problems, Vec::<String>::new());
    let [one, two] = &found.peers[..] else { panic!("{:?}", found.peers) };
    assert_eq!((one.port, two.port, one.asn, two.asn), (179, 1179, 65001, 65002));
    assert!(one.password.is_some() && two.password.is_none() && one.local.is_some() && two.local.is_none());
    let mut with_yaml = lists.to_vec();
    with_yaml.push(("peers", "[]"));
    assert_eq!(of(&with_yaml).peers, []);
}

#[test]
fn lists_of_different_lengths_name_no_peer() {
    let found = of(&[("peer.ips", "192.0.2.9,192.0.2.8"), ("peer.asns", "65001")]);
    assert_eq!(found.peers, []);
    assert!(found.problems[0].contains("1 items for the 2"), "{:?}", found.problems);
}

#[test]
fn a_reflector_is_named_by_a_number_or_an_address() {
    let id = Ipv4Addr::new(10, 0, 0, 1);
    assert_eq!(of(&[("rr.server", "10.0.0.1")]).role, Role::Server(id));
    assert_eq!(of(&[("rr.client", "167772161")]).role, Role::Client(id));
    assert_eq!(of(&[("rr.server", "42"), ("rr.client", "7")]).role, Role::Server(Ipv4Addr::from_bits(42)));
    let wrong = of(&[("rr.server", "x")]);
    assert_eq!((wrong.role, wrong.problems.len()), (Role::None, 1));
}

#[test]
fn communities_are_numbers_pairs_triples_and_names() {
    let found =
        of(&[("node.bgp.communities", "1, 64512:7,no-export, 64512:1:4294967295,1:2:3:4,70000:1,what")]);
    assert_eq!(found.communities.standard, [1, 64512 << 16 | 7, 0xffff_ff01]);
    assert_eq!(found.communities.large, [(64512, 1, u32::MAX)]);
    assert_eq!(found.problems.len(), 3, "{:?}", found.problems);
}

#[test]
fn the_rest_is_read_item_by_item() {
    let found = of(&[
        ("node.asn", " 64600 "),
        ("bgp-local-addresses", "192.0.2.1, 2001:db8::1,x"),
        ("node.bgp.customimportreject", "10.0.0.0/8, fd00::/8, 10.0.0.1/33"),
        ("path-prepend.as", "64600"),
        ("path-prepend.repeat-n", "3"),
    ]);
    assert_eq!((found.asn, found.local_addresses.len(), found.refuse.len()), (Some(64600), 2, 2));
    assert_eq!(found.prepend, Some(Prepend { asn: 64600, times: 3 }));
    assert_eq!(found.problems.len(), 2, "{:?}", found.problems);
    let half = of(&[("path-prepend.as", "64600")]);
    assert_eq!((half.prepend, half.problems.len()), (None, 1));
}
