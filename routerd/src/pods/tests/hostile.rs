//! Clients that mean harm, or do it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni_plugin::socket::{Reply, Request, encode, read_frame};

use super::{Daemon, PATIENCE, attach, message};
use crate::pods::{MOST_SILENT, MOST_WAITING};

/// Connects as soon as the queue of the socket has room.
fn connect(socket: &Path) -> UnixStream {
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return stream,
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

async fn raw_answer(socket: PathBuf, bytes: Vec<u8>) -> Option<Reply> {
    let talk = move || {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.write_all(&bytes).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        read_frame(&mut stream).ok()
    };
    tokio::task::spawn_blocking(talk).await.unwrap()
}

#[tokio::test]
async fn clients_that_talk_nonsense_are_told_so_and_disturb_nobody() {
    let mut daemon = Daemon::start().await;
    daemon.next().await;
    for (bytes, text) in [
        (vec![0xff; 64], "longer than the limit"),
        (b"\0\0\0\x02{}".to_vec(), "no version"),
        (b"\0\0\0\x0d{\"version\":9}".to_vec(), "version 9"),
        (b"\0\0\0\x20{\"version\"".to_vec(), "read a frame"),
        (Vec::new(), "read a frame"),
    ] {
        let reply = raw_answer(daemon.socket(), bytes).await.unwrap();
        assert!(message(&reply).contains(text), "{reply:?}");
    }
    assert_eq!(daemon.board.borrow().connections_refused["malformed"], 5);
    assert!(matches!(daemon.ask(Request::Status).await.unwrap(), Reply::Status { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_that_connect_and_say_little_or_nothing_keep_no_plugin_out() {
    let mut daemon = Daemon::start().await;
    daemon.next().await;
    let socket = daemon.socket();
    let crowd = tokio::task::spawn_blocking(move || {
        let mut crowd: Vec<UnixStream> = Vec::new();
        for number in 0..3000 {
            let mut stream = connect(&socket);
            // A part of a frame at most: a length without its body.
            drop(stream.write_all(&[0; 4][..number % 5]));
            crowd.push(stream);
            if crowd.len() > 2 * MOST_SILENT {
                // The longest silent were sent away: our own descriptors are not endless either.
                crowd.remove(0);
            }
        }
        crowd
    });
    for number in 2..30 {
        let answer = daemon.ask(attach(&format!("c{number}"), &format!("10.1.0.{number}")));
        daemon.next_attach().await.1.send(Ok(())).unwrap();
        assert_eq!(answer.await.unwrap(), Reply::Committed);
    }
    let mut crowd = crowd.await.unwrap();
    assert!(matches!(daemon.ask(Request::Status).await.unwrap(), Reply::Status { ready: true, .. }));
    assert!(daemon.board.borrow().connections_refused["crowded"] > 100);
    // Those of them that were sent away see the end of the connection.
    crowd[0].set_read_timeout(Some(PATIENCE)).unwrap();
    let end = crowd[0].read(&mut [0; 64]).map_err(|error| error.kind());
    // A reset is how the kernel ends one that has something unread.
    assert!(matches!(end, Ok(_) | Err(ErrorKind::ConnectionReset)), "{end:?}");
}

#[tokio::test]
async fn a_huge_frame_is_refused_by_its_length_and_never_read() {
    let mut daemon = Daemon::start().await;
    daemon.next().await;
    let socket = daemon.socket();
    let talk = move || {
        let mut stream = UnixStream::connect(socket).unwrap();
        stream.write_all(&u32::MAX.to_be_bytes()).unwrap();
        let reply = read_frame::<Reply>(&mut stream).unwrap();
        // More may follow: nobody listens.
        drop(stream.write_all(&vec![0; 1 << 20]));
        reply
    };
    let reply = tokio::task::spawn_blocking(talk).await.unwrap();
    assert!(message(&reply).contains("longer than the limit"), "{reply:?}");
    assert!(matches!(daemon.ask(Request::Status).await.unwrap(), Reply::Status { .. }));
}

#[tokio::test]
async fn more_plugins_than_may_wait_are_told_to_come_again_and_the_status_says_so() {
    let mut daemon = Daemon::start().await;
    daemon.next().await;
    let (mut streams, mut replies) = (Vec::new(), Vec::new());
    for number in 0..MOST_WAITING {
        let (high, low) = (number / 250, number % 250);
        let request = attach(&format!("c{number}"), &format!("10.{high}.0.{}", low + 2));
        let socket = daemon.socket();
        let send = move || {
            let mut stream = connect(&socket);
            stream.write_all(&encode(&request).unwrap()).unwrap();
            stream
        };
        streams.push(tokio::task::spawn_blocking(send).await.unwrap());
        replies.push(daemon.next_attach().await);
    }
    let refused = daemon.ask(attach("late", "10.9.9.9")).await.unwrap();
    assert!(message(&refused).contains("at once"), "{refused:?}");
    match daemon.ask(Request::Status).await.unwrap() {
        Reply::Status { ready: false, reason } => assert!(reason.contains("at once"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(daemon.board.borrow().refused["busy"], 1);
    for (_, reply) in replies {
        reply.send(Ok(())).unwrap();
    }
    let mut first = streams.swap_remove(0);
    let reply = tokio::task::spawn_blocking(move || read_frame::<Reply>(&mut first).unwrap()).await.unwrap();
    assert_eq!(reply, Reply::Committed);
}
