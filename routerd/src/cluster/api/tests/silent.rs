//! A server that takes requests and does not answer them.

use kernel::testing::TestNs;

use super::*;

const NODES: &str = "/api/v1/nodes";
const ITEM: &str = "API server, watch of Node";

/// What a source waits for who is to lose patience soon.
const SHORT: Duration = Duration::from_secs(1);
/// What a source waits for who is not to lose patience, also on a busy machine.
const LONG: Duration = Duration::from_secs(4);

/// A world whose server is quiet at `path`.
async fn quiet_world(path: &str, quiet: Quiet, patience: Duration) -> World {
    let (content, _) = published::channel(Content::default());
    let (sender, messages) = mpsc::channel(64);
    let address = free_address().await;
    let server = ApiServer { master: Some(format!("http://{address}")), ..ApiServer::default() };
    let (_, ends) = Task::new(settings());
    drop(spawn_patient(server, sender, ends.handle, Writers::default(), patience));
    let world = World { content, messages, address };
    world.quiet(path, Some(quiet));
    world.listen().await;
    world
}

impl World {
    fn quiet(&self, path: &str, quiet: Option<Quiet>) {
        self.content.send_modify(|content| {
            content.quiet.remove(path);
            content.quiet.extend(quiet.map(|quiet| (path.to_owned(), quiet)));
        });
    }

    /// Waits until both is said and has come, in whatever order.
    async fn told_while_others_go_on(&mut self, text: &str, others: &[Kind]) {
        let (mut told, mut missing) = (0, others.to_vec());
        self.until(|message| {
            told += u8::from(says(message, ITEM, text) && says(message, ITEM, "tried again"));
            missing.retain(|kind| !is_complete(message, *kind, 0));
            told >= 2 && missing.is_empty()
        })
        .await;
    }
}

#[tokio::test]
async fn a_list_that_is_never_answered_is_told_and_asked_for_again_while_the_other_kinds_go_on() {
    let mut world = quiet_world(NODES, Quiet::Altogether, SHORT).await;
    let others: Vec<Kind> = Kind::ALL.into_iter().filter(|kind| *kind != Kind::Node).collect();
    world.told_while_others_go_on("no answer of the API server within 1 s", &others).await;
    world.quiet(NODES, None);
    world.until(|message| is_complete(message, Kind::Node, 0)).await;
}

#[tokio::test]
async fn a_list_that_stops_in_its_middle_is_told_and_asked_for_again() {
    let mut world = quiet_world(NODES, Quiet::AfterTheFirstPart, SHORT).await;
    world.told_while_others_go_on("nothing came for 1 s", &[]).await;
    world.quiet(NODES, None);
    world.until(|message| is_complete(message, Kind::Node, 0)).await;
}

#[tokio::test]
async fn a_list_may_take_long_while_parts_of_it_come() {
    let mut world = quiet_world(NODES, Quiet::BetweenParts(Duration::from_millis(700)), LONG).await;
    world
        .until(|message| {
            assert!(!says(message, ITEM, ""), "{message:?}");
            is_complete(message, Kind::Node, 0)
        })
        .await;
}

#[tokio::test]
async fn a_watch_that_is_never_begun_is_told_and_begun_again() {
    let watch = format!("{PODS}?watch");
    let mut world = quiet_world(&watch, Quiet::Altogether, SHORT).await;
    let item = "API server, watch of Pod";
    let mut listed = false;
    world
        .until(|message| {
            listed |= is_complete(message, Kind::Pod, 0);
            listed && says(message, item, "no answer of the API server within 1 s")
        })
        .await;
    world.quiet(&watch, None);
    world.event("ADDED", &pod("a", 2, "10.244.1.2"));
    world.until(|message| shows(message, "a")).await;
}

#[tokio::test]
async fn a_watch_in_which_nothing_happens_is_left_alone() {
    let mut world = quiet_world(NODES, Quiet::BetweenParts(Duration::ZERO), LONG).await;
    world.until(|message| is_complete(message, Kind::Pod, 0)).await;
    tokio::time::sleep(LONG + SHORT).await;
    world.event("ADDED", &pod("a", 2, "10.244.1.2"));
    world
        .until(|message| {
            assert!(!says(message, "API server, watch of Pod", ""), "{message:?}");
            shows(message, "a")
        })
        .await;
}

#[test]
fn a_running_watch_whose_server_is_gone_without_a_word_is_told_and_begun_again() {
    let namespace = TestNs::new("api-gone");
    namespace.run_in(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = quiet_world(NODES, Quiet::BetweenParts(Duration::ZERO), LONG).await;
            world.event("ADDED", &pod("a", 2, "10.244.1.2"));
            world.until(|message| shows(message, "a")).await;
            let rules = "add table inet cut; add chain inet cut c { type filter hook output priority 0; }; add rule inet cut c meta l4proto tcp drop";
            namespace.run("nft", &[rules]);
            world.until(|message| says(message, "API server, watch of Pod", "timed out")).await;
            world.event("ADDED", &pod("b", 3, "10.244.1.3"));
            namespace.run("nft", &["delete table inet cut"]);
            world.until(|message| shows(message, "b")).await;
        });
    });
}
