//! What a peer is told, as it reads it.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::packet::Message;
use crate::packet::frame::Framer;

/// A client that we reflect to, and what it has heard.
struct Client {
    config: PeerConfig,
    agreed: Agreed,
    out: AdjOut,
    heard: BTreeMap<Prefix, (IpAddr, Attributes)>,
}

impl Client {
    fn new(rib: &Rib) -> Self {
        let context = Context { four_octet_as: true, internal: true, ..Context::default() };
        Self {
            config: PeerConfig {
                reflector_client: Some(Ipv4Addr::new(192, 0, 2, 5)),
                export: ExportRules::transit(),
                ..PeerConfig::new(ip(9), 64512)
            },
            agreed: Agreed { context, ..agreed() },
            out: AdjOut::new(rib.prefixes()),
            heard: BTreeMap::new(),
        }
    }

    fn exports(&self) -> Exports<'_> {
        Exports::new(view(&self.config, &self.agreed))
    }

    fn take_out(&mut self, change: impl FnOnce(&mut AdjOut, &Self)) {
        let mut out = std::mem::take(&mut self.out);
        change(&mut out, self);
        self.out = out;
    }

    fn touch(&mut self, change: Option<Change>) {
        if let Some(change) = change {
            self.out.touch(&change);
        }
    }

    /// Makes it hear what it is told next; how many messages these are.
    fn hear(&mut self, rib: &Rib) -> usize {
        let mut told = None;
        self.take_out(|out, client| told = out.batch(rib, &mut client.exports()));
        let mut framer = Framer::default();
        framer.push(&told.unwrap_or_default());
        let mut messages = 0;
        while let Some(frame) = framer.take().unwrap() {
            messages += 1;
            let Message::Update(update) = Message::decode(frame, self.agreed.context).unwrap() else {
                continue;
            };
            for prefix in update.withdrawn {
                assert!(self.heard.remove(&prefix).is_some(), "{prefix} is withdrawn, which was never told");
            }
            for reach in update.reach {
                let route = (reach.next_hop, update.attributes.clone());
                self.heard.extend(reach.prefixes.into_iter().map(|prefix| (prefix, route.clone())));
            }
        }
        messages
    }

    fn change_rules(&mut self, rib: &Rib, communities: Vec<u32>) {
        let mut old = self.config.clone();
        self.config.export.communities.standard = communities;
        std::mem::swap(&mut old, &mut self.config);
        self.take_out(|out, client| {
            let mut after = Exports::new(view(&old, &client.agreed));
            out.rules_changed(rib, &mut client.exports(), &mut after);
        });
        self.config = old;
    }

    fn refresh(&mut self, rib: &Rib, family: Family, marked: bool) {
        self.take_out(|out, client| out.refresh(family, marked, rib, &mut client.exports()));
    }

    /// What it should have heard.
    fn expected(&self, rib: &Rib) -> BTreeMap<Prefix, (IpAddr, Attributes)> {
        let of = |prefix: &Prefix| {
            let best = rib.best(prefix)?;
            let route = export(&view(&self.config, &self.agreed), prefix.family(), best)?;
            Some((*prefix, (route.next_hop, route.attributes)))
        };
        rib.prefixes().filter_map(of).collect()
    }
}

#[test]
fn a_peer_is_told_the_newest_state_and_nothing_twice() {
    let (mut rib, prefix) = (Rib::default(), net("10.0.0.0/8"));
    let mut client = Client::new(&rib);
    assert_eq!(client.hear(&rib), 0);
    let put = |rib: &mut Rib, client: &mut Client, med: u32| {
        let change = rib.put(prefix, path(1, |attributes, _| attributes.med = Some(med)));
        client.touch(change);
    };
    put(&mut rib, &mut client, 1);
    client.out.finish(Family::V4);
    assert_eq!(client.hear(&rib), 2, "the route and the end");
    put(&mut rib, &mut client, 2);
    assert_eq!(client.hear(&rib), 0, "one batch at a time");
    put(&mut rib, &mut client, 3);
    client.out.written();
    assert_eq!(client.hear(&rib), 1, "two changes, one message");
    client.out.written();
    put(&mut rib, &mut client, 4);
    put(&mut rib, &mut client, 3);
    assert_eq!(client.hear(&rib), 0, "there and back");
    client.change_rules(&rib, Vec::new());
    assert_eq!(client.hear(&rib), 0, "rules that mean the same here");
    client.change_rules(&rib, vec![7]);
    assert_eq!(client.hear(&rib), 1, "rules that make another route of the same path");
    client.out.written();
    for (marked, messages) in [(false, 1), (true, 3)] {
        client.refresh(&rib, Family::V4, marked);
        assert_eq!(client.hear(&rib), messages, "asked to repeat, with marks around it or without");
        client.out.written();
    }
    client.refresh(&rib, Family::V6, true);
    assert_eq!(client.hear(&rib), 0, "no marks before the first end");
    let change = rib.remove(&prefix, Source::Internal(ip(1))).unwrap();
    client.out.touch(&change);
    assert_eq!((client.hear(&rib), client.out.count().all()), (1, 0));
    client.out.written();
    put(&mut rib, &mut client, 1);
    client.out.touch(&rib.remove(&prefix, Source::Internal(ip(1))).unwrap());
    assert_eq!((client.hear(&rib), client.out.count().all()), (0, 0), "gone before it was told");
}

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8, u32),
    Remove(u8, u8),
    Rules(Vec<u32>),
    Refresh,
    Hear,
    Written,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        // The last peer is the client itself, which hears nothing of its own.
        6 => (0..3_u8, 7..10_u8, 0..2_u32).prop_map(|(prefix, peer, med)| Step::Put(prefix, peer, med)),
        3 => (0..3_u8, 7..10_u8).prop_map(|(prefix, peer)| Step::Remove(prefix, peer)),
        1 => vec(1..3_u32, 0..2).prop_map(Step::Rules),
        1 => Just(Step::Refresh),
        3 => Just(Step::Hear),
        3 => Just(Step::Written),
    ]
}

proptest! {
    #[test]
    fn a_peer_knows_in_the_end_what_its_rules_make_of_the_table(steps in vec(any_step(), 0..60), there in any::<bool>()) {
        let nets = [net("10.0.0.0/8"), net("10.1.0.0/16"), net("192.0.2.0/24")];
        let mut rib = Rib::default();
        if there {
            rib.put(nets[0], path(7, |_, _| {}));
        }
        let mut client = Client::new(&rib);
        for step in steps {
            let change = match step {
                Step::Put(prefix, peer, med) => {
                    rib.put(nets[usize::from(prefix)], path(peer, |attributes, _| attributes.med = Some(med)))
                }
                Step::Remove(prefix, peer) => rib.remove(&nets[usize::from(prefix)], Source::Internal(ip(peer))),
                Step::Rules(communities) => {
                    client.change_rules(&rib, communities);
                    None
                }
                Step::Refresh => {
                    client.refresh(&rib, Family::V4, false);
                    None
                }
                Step::Hear => {
                    client.hear(&rib);
                    None
                }
                Step::Written => {
                    client.out.written();
                    None
                }
            };
            client.touch(change);
        }
        client.out.written();
        client.hear(&rib);
        client.out.written();
        prop_assert_eq!(&client.heard, &client.expected(&rib));
        prop_assert_eq!(client.out.count().all(), client.heard.len());
        prop_assert_eq!(client.hear(&rib), 0, "nothing is told twice");
    }
}
