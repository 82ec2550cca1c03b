//! ADD and DEL of one pod in every order, and what the status says.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;

use cni_plugin::socket::{Attach, Client, Detach, Reply, Request, encode, moment};

use super::{Daemon, Notes, PATIENCE, Told, attach, message};
use crate::pods::record::Records;
use crate::pods::registry::Registry;
use crate::pods::{Server, board};

/// An attach of an ADD that began at `started`.
fn begun(container: &str, started: u64) -> Request {
    let Request::Attach(attach) = attach(container, "10.1.0.2") else { panic!("no attach") };
    Request::Attach(Attach { started, ..attach })
}

fn ended(container: &str, at: u64) -> Request {
    Request::Detach(Detach { container_id: container.into(), interface: "eth0".into(), at })
}

#[tokio::test]
async fn an_add_that_a_del_has_overtaken_is_refused_though_its_word_comes_later() {
    let mut daemon = Daemon::start().await;
    daemon.next().await;
    let (before, del, after) = (moment(), moment() + 1_000, moment() + 2_000);
    daemon.ask(ended("c1", del)).await.unwrap();
    assert!(matches!(daemon.next().await, Told::Detach(_)));
    let refused = daemon.ask(begun("c1", before)).await.unwrap();
    assert!(message(&refused).contains("taken away"), "{refused:?}");
    assert_eq!(daemon.records(), Vec::<String>::new());
    assert_eq!(daemon.board.borrow().refused["detached"], 1);
    // The same id again, after the DEL.
    let answer = daemon.ask(begun("c1", after));
    daemon.next_attach().await.1.send(Ok(())).unwrap();
    assert_eq!(answer.await.unwrap(), Reply::Committed);
}

#[tokio::test]
async fn a_del_that_is_heard_late_does_not_end_the_add_that_began_after_it() {
    let mut daemon = Daemon::start().await;
    daemon.next().await;
    let (del, add) = (moment(), moment() + 1_000);
    let answer = daemon.ask(begun("c1", add));
    daemon.next_attach().await.1.send(Ok(())).unwrap();
    answer.await.unwrap();
    assert_eq!(daemon.ask(ended("c1", del)).await.unwrap(), Reply::Detached);
    assert_eq!(daemon.records(), ["c1@eth0.json"]);
    daemon.ask(ended("c1", add + 1)).await.unwrap();
    assert!(matches!(daemon.next().await, Told::Detach(_)), "nothing was told of the first");
    assert_eq!(daemon.records(), Vec::<String>::new());
}

#[tokio::test]
async fn an_add_that_comes_twice_is_answered_twice() {
    let mut daemon = Daemon::start().await;
    daemon.next().await;
    let answers = [daemon.ask(begun("c1", 0)), daemon.ask(begun("c1", 0))];
    let replies = [daemon.next_attach().await.1, daemon.next_attach().await.1];
    for reply in replies {
        reply.send(Ok(())).unwrap();
    }
    for answer in answers {
        assert_eq!(answer.await.unwrap(), Reply::Committed);
    }
    assert_eq!(daemon.board.borrow().attachments, 1);
    assert_eq!(daemon.board.borrow().latency.count, 2);
}

#[tokio::test]
async fn what_a_plugin_said_and_did_not_wait_for_is_not_attached() {
    let mut daemon = Daemon::start().await;
    daemon.next().await;
    let mut stream = UnixStream::connect(daemon.socket()).unwrap();
    stream.write_all(&encode(&begun("c1", 0)).unwrap()).unwrap();
    drop(stream);
    while daemon.board.borrow().connections_refused.get("gone") != Some(&1) {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(daemon.records(), Vec::<String>::new());
}

#[tokio::test]
async fn an_address_whose_lease_is_anothers_by_now_is_not_attached() {
    let mut daemon = Daemon::start().await;
    daemon.next().await;
    let leases = tempfile::tempdir().unwrap();
    fs::write(leases.path().join("10.1.0.2"), "c2\r\neth0").unwrap();
    let request = |container: &str| {
        let Request::Attach(attach) = attach(container, "10.1.0.2") else { panic!("no attach") };
        Request::Attach(Attach { leases: leases.path().into(), ..attach })
    };
    let refused = daemon.ask(request("c1")).await.unwrap();
    assert!(message(&refused).contains("10.1.0.2") && message(&refused).contains("lease"), "{refused:?}");
    let answer = daemon.ask(request("c2"));
    daemon.next_attach().await.1.send(Ok(())).unwrap();
    assert_eq!(answer.await.unwrap(), Reply::Committed);
}

#[tokio::test]
async fn of_two_records_with_one_address_the_lease_store_says_which_is_over() {
    let (folder, leases) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let records = Records::new(folder.path().join("attachments"));
    // The one that began later is the stale one here: the store knows better than the time.
    fs::write(leases.path().join("10.1.0.2"), "truth\r\neth0").unwrap();
    for (container, started) in [("truth", 1), ("stale", 2)] {
        let Request::Attach(attach) = attach(container, "10.1.0.2") else { panic!("no attach") };
        records.write(&Attach { started, leases: leases.path().into(), ..attach }).unwrap();
    }
    let (sender, mut told) = tokio::sync::mpsc::unbounded_channel();
    Registry::restore(records, Notes(sender, None), board()).await;
    assert!(matches!(told.recv().await, Some(Told::Restore(list)) if list == ["truth"]));
}

#[tokio::test]
async fn the_status_is_ready_only_when_an_attach_would_be_served() {
    let folder = tempfile::tempdir().unwrap();
    let (sender, _told) = tokio::sync::mpsc::unbounded_channel();
    let board = board();
    let mut watched = board.subscribe();
    let server = Server::start(folder.path(), Notes(sender, Some("policy: no memory")), board).await.unwrap();
    let server = tokio::spawn(server.run());
    let client = Client::new(folder.path().join("cni.sock"));
    let ask = move || client.ask(&Request::Status, PATIENCE, PATIENCE).unwrap();
    let reply = tokio::task::spawn_blocking(ask).await.unwrap();
    assert_eq!(reply, Reply::Status { ready: false, reason: "policy: no memory".into() });
    watched.wait_for(|status| status.reason == "policy: no memory").await.unwrap();
    server.abort();
}
