//! The way of what speakers learn into the index, one speaker after the other.

use std::collections::BTreeSet;
use std::time::Duration;

use bgp::RibEvent;
use prefix::{Hops, Prefix};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::link::Link;
use crate::cluster::objects::LearntRoute;

/// Whose word counts from now on. What was told before is heard to its end first.
#[derive(Debug)]
pub(super) enum Feed {
    /// That of this speaker.
    Speaker(mpsc::Receiver<Vec<RibEvent>>),
    /// Nobody's: there is no speaker, and none is to come.
    Nobody,
}

/// Hands on what speakers learn, until no more can come. What one knew when it ended stays for `grace`, as over a restart, so that
/// the next one may learn it again; with [`Feed::Nobody`] it is lost at once, and not at all at the end of the daemon: its routes
/// stay in the kernel.
pub(super) async fn forward(
    mut feeds: mpsc::UnboundedReceiver<Feed>,
    routes: mpsc::Sender<Vec<LearntRoute>>,
    link: Link,
    grace: Duration,
) {
    let (mut held, mut events) = (Held::default(), None);
    loop {
        let batch = tokio::select! {
            batch = next(&mut events) => if let Some(batch) = batch {
                held.learn(batch)
            } else {
                events = None;
                held.ended(Instant::now() + grace);
                Vec::new()
            },
            feed = feeds.recv(), if events.is_none() => match feed {
                Some(Feed::Speaker(speaker)) => {
                    events = Some(speaker);
                    Vec::new()
                }
                Some(Feed::Nobody) => held.lose(),
                None => return,
            },
            () = passed(held.until) => held.lose(),
        };
        if link.is_ending() || (!batch.is_empty() && routes.send(batch).await.is_err()) {
            return;
        }
    }
}

async fn next(events: &mut Option<mpsc::Receiver<Vec<RibEvent>>>) -> Option<Vec<RibEvent>> {
    match events {
        Some(events) => events.recv().await,
        None => std::future::pending().await,
    }
}

async fn passed(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

/// What the index has been told.
#[derive(Debug, Default)]
struct Held {
    /// By the speaker that runs.
    known: BTreeSet<Prefix>,
    /// By one that has ended, and by none since.
    kept: BTreeSet<Prefix>,
    /// For how long the latter stays.
    until: Option<Instant>,
}

impl Held {
    fn learn(&mut self, batch: Vec<RibEvent>) -> Vec<LearntRoute> {
        let learnt = |RibEvent { prefix, next_hops, .. }| {
            self.kept.remove(&prefix);
            let _ = if next_hops.is_empty() { self.known.remove(&prefix) } else { self.known.insert(prefix) };
            LearntRoute { prefix, next_hops }
        };
        batch.into_iter().map(learnt).collect()
    }

    fn ended(&mut self, until: Instant) {
        self.kept.append(&mut self.known);
        self.until = Some(until);
    }

    fn lose(&mut self) -> Vec<LearntRoute> {
        self.until = None;
        let kept = std::mem::take(&mut self.kept).into_iter();
        kept.map(|prefix| LearntRoute { prefix, next_hops: Hops::default() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(1);
    const PATIENCE: Duration = Duration::from_mins(1);

    struct World {
        feeds: mpsc::UnboundedSender<Feed>,
        routes: mpsc::Receiver<Vec<LearntRoute>>,
        link: Link,
    }

    fn world(grace: Duration) -> World {
        let (feeds, receiver) = mpsc::unbounded_channel();
        let (sender, routes) = mpsc::channel(64);
        let link = Link::new();
        tokio::spawn(forward(receiver, sender, link.clone(), grace));
        World { feeds, routes, link }
    }

    impl World {
        /// A speaker that has told that, and ends with what is returned.
        fn speaker(&self, told: &[(&str, bool)]) -> mpsc::Sender<Vec<RibEvent>> {
            let (sender, receiver) = mpsc::channel(8);
            let hop = std::net::IpAddr::from([192, 0, 2, 2]);
            for (prefix, there) in told {
                let next_hops: Hops<std::net::IpAddr> = there.then_some(hop).into_iter().collect();
                let prefix = prefix.parse().unwrap();
                sender.try_send(vec![RibEvent { prefix, next_hops, peer: None }]).unwrap();
            }
            self.feeds.send(Feed::Speaker(receiver)).unwrap();
            sender
        }

        async fn next(&mut self) -> Vec<(String, bool)> {
            let batch = tokio::time::timeout(PATIENCE, self.routes.recv()).await.expect("nothing came");
            batch
                .unwrap()
                .into_iter()
                .map(|route| (route.prefix.to_string(), !route.next_hops.is_empty()))
                .collect()
        }

        async fn tells(&mut self, expected: &[(&str, bool)]) {
            for (prefix, there) in expected {
                assert_eq!(self.next().await, [((*prefix).to_owned(), *there)]);
            }
        }
    }

    #[tokio::test]
    async fn what_the_next_speaker_does_not_learn_again_is_lost_when_the_grace_is_over() {
        let mut world = world(GRACE);
        drop(world.speaker(&[("10.2.0.0/24", true), ("10.3.0.0/24", true)]));
        let start = Instant::now();
        let _second = world.speaker(&[("10.3.0.0/24", true)]);
        world.tells(&[("10.2.0.0/24", true), ("10.3.0.0/24", true), ("10.3.0.0/24", true)]).await;
        world.tells(&[("10.2.0.0/24", false)]).await;
        assert!(start.elapsed() >= GRACE, "{:?}", start.elapsed());
    }

    #[tokio::test]
    async fn the_last_words_of_a_speaker_come_before_the_first_ones_of_the_next() {
        let mut world = world(PATIENCE);
        let first = world.speaker(&[("10.2.0.0/24", true)]);
        let _second = world.speaker(&[("10.2.0.0/24", true)]);
        world.tells(&[("10.2.0.0/24", true)]).await;
        let prefix = "10.2.0.0/24".parse().unwrap();
        let gone = RibEvent { prefix, next_hops: Hops::default(), peer: None };
        first.send(vec![gone]).await.unwrap();
        drop(first);
        world.tells(&[("10.2.0.0/24", false), ("10.2.0.0/24", true)]).await;
    }

    #[tokio::test]
    async fn without_another_speaker_all_is_lost_at_once_and_at_the_end_of_the_daemon_nothing() {
        for ending in [false, true] {
            let mut world = world(2 * PATIENCE);
            let speaker = world.speaker(&[("10.2.0.0/24", true)]);
            world.tells(&[("10.2.0.0/24", true)]).await;
            if ending {
                world.link.stop().await;
            }
            drop(speaker);
            let _ = world.feeds.send(Feed::Nobody);
            if ending {
                assert_eq!(world.routes.recv().await, None);
            } else {
                world.tells(&[("10.2.0.0/24", false)]).await;
            }
        }
    }
}
