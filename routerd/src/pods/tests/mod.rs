//! The server with the plugin's own client and a cluster that takes notes.

mod hostile;
mod order;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cni_plugin::socket::{Attach, Client, Detach, Reply, Request};
use kernel::testing::TestNs;
use tempfile::TempDir;
use tokio::sync::{mpsc, oneshot};

use super::record::Records;
use super::registry::Registry;
use super::{Board, Pods, Reason, Refusal, Server, board};
use crate::cluster::objects::Attachment;

const PATIENCE: Duration = Duration::from_secs(20);

/// What the cluster is told, in order.
#[derive(Debug)]
enum Told {
    Attach(Attachment, oneshot::Sender<Result<(), Refusal>>),
    Detach(String),
    Restore(Vec<String>),
}

/// A cluster that tells the test everything and answers what the test says.
#[derive(Clone)]
struct Notes(mpsc::UnboundedSender<Told>, Option<&'static str>);

impl Pods for Notes {
    async fn attach(&self, attachment: Attachment) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Told::Attach(attachment, reply)).unwrap();
        answer.await.unwrap()
    }

    async fn detach(&self, container: String, _: String) {
        self.0.send(Told::Detach(container)).unwrap();
    }

    async fn restore(&self, attachments: Vec<Attachment>) {
        let containers = attachments.into_iter().map(|attachment| attachment.container).collect();
        self.0.send(Told::Restore(containers)).unwrap();
    }

    fn ready(&self) -> Result<(), String> {
        self.1.map_or(Ok(()), |reason| Err(reason.to_owned()))
    }
}

/// A daemon's folder and what its cluster is told.
struct Daemon {
    folder: TempDir,
    told: mpsc::UnboundedReceiver<Told>,
    board: Board,
    server: tokio::task::JoinHandle<()>,
}

impl Daemon {
    async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap()).await
    }

    async fn start_in(folder: TempDir) -> Self {
        let (sender, told) = mpsc::unbounded_channel();
        let board = board();
        let server = Server::start(folder.path(), Notes(sender, None), board.clone()).await.unwrap();
        Self { folder, told, board, server: tokio::spawn(server.run()) }
    }

    /// As after SIGKILL: only the folder stays.
    async fn restart(self) -> Self {
        self.server.abort();
        let _ = self.server.await;
        Self::start_in(self.folder).await
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("cni.sock")
    }

    fn records(&self) -> Vec<String> {
        let Ok(folder) = fs::read_dir(self.folder.path().join("attachments")) else { return Vec::new() };
        let mut names: Vec<String> =
            folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Asks as the plugin does, on a thread of its own.
    fn ask(&self, request: Request) -> tokio::task::JoinHandle<Reply> {
        let client = Client::new(self.socket());
        tokio::task::spawn_blocking(move || client.ask(&request, PATIENCE, PATIENCE).unwrap())
    }

    async fn next(&mut self) -> Told {
        tokio::time::timeout(PATIENCE, self.told.recv()).await.unwrap().unwrap()
    }

    async fn next_attach(&mut self) -> (Attachment, oneshot::Sender<Result<(), Refusal>>) {
        match self.next().await {
            Told::Attach(attachment, reply) => (attachment, reply),
            other => panic!("no attach: {other:?}"),
        }
    }
}

fn attach(container: &str, address: &str) -> Request {
    Request::Attach(Attach {
        pod_namespace: "shop".into(),
        pod_name: "web-0".into(),
        container_id: container.into(),
        interface: "eth0".into(),
        // A device that is there while the tests run.
        host_interface: "lo".into(),
        addresses: vec![address.parse().unwrap()],
        ..Attach::default()
    })
}

fn detach(container: &str) -> Request {
    Request::Detach(Detach { container_id: container.into(), interface: "eth0".into(), at: 0 })
}

fn message(reply: &Reply) -> &str {
    let Reply::Error(error) = reply else { panic!("no error: {reply:?}") };
    &error.msg
}

#[tokio::test]
async fn an_attach_is_answered_after_the_commit_and_recorded_before() {
    let mut daemon = Daemon::start().await;
    assert!(matches!(daemon.next().await, Told::Restore(list) if list.is_empty()));
    let answer = daemon.ask(attach("c1", "10.1.0.2"));
    let (attachment, reply) = daemon.next_attach().await;
    assert_eq!((attachment.pod.to_string().as_str(), attachment.uid), ("shop/web-0", None));
    assert_eq!(daemon.records(), ["c1@eth0.json"]);
    assert!(!answer.is_finished());
    reply.send(Ok(())).unwrap();
    assert_eq!(answer.await.unwrap(), Reply::Committed);
}

#[tokio::test]
async fn a_policy_that_is_not_committed_refuses_the_pod_and_forgets_it() {
    let mut daemon = Daemon::start().await;
    daemon.next().await;
    let answer = daemon.ask(attach("c1", "10.1.0.2"));
    daemon
        .next_attach()
        .await
        .1
        .send(Err(Refusal::new(Reason::NotCommitted, "the kernel is out of memory")))
        .unwrap();
    assert_eq!(message(&answer.await.unwrap()), "the kernel is out of memory");
    assert_eq!(daemon.records(), Vec::<String>::new());
}

#[tokio::test]
async fn attachments_outlive_a_killed_daemon_as_long_as_their_device() {
    let mut daemon = Daemon::start().await;
    daemon.next().await;
    let mut gone = attach("gone", "10.1.0.3");
    if let Request::Attach(attach) = &mut gone {
        attach.host_interface = "veth-not-there".into();
    }
    for request in [attach("c1", "10.1.0.2"), gone] {
        let answer = daemon.ask(request);
        daemon.next_attach().await.1.send(Ok(())).unwrap();
        answer.await.unwrap();
    }
    fs::write(daemon.folder.path().join("attachments/torn@eth0.json"), "{\"pod").unwrap();
    let mut daemon = daemon.restart().await;
    assert!(matches!(daemon.next().await, Told::Restore(list) if list == ["c1"]));
    assert_eq!(daemon.records(), ["c1@eth0.json"]);
}

#[tokio::test]
async fn a_detach_is_passed_on_also_for_what_is_unknown() {
    let mut daemon = Daemon::start().await;
    daemon.next().await;
    let answer = daemon.ask(attach("c1", "10.1.0.2"));
    daemon.next_attach().await.1.send(Ok(())).unwrap();
    answer.await.unwrap();
    for container in ["c1", "never"] {
        assert_eq!(daemon.ask(detach(container)).await.unwrap(), Reply::Detached);
        assert!(matches!(daemon.next().await, Told::Detach(told) if told == container));
    }
    assert_eq!(daemon.records(), Vec::<String>::new());
}

#[tokio::test]
async fn a_detach_that_overtakes_its_attach_leaves_nothing() {
    let mut daemon = Daemon::start().await;
    daemon.next().await;
    let answer = daemon.ask(attach("c1", "10.1.0.2"));
    let (_, reply) = daemon.next_attach().await;
    daemon.ask(detach("c1")).await.unwrap();
    assert!(matches!(daemon.next().await, Told::Detach(_)));
    reply.send(Ok(())).unwrap();
    assert!(matches!(daemon.next().await, Told::Detach(_)), "the cluster hears it after the attach too");
    assert!(message(&answer.await.unwrap()).contains("taken away"));
}

#[tokio::test]
async fn an_address_that_comes_again_ends_the_attachment_that_had_it() {
    let mut daemon = Daemon::start().await;
    daemon.next().await;
    for container in ["old", "new"] {
        let answer = daemon.ask(attach(container, "10.1.0.2"));
        if container == "new" {
            assert!(matches!(daemon.next().await, Told::Detach(told) if told == "old"));
        }
        daemon.next_attach().await.1.send(Ok(())).unwrap();
        assert_eq!(answer.await.unwrap(), Reply::Committed);
    }
    assert_eq!(daemon.records(), ["new@eth0.json"]);
}

#[tokio::test]
async fn a_slow_pod_does_not_hold_the_others() {
    let mut daemon = Daemon::start().await;
    daemon.next().await;
    let slow = daemon.ask(attach("slow", "10.1.0.2"));
    let (_, slow_reply) = daemon.next_attach().await;
    for number in 3..60 {
        let answer = daemon.ask(attach(&format!("c{number}"), &format!("10.1.0.{number}")));
        daemon.next_attach().await.1.send(Ok(())).unwrap();
        assert_eq!(answer.await.unwrap(), Reply::Committed);
    }
    assert!(!slow.is_finished());
    slow_reply.send(Ok(())).unwrap();
    assert_eq!(slow.await.unwrap(), Reply::Committed);
}

#[tokio::test]
async fn a_pod_that_cannot_be_named_or_kept_is_refused() {
    let mut daemon = Daemon::start().await;
    daemon.next().await;
    let nameless = Request::Attach(Attach { container_id: "c1".into(), ..Attach::default() });
    assert!(message(&daemon.ask(nameless).await.unwrap()).contains("K8S_POD_NAME"));
    let answer = daemon.ask(attach("../../escape", "10.1.0.2")).await.unwrap();
    assert!(message(&answer).contains("could leave the folder"), "{answer:?}");
    assert_eq!(
        daemon.ask(Request::Status).await.unwrap(),
        Reply::Status { ready: true, reason: String::new() }
    );
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn the_socket_is_roots_and_replaces_what_an_earlier_run_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cni.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    fs::write(folder.path().join("cni.sock-new"), "left by a crash").unwrap();
    let mut daemon = Daemon::start_in(folder).await;
    daemon.next().await;
    assert_eq!((mode(daemon.folder.path()), mode(&path)), (0o700, 0o600));
    assert!(matches!(daemon.ask(Request::Status).await.unwrap(), Reply::Status { .. }));
    let names: Vec<_> =
        fs::read_dir(daemon.folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["cni.sock"]);
}

#[tokio::test]
async fn a_folder_that_cannot_be_used_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("run"), "a file").unwrap();
    let (sender, _told) = mpsc::unbounded_channel();
    let error = Server::start(&folder.path().join("run"), Notes(sender, None), board())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("run/cni.sock") && error.contains("pods cannot be added"), "{error}");
}

#[test]
fn a_pod_whose_device_goes_without_a_del_is_taken_as_gone() {
    let (ns, folder) = (TestNs::new("sweep"), tempfile::tempdir().unwrap());
    ns.run("ip", &["link", "add", "veth7", "type", "veth", "peer", "name", "other"]);
    let records = Records::new(folder.path().join("attachments"));
    let Request::Attach(mut attach) = attach("c1", "10.1.0.2") else { panic!("no attach") };
    attach.host_interface = "veth7".into();
    records.write(&attach).unwrap();
    let (sender, mut told) = mpsc::unbounded_channel();
    let look = async {
        let mut registry = Registry::restore(records, Notes(sender, None), board()).await;
        registry.sweep().await;
        assert!(matches!(told.recv().await, Some(Told::Restore(list)) if list == ["c1"]));
        assert!(told.try_recv().is_err(), "its device is there");
        ns.run("ip", &["link", "del", "veth7"]);
        registry.sweep().await;
        assert!(matches!(told.recv().await, Some(Told::Detach(container)) if container == "c1"));
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    ns.run_in(|| runtime.block_on(look));
}
