//! What is written is read again; what nobody wrote does no harm.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netgauze_bgp_pkt::BgpMessage;
use netgauze_bgp_pkt::wire::deserializer::BgpParsingContext;
use netgauze_parse_utils::reader::SliceReader;
use netgauze_parse_utils::traits::ParseFromWithOneInput;
use prefix::{Family, Prefix};
use proptest::collection::vec;
use proptest::prelude::*;

use super::frame::{Frame, Framer, Kind};
use super::types::RawAttribute;
use super::{
    AsPath, Attributes, Capabilities, Context, LongLived, Message, Notification, Open, Origin,
    RestartCapability, Segment, encode_update, encode_withdrawals, end_of_rib,
};

const MODERN: Context = Context { four_octet_as: true, extended_next_hop: true, internal: true };

fn frames(bytes: &[u8]) -> Result<Vec<(Kind, Vec<u8>)>, Notification> {
    let mut framer = Framer::default();
    framer.push(bytes);
    let mut frames = Vec::new();
    while let Some(frame) = framer.take()? {
        frames.push((frame.kind, frame.body.to_vec()));
    }
    Ok(frames)
}

fn decode(bytes: &[u8], context: Context) -> Result<Message, Notification> {
    let frames = frames(bytes)?;
    assert_eq!(frames.len(), 1, "one message");
    Message::decode(Frame { kind: frames[0].0, body: &frames[0].1 }, context)
}

fn update(bytes: &[u8], context: Context) -> super::Update {
    match decode(bytes, context) {
        Ok(Message::Update(update)) => *update,
        other => panic!("no UPDATE but {other:?}"),
    }
}

fn any_segment() -> impl Strategy<Value = Segment> {
    (any::<bool>(), vec(1..=u32::MAX, 1..6))
        .prop_map(|(set, asns)| if set { Segment::Set(asns) } else { Segment::Sequence(asns) })
}

fn any_others() -> impl Strategy<Value = Vec<RawAttribute>> {
    vec((200..250_u8, any::<bool>(), vec(any::<u8>(), 0..300)), 0..3).prop_map(|list| {
        let mut others: Vec<RawAttribute> =
            list.into_iter().map(|(code, _, value)| RawAttribute { code, partial: true, value }).collect();
        others.sort();
        others.dedup_by_key(|one| one.code);
        others
    })
}

prop_compose! {
    fn any_attributes()(
        origin in prop_oneof![Just(Origin::Igp), Just(Origin::Egp), Just(Origin::Incomplete)],
        path in vec(any_segment(), 0..4),
        med in any::<Option<u32>>(),
        local_pref in any::<Option<u32>>(),
        communities in vec(any::<u32>(), 0..80),
        large in vec(any::<(u32, u32, u32)>(), 0..4),
        extended in vec(any::<[u8; 8]>(), 0..40),
        originator in any::<Option<u32>>(),
        clusters in vec(any::<u32>(), 0..3),
        atomic_aggregate in any::<bool>(),
        others in any_others(),
    ) -> Attributes {
        Attributes {
            origin,
            as_path: AsPath(path),
            med,
            local_pref,
            communities,
            large_communities: large,
            extended_communities: extended,
            originator_id: originator.map(Ipv4Addr::from),
            cluster_list: clusters.into_iter().map(Ipv4Addr::from).collect(),
            atomic_aggregate,
            others,
        }
    }
}

fn any_prefix(family: Family) -> impl Strategy<Value = Prefix> {
    (any::<u128>(), 0..=family.bits()).prop_map(move |(bits, length)| {
        let address = match family {
            // Unicast: nothing from 224 on.
            Family::V4 => IpAddr::from(Ipv4Addr::from(u32::try_from(bits % 0xe000_0000).unwrap())),
            Family::V6 => IpAddr::from(Ipv6Addr::from(bits >> 1)),
        };
        Prefix::new(address, length).unwrap()
    })
}

fn any_open() -> impl Strategy<Value = Open> {
    let families =
        prop_oneof![Just(vec![Family::V4]), Just(vec![Family::V6]), Just(vec![Family::V4, Family::V6])];
    let restart = (any::<bool>(), any::<bool>(), 0..4096_u16, vec((any::<bool>(), any::<bool>()), 0..2));
    (
        any::<u32>(),
        prop_oneof![Just(0), 3..=u16::MAX],
        1..0xe000_0000_u32,
        families,
        proptest::option::of(restart),
        (any::<[bool; 2]>(), proptest::option::of((any::<bool>(), 0..0x0100_0000_u32))),
    )
        .prop_map(|(asn, hold_time, id, families, restart, ([refresh, extended], long))| Open {
            asn,
            hold_time,
            router_id: id.into(),
            capabilities: Capabilities {
                families: families.into_iter().collect(),
                four_octet_as: true,
                route_refresh: refresh,
                enhanced_refresh: refresh && extended,
                graceful_restart: restart.map(|(restarting, notification, seconds, list)| {
                    RestartCapability {
                        restarting,
                        notification,
                        seconds,
                        families: list
                            .into_iter()
                            .map(|(v6, kept)| (if v6 { Family::V6 } else { Family::V4 }, kept))
                            .collect(),
                    }
                }),
                long_lived: long
                    .map(|(forwarding, seconds)| LongLived { family: Family::V6, forwarding, seconds })
                    .into_iter()
                    .collect(),
                extended_next_hop: extended,
            },
        })
}

proptest! {
    #[test]
    fn an_open_is_read_as_it_was_written(open in any_open()) {
        prop_assert_eq!(decode(&open.encode(), Context::default()), Ok(Message::Open(open)));
    }

    #[test]
    fn routes_are_read_as_they_were_written(
        attributes in any_attributes(),
        prefixes in prop_oneof![vec(any_prefix(Family::V4), 1..900), vec(any_prefix(Family::V6), 1..300)],
        v6_next_hop in any::<bool>(),
    ) {
        let family = prefixes[0].family();
        let next_hop: IpAddr = if v6_next_hop || family == Family::V6 {
            "2001:db8::1".parse().unwrap()
        } else {
            "192.0.2.1".parse().unwrap()
        };
        let messages = encode_update(&attributes, next_hop, &prefixes, MODERN).unwrap();
        let mut read = Vec::new();
        for bytes in &messages {
            prop_assert!(bytes.len() <= 4096);
            let mut update = update(bytes, MODERN);
            prop_assert_eq!(&update.faults, &Vec::<String>::new());
            prop_assert_eq!(&update.attributes, &attributes);
            prop_assert_eq!(update.reach.len(), 1);
            prop_assert_eq!(update.reach[0].next_hop, next_hop);
            read.append(&mut update.reach[0].prefixes);
        }
        prop_assert_eq!(read, prefixes);
    }

    #[test]
    fn another_codec_reads_the_same_in_what_was_written(
        attributes in any_attributes(),
        prefixes in vec(any_prefix(Family::V4), 1..900),
    ) {
        let attributes = Attributes { others: Vec::new(), ..attributes };
        let mut read = Vec::new();
        for bytes in encode_update(&attributes, "192.0.2.1".parse().unwrap(), &prefixes, MODERN).unwrap() {
            let mut context = BgpParsingContext::asn2_default();
            context.set_asn4(true);
            let message = BgpMessage::parse(&mut SliceReader::new(&bytes), &mut context).unwrap();
            let BgpMessage::Update(update) = message else { panic!("no UPDATE but {message:?}") };
            read.extend(update.nlri().iter().map(|one| one.network().to_string()));
            let mut expected = 3
                + usize::from(attributes.med.is_some())
                + usize::from(attributes.local_pref.is_some())
                + usize::from(attributes.originator_id.is_some())
                + usize::from(attributes.atomic_aggregate);
            expected += [
                attributes.communities.is_empty(),
                attributes.large_communities.is_empty(),
                attributes.extended_communities.is_empty(),
                attributes.cluster_list.is_empty(),
            ]
            .into_iter()
            .filter(|empty| !empty)
            .count();
            prop_assert_eq!(update.path_attributes().len(), expected);
        }
        prop_assert_eq!(read, prefixes.iter().map(ToString::to_string).collect::<Vec<_>>());
    }

    #[test]
    fn withdrawals_are_read_as_they_were_written(
        prefixes in prop_oneof![vec(any_prefix(Family::V4), 1..2000), vec(any_prefix(Family::V6), 1..600)],
    ) {
        let mut read = Vec::new();
        for bytes in encode_withdrawals(&prefixes) {
            prop_assert!(bytes.len() <= 4096);
            let mut update = update(&bytes, MODERN);
            prop_assert!(update.reach.is_empty() && update.end_of_rib.is_none());
            read.append(&mut update.withdrawn);
        }
        prop_assert_eq!(read, prefixes);
    }

    #[test]
    fn a_speaker_of_two_octets_gets_the_whole_path(attributes in any_attributes()) {
        let old = Context { four_octet_as: false, ..MODERN };
        let prefixes = ["10.0.0.0/8".parse().unwrap()];
        let messages = encode_update(&attributes, "192.0.2.1".parse().unwrap(), &prefixes, old).unwrap();
        prop_assert_eq!(&update(&messages[0], old).attributes.as_path, &attributes.as_path);
    }

    #[test]
    fn mutated_messages_never_panic_and_never_end_a_session_for_an_attribute(
        attributes in any_attributes(),
        prefixes in vec(any_prefix(Family::V4), 1..20),
        changes in vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
        internal in any::<bool>(),
    ) {
        let next_hop: IpAddr = "192.0.2.1".parse().unwrap();
        let mut bytes = encode_update(&attributes, next_hop, &prefixes, MODERN).unwrap().remove(0);
        let total = usize::from(u16::from_be_bytes([bytes[21], bytes[22]]));
        for (index, value) in changes {
            // Within the attributes only: their own lengths, flags, codes, values.
            let at = 23 + index.index(total);
            bytes[at] = value;
        }
        let context = Context { internal, ..MODERN };
        match decode(&bytes, context) {
            Ok(Message::Update(update)) => {
                let seen = update.withdrawn.len() + update.reach.iter().map(|one| one.prefixes.len()).sum::<usize>();
                prop_assert!(seen >= prefixes.len(), "a prefix was lost");
            }
            // A code may have become that of a multiprotocol attribute.
            Err(notification) => prop_assert_eq!(notification.code, 3),
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn garbage_never_panics(bytes in vec(any::<u8>(), 0..300), kind in 1..6_u8, internal in any::<bool>(), four in any::<bool>()) {
        let mut stream = vec![0xff; 16];
        stream.extend_from_slice(&u16::try_from(19 + bytes.len()).unwrap().to_be_bytes());
        stream.push(kind);
        stream.extend_from_slice(&bytes);
        let context = Context { four_octet_as: four, extended_next_hop: four, internal };
        if let Ok(frames) = frames(&stream) {
            for (kind, body) in frames {
                let _ = Message::decode(Frame { kind, body: &body }, context);
            }
        }
    }
}

/// An UPDATE of one IPv4 prefix with these attributes behind ORIGIN, AS_PATH and NEXT_HOP.
fn with_attributes(extra: &[u8]) -> Vec<u8> {
    let mut attributes = vec![0x40, 1, 1, 0, 0x40, 2, 0, 0x40, 3, 4, 192, 0, 2, 1];
    attributes.extend_from_slice(extra);
    let mut body = vec![0, 0];
    body.extend_from_slice(&u16::try_from(attributes.len()).unwrap().to_be_bytes());
    body.extend(attributes);
    body.extend_from_slice(&[8, 10]);
    super::frame::framed(super::frame::Kind::Update, &body)
}

#[test]
fn rfc_7606_says_which_mistake_costs_what() {
    enum Outcome {
        Kept,
        Withdrawn,
        Ended,
    }
    use Outcome::{Ended, Kept, Withdrawn};
    let external = Context { internal: false, ..MODERN };
    let cases: &[(&str, &[u8], Context, Outcome)] = &[
        ("MED of three octets", &[0x80, 4, 3, 0, 0, 1], MODERN, Withdrawn),
        ("ORIGIN twice", &[0x40, 1, 1, 2], MODERN, Kept),
        ("LOCAL_PREF of one octet inside the AS", &[0x40, 5, 1, 0], MODERN, Withdrawn),
        ("LOCAL_PREF of one octet from outside", &[0x40, 5, 1, 0], external, Kept),
        ("ATOMIC_AGGREGATE with a value", &[0x40, 6, 1, 0], MODERN, Kept),
        ("AGGREGATOR of the wrong length", &[0xc0, 7, 2, 0, 0], MODERN, Kept),
        ("communities of five octets", &[0xc0, 8, 5, 0, 0, 0, 0, 0], MODERN, Withdrawn),
        ("communities marked well-known", &[0x40, 8, 4, 0, 0, 0, 0], MODERN, Withdrawn),
        ("extended communities of seven octets", &[0xc0, 16, 7, 0, 0, 0, 0, 0, 0, 0], MODERN, Withdrawn),
        (
            "extended communities that are not transitive",
            &[0x80, 16, 8, 0, 2, 0, 0, 0, 0, 0, 1],
            MODERN,
            Withdrawn,
        ),
        ("extended communities", &[0xc0, 16, 8, 0, 2, 0, 0, 0, 0, 0, 1], MODERN, Kept),
        ("an attribute longer than the list", &[0xc0, 99, 200, 1], MODERN, Withdrawn),
        ("half an attribute header", &[0xc0], MODERN, Withdrawn),
        ("an unknown well-known attribute", &[0x40, 99, 0], MODERN, Withdrawn),
        ("an unknown optional attribute", &[0x80, 99, 0], MODERN, Kept),
        ("a family we do not speak", &[0x80, 15, 3, 0, 25, 70], MODERN, Kept),
        ("MP_UNREACH twice", &[0x80, 15, 3, 0, 2, 1, 0x80, 15, 3, 0, 2, 1], MODERN, Ended),
        ("MP_UNREACH with a broken prefix", &[0x80, 15, 5, 0, 2, 1, 200, 1], MODERN, Ended),
        (
            "MP_REACH with a next hop of five octets",
            &[0x80, 14, 10, 0, 2, 1, 5, 1, 2, 3, 4, 5, 0],
            MODERN,
            Ended,
        ),
    ];
    for (name, extra, context, outcome) in cases {
        let decoded = decode(&with_attributes(extra), *context);
        match (outcome, decoded) {
            (Kept, Ok(Message::Update(update))) => {
                assert_eq!((update.reach.len(), update.withdrawn.len()), (1, 0), "{name}");
            }
            (Withdrawn, Ok(Message::Update(update))) => {
                assert_eq!((update.reach.len(), update.withdrawn.len()), (0, 1), "{name}");
                assert!(!update.faults.is_empty(), "{name}");
            }
            (Ended, Err(notification)) => assert_eq!(notification.code, 3, "{name}"),
            (_, other) => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn a_mistake_in_an_update_that_tells_no_route_ends_the_session() {
    let origin: &[u8] = &[0x40, 1, 1, 9];
    let reach: &[u8] =
        &[0x80, 14, 21, 0, 2, 1, 16, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
    let with_prefix = [&[0x80, 14, 25][..], &reach[3..], &[24, 0x20, 1, 0xd]].concat();
    let other_family: &[u8] = &[0x80, 14, 5, 0, 25, 70, 0, 0];
    // With the withdrawn prefix 10.0.0.0/8, and no reachable one but in the attributes.
    let decoded = |attributes: &[&[u8]]| {
        let attributes = attributes.concat();
        let mut body = vec![0, 2, 8, 10, 0, u8::try_from(attributes.len()).unwrap()];
        body.extend(attributes);
        decode(&super::frame::framed(super::frame::Kind::Update, &body), MODERN)
    };
    for ended in [&[origin][..], &[origin, reach], &[&[0xc0, 99, 200, 1]], &[origin, &[0x80, 15, 3, 0, 2, 1]]]
    {
        assert_eq!(decoded(ended).map_err(|error| (error.code, error.subcode)), Err((3, 1)), "{ended:?}");
    }
    for (kept, withdrawn) in [(&[origin, &with_prefix][..], 2), (&[origin, other_family], 1)] {
        let Ok(Message::Update(update)) = decoded(kept) else { panic!("{kept:?} ended it") };
        assert_eq!((update.reach.len(), update.withdrawn.len()), (0, withdrawn), "{:?}", update.faults);
        assert!(!update.faults.is_empty());
    }
    // What is only dropped costs nothing.
    let Ok(Message::Update(update)) = decoded(&[&[0xc0, 7, 2, 0, 0]]) else { panic!("it ended") };
    assert_eq!((update.withdrawn.len(), update.faults.len()), (1, 1));
}

#[test]
fn routes_without_a_mandatory_attribute_count_as_withdrawn() {
    let whole: [&[u8]; 3] = [&[0x40, 1, 1, 0], &[0x40, 2, 0], &[0x40, 3, 4, 192, 0, 2, 1]];
    for missing in 0..whole.len() {
        let attributes: Vec<u8> = whole
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != missing)
            .flat_map(|(_, one)| one.to_vec())
            .collect();
        let mut body = vec![0, 0, 0, u8::try_from(attributes.len()).unwrap()];
        body.extend(attributes);
        body.extend_from_slice(&[8, 10]);
        let update = update(&super::frame::framed(super::frame::Kind::Update, &body), MODERN);
        assert_eq!((update.reach.len(), update.withdrawn.len()), (0, 1));
        assert!(update.faults[0].contains("is missing"), "{:?}", update.faults);
    }
}

#[test]
fn the_end_of_the_rib_is_told_for_each_family() {
    for family in Family::BOTH {
        let update = update(&end_of_rib(family), MODERN);
        assert_eq!(update.end_of_rib, Some(family));
    }
}

#[test]
fn an_ipv6_next_hop_for_ipv4_needs_the_capability() {
    let prefixes = ["10.0.0.0/8".parse().unwrap()];
    let next_hop: IpAddr = "2001:db8::1".parse().unwrap();
    let plain = Context { extended_next_hop: false, ..MODERN };
    assert_eq!(encode_update(&Attributes::default(), next_hop, &prefixes, plain), None);
    let bytes = encode_update(&Attributes::default(), next_hop, &prefixes, MODERN).unwrap().remove(0);
    assert!(decode(&bytes, plain).is_err());
    assert_eq!(update(&bytes, MODERN).reach[0].next_hop, next_hop);
}

#[test]
fn an_open_with_a_bad_field_is_answered_with_its_code() {
    let good = Open {
        asn: 64512,
        hold_time: 90,
        router_id: "192.0.2.1".parse().unwrap(),
        capabilities: Capabilities::default(),
    }
    .encode();
    for (at, value, subcode) in [(19, 3, 1), (23, 1, 6), (24, 0, 3)] {
        let mut bytes = good.clone();
        bytes[at] = value;
        if subcode == 6 {
            bytes[22] = 0;
        }
        if subcode == 3 {
            bytes[24..28].copy_from_slice(&[224, 0, 0, 1]);
        }
        let error = decode(&bytes, Context::default()).unwrap_err();
        assert_eq!((error.code, error.subcode), (2, subcode));
    }
}

#[test]
fn capabilities_of_an_unknown_family_are_passed_over() {
    let mut body = vec![4, 0xfc, 0, 0, 90, 192, 0, 2, 1];
    // Multiprotocol of AFI 16388 and of an AFI nobody knows, a private capability, then IPv6.
    let capabilities =
        [1, 4, 0x40, 0x04, 0, 71, 1, 4, 0xee, 0xee, 0, 1, 128, 0, 1, 4, 0, 2, 0, 1, 65, 4, 0, 1, 0, 0];
    body.push(u8::try_from(capabilities.len() + 2).unwrap());
    body.extend_from_slice(&[2, u8::try_from(capabilities.len()).unwrap()]);
    body.extend_from_slice(&capabilities);
    let Ok(Message::Open(open)) = decode(&super::frame::framed(super::frame::Kind::Open, &body), MODERN)
    else {
        panic!("the OPEN was refused");
    };
    assert_eq!(open.asn, 65536);
    assert_eq!(open.capabilities.families, [Family::V6].into());
}
