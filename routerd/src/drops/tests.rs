//! The task and the lines, with entries made by hand.

use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use kernel::nflog::{Entry, Flow, Packet, Transport};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, DuplexStream, duplex};
use tokio::sync::mpsc;

use super::ear::Heard;
use super::entry::Raw;
use super::*;
use crate::cluster::objects::{Attachment, Node, ObjectName};
use crate::cluster::task::{Settings, Task};
use crate::cluster::wire::{Wire, WirePod};
use crate::cluster::{Event, Index, Object};
use crate::policy::{Direction, Reason};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn packet(prefix: &str, port: u16) -> Packet {
    let transport = Some(Transport::Ports { source: 40_000, destination: port });
    let flow = Flow { source: ip("10.244.1.8"), destination: ip("10.244.1.7"), protocol: 6, transport };
    Packet {
        family: 1,
        hook: 2,
        time: Some(UNIX_EPOCH + Duration::from_secs(1)),
        prefix: prefix.to_owned(),
        input: None,
        output: None,
        physical_input: None,
        physical_output: None,
        flow: Some(flow),
    }
}

fn refused(port: u16) -> Entry {
    Entry::Packet(packet(&Reason::NotAdmitted.log_prefix(Direction::Ingress), port))
}

/// A desk that hears what it is told, on an index that has no complete view.
fn desk() -> (Drops, mpsc::Sender<Heard>) {
    let settings = Settings { node_name: "node1".into(), source: "nowhere".into(), patience: Duration::ZERO };
    let (task, ends) = Task::new(settings);
    tokio::spawn(task.run());
    let (say, heard) = mpsc::channel(16);
    (Drops::hearing(heard, ends.handle), say)
}

fn client(drops: &Drops, last: usize, follow: bool, room: usize) -> BufReader<DuplexStream> {
    let (ours, theirs) = duplex(room);
    let drops = drops.clone();
    tokio::spawn(async move {
        let (reader, writer) = tokio::io::split(theirs);
        serve(&drops, Wish { last, follow }, reader, writer).await
    });
    BufReader::new(ours)
}

async fn line(client: &mut BufReader<DuplexStream>) -> Value {
    let mut text = String::new();
    client.read_line(&mut text).await.unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Waits until the desk has read so many packets.
async fn until_read(drops: &Drops, count: u64) {
    while drops.status().read < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn the_last_lines_are_kept_and_older_ones_forgotten() {
    let (drops, say) = desk();
    for bunch in 0..30 {
        let entries = (0..100).map(|one| refused(bunch * 100 + one)).collect();
        say.send(Heard::Entries(entries)).await.unwrap();
    }
    until_read(&drops, 3000).await;
    let mut text = String::new();
    client(&drops, 3, false, 1 << 20).read_to_string(&mut text).await.unwrap();
    let ports: Vec<Value> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["port"].take()).collect();
    assert_eq!(ports, [json!(2997), json!(2998), json!(2999)]);
    text.clear();
    client(&drops, usize::MAX, false, 1 << 20).read_to_string(&mut text).await.unwrap();
    assert_eq!(text.lines().count(), 1024);
}

#[tokio::test]
async fn a_slow_follower_loses_lines_is_told_how_many_and_delays_nobody() {
    let (drops, say) = desk();
    let mut slow = client(&drops, 0, true, 64);
    let mut quick = client(&drops, 0, true, 1 << 24);
    // Both follow when they have seen one.
    let (mut seen, mut port) = ((false, false), 0);
    while seen != (true, true) {
        port += 1;
        say.send(Heard::Entries(vec![refused(port)])).await.unwrap();
        let hear = |client: &mut BufReader<DuplexStream>| {
            let ready = futures::FutureExt::now_or_never(client.fill_buf());
            ready.is_some_and(|bytes| !bytes.unwrap().is_empty())
        };
        tokio::time::sleep(Duration::from_millis(5)).await;
        seen = (hear(&mut slow), hear(&mut quick));
    }
    let more = 5000;
    for _ in 0..more / 100 {
        say.send(Heard::Entries((0..100).map(|_| refused(9)).collect())).await.unwrap();
    }
    until_read(&drops, u64::from(port) + more).await;
    let (mut shown, mut lost) = (0, 0);
    while shown + lost < more {
        let line = line(&mut slow).await;
        match line["lost"].as_u64() {
            Some(missing) => {
                assert_eq!(line["by"], "the reader");
                lost += missing;
            }
            None => shown += u64::from(line["port"] == 9),
        }
    }
    assert!(lost > 0 && shown > 0, "{shown} shown, {lost} lost");
    let mut quick_lines = 0;
    while quick_lines < more {
        let line = line(&mut quick).await;
        quick_lines += line["lost"].as_u64().unwrap_or_else(|| u64::from(line["port"] == 9));
    }
}

#[tokio::test]
async fn what_the_kernel_threw_away_and_why_nothing_is_read_are_lines_too() {
    let (drops, say) = desk();
    let mut follower = client(&drops, 10, true, 1 << 16);
    say.send(Heard::Begin).await.unwrap();
    say.send(Heard::Entries(vec![Entry::Lost(17), refused(80)])).await.unwrap();
    assert_eq!(line(&mut follower).await, json!({"lost": 17, "by": "routerd"}));
    assert_eq!(line(&mut follower).await["port"], 80);
    assert!(drops.status().reading && drops.status().lost == 17);
    say.send(Heard::Deaf("another reads it".into())).await.unwrap();
    assert_eq!(line(&mut follower).await, json!({"notice": "another reads it"}));
    assert!(!drops.status().reading);
    let mut late = client(&drops, 0, false, 1 << 16);
    assert_eq!(line(&mut late).await, json!({"notice": "another reads it"}), "also to who comes later");
}

#[test]
fn entries_of_others_rules_and_packets_that_are_no_ip_are_left_out() {
    assert_eq!(Raw::new(&packet("somebody else's: ", 80), UNIX_EPOCH), None);
    let mut unreadable = packet(&Reason::Orphan.log_prefix(Direction::Egress), 80);
    assert!(Raw::new(&unreadable, UNIX_EPOCH).is_some());
    unreadable.flow = None;
    assert_eq!(Raw::new(&unreadable, UNIX_EPOCH), None);
}

#[test]
fn a_line_has_what_there_is_of_names_ports_and_types() {
    let raw = Raw::new(&packet(&Reason::Failed.log_prefix(Direction::Egress), 443), UNIX_EPOCH).unwrap();
    let name = |address| (address == ip("10.244.1.7")).then(|| Name::Node { node: "node2".into() });
    let line: Value = serde_json::from_slice(Line::refused(&raw.named(name)).bytes()).unwrap();
    let expected = json!({
        "time": "1970-01-01T00:00:01.000Z", "direction": "egress",
        "pod": {"address": "10.244.1.8"}, "peer": {"address": "10.244.1.7", "node": "node2"},
        "protocol": "TCP", "port": 443, "source_port": 40000, "reason": "policy-failed",
        "message": "the pod is closed, because the kernel refused its policies",
    });
    assert_eq!(line, expected);
    let text = text::refused(&line);
    assert!(text.contains("10.244.1.8 ") && text.contains("node node2 (10.244.1.7)"), "{text}");
    let without_port = json!({"protocol": "47", "pod": {}, "peer": {}});
    assert!(text::refused(&without_port).contains(" 47 "), "{}", text::refused(&without_port));
}

#[test]
fn an_address_is_the_holders_else_the_claimants_else_the_nodes_and_of_several_nobodys() {
    let mut index = Index::new("node1");
    let pod = |name: &str, spec: &str, address: &str| {
        let text = format!(
            "metadata: {{name: {name}, namespace: default}}\nspec: {{{spec}}}\nstatus: {{podIP: {address}}}"
        );
        serde_saphyr::from_str::<WirePod>(&text).unwrap().convert().object.unwrap()
    };
    let attachment = Attachment {
        container: "c".into(),
        interface: "eth0".into(),
        pod: ObjectName::new("default", "new"),
        uid: None,
        netns: String::new(),
        host_device: String::new(),
        addresses: vec![ip("10.244.1.7")],
    };
    let node = Node { name: "node2".into(), internal_addresses: vec![ip("192.0.2.9")], ..Node::default() };
    for object in [
        pod("old", "", "10.244.1.7"),
        pod("a", "", "10.244.1.8"),
        pod("b", "", "10.244.1.9"),
        pod("c", "", "10.244.1.9"),
        pod("on-node", "hostNetwork: true", "192.0.2.9"),
        Object::Node(node),
    ] {
        index.apply(Event::Upsert(object));
    }
    index.apply(Event::Attach(attachment));
    let wanted = ["10.244.1.7", "10.244.1.8", "10.244.1.9", "192.0.2.9", "8.8.8.8"].map(ip);
    let names = names::look(&index, &wanted.into());
    let of_pod = |name: &str| Name::Pod { namespace: "default".into(), name: name.into() };
    assert_eq!(names.get(&wanted[0]), Some(&of_pod("new")), "a recycled address");
    assert_eq!(names.get(&wanted[1]), Some(&of_pod("a")));
    assert_eq!(names.get(&wanted[2]), None, "two claim it");
    assert_eq!(names.get(&wanted[3]), Some(&Name::Node { node: "node2".into() }));
    assert_eq!(names.len(), 3);
}

#[test]
fn wishes_survive_their_words_and_others_are_refused() {
    for wish in [Wish { last: 0, follow: true }, Wish { last: 100, follow: false }] {
        assert_eq!(Wish::parse(&wish.words()), Some(wish));
    }
    for words in ["", "x", "-1", "1 x", "1 follow x"] {
        assert_eq!(Wish::parse(words), None, "{words}");
    }
}
