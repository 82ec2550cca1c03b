//! As `tc` sees it, and as it was written.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Qdisc, Redirect, TokenBucket, decode};
use crate::netlink::Message;
use crate::rtnl::{Batch, Link, LinkChange, LinkKind, NewLink, Rtnl, VethPeer};
use crate::testing::TestNs;

const BUCKET: TokenBucket = TokenBucket { rate: 125_000, buffer: 1_250_000, limit: 13_125 };

fn pair(namespace: &TestNs) -> (Rtnl, Link) {
    let mut rtnl = Rtnl::open_in(namespace.namespace()).unwrap();
    let peer = VethPeer { name: "b", ..VethPeer::default() };
    rtnl.create_link(&NewLink { up: true, ..NewLink::veth("a", peer) }).unwrap();
    let link = rtnl.link_by_name("a").unwrap().unwrap();
    (rtnl, link)
}

fn ifb(rtnl: &mut Rtnl) -> Link {
    let mut batch = Batch::new();
    let note = LinkChange { alias: Some("of a test"), ..LinkChange::default() };
    let block = NewLink { queue_length: Some(0), mtu: Some(1400), ..NewLink::ifb("block") };
    batch.create_link(&block).unwrap().change_link_named("block", &note).unwrap().look_up("block").unwrap();
    rtnl.run_for_link(&batch).unwrap()
}

#[test]
fn a_limit_is_read_back_as_it_was_written_and_tc_sees_it() {
    let namespace = TestNs::new("tbf");
    let (mut rtnl, link) = pair(&namespace);
    assert!(!rtnl.remove_limit(link.index).unwrap());
    rtnl.run(Batch::new().limit(link.index, &BUCKET)).unwrap();
    let found = rtnl.qdiscs(link.index).unwrap();
    assert_eq!(found.iter().find_map(|one| one.token_bucket), Some(BUCKET), "{found:?}");
    let seen = namespace.run("tc", &["qdisc", "show", "dev", "a"]);
    assert!(
        seen.contains("qdisc tbf 1: root") && seen.contains("rate 1Mbit burst 10000b lat 25ms"),
        "{seen}"
    );
    let again = rtnl.run(Batch::new().limit(link.index, &BUCKET)).unwrap_err();
    assert!(again.is_exists(), "{again}");
    assert!(rtnl.remove_limit(link.index).unwrap());
    assert!(!namespace.run("tc", &["qdisc", "show", "dev", "a"]).contains("tbf"));
}

#[test]
fn a_rate_beyond_32_bits_arrives_whole() {
    let namespace = TestNs::new("rate");
    let (mut rtnl, link) = pair(&namespace);
    let bucket = TokenBucket { rate: 12_500_000_000, buffer: 15_625, limit: u32::MAX };
    rtnl.run(Batch::new().limit(link.index, &bucket)).unwrap();
    assert_eq!(rtnl.qdiscs(link.index).unwrap()[0].token_bucket, Some(bucket));
    assert!(namespace.run("tc", &["qdisc", "show", "dev", "a"]).contains("rate 100Gbit"));
}

#[test]
fn arriving_packets_are_redirected_to_a_block_that_is_born_with_its_note() {
    let namespace = TestNs::new("ifb");
    let (mut rtnl, link) = pair(&namespace);
    let block = ifb(&mut rtnl);
    assert_eq!((&block.kind, block.alias.as_str(), block.mtu), (&LinkKind::Ifb, "of a test", 1400));
    assert_eq!(block.queue_length, 0);
    assert_eq!(rtnl.redirects(link.index).unwrap(), []);
    rtnl.run(Batch::new().redirect_arriving(link.index, block.index)).unwrap();
    assert_eq!(rtnl.redirects(link.index).unwrap(), [Redirect { target: block.index }]);
    assert_eq!(rtnl.redirect_targets().unwrap(), BTreeSet::from([block.index]));
    let seen = namespace.run("tc", &["filter", "show", "dev", "a", "parent", "ffff:"]);
    assert!(seen.contains("Egress Redirect to device block"), "{seen}");
    assert!(seen.contains("protocol all pref 1 u32") && seen.contains("match 00000000/00000000"), "{seen}");
    assert!(rtnl.qdiscs(link.index).unwrap().iter().any(Qdisc::is_of_arriving));
    assert!(rtnl.remove_redirect(link.index).unwrap());
    assert!(!rtnl.remove_redirect(link.index).unwrap());
    assert_eq!(rtnl.redirects(link.index).unwrap(), []);
}

#[test]
fn links_of_one_kind_are_found_among_others() {
    let namespace = TestNs::new("kind");
    let (mut rtnl, _) = pair(&namespace);
    assert_eq!(rtnl.links_of_kind(&LinkKind::Ifb).unwrap(), []);
    ifb(&mut rtnl);
    let found: Vec<String> =
        rtnl.links_of_kind(&LinkKind::Ifb).unwrap().into_iter().map(|link| link.name).collect();
    assert_eq!(found, ["block"]);
}

#[test]
fn of_a_batch_the_first_refusal_is_told() {
    let namespace = TestNs::new("batch");
    let (mut rtnl, link) = pair(&namespace);
    let mut batch = Batch::new();
    batch.create_link(&NewLink::ifb("a")).unwrap().limit(link.index, &BUCKET).limit(9999, &BUCKET);
    let error = rtnl.run(&batch).unwrap_err();
    assert!(error.is_exists() && error.operation.contains("create ifb a"), "{error}");
    assert!(rtnl.qdiscs(link.index).unwrap()[0].token_bucket.is_some(), "the kernel went on");
}

proptest! {
    #[test]
    fn no_bytes_make_the_decoders_panic(payload in proptest::collection::vec(any::<u8>(), 0..120)) {
        for kind in [36, 44] {
            let message = Message { kind, flags: 0, sequence: 0, port: 0, payload: payload.clone() };
            let _ = decode::redirects(std::slice::from_ref(&message));
            let _ = decode::qdiscs(&[message], 1);
        }
    }
}
