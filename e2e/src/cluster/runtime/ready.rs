//! Did a node stay Ready? The kubelet asks the plugin for its STATUS all the time and says NotReady when it does not answer well.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::super::http::Api;

/// How often is looked.
const PAUSE: Duration = Duration::from_millis(250);

/// Looks at the nodes until told to stop.
pub(super) struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<Looks>,
}

#[derive(Debug, Default)]
struct Looks {
    count: u64,
    /// When each node's state last changed, as it said at the first look.
    since: BTreeMap<String, String>,
    bad: Vec<String>,
}

impl Watch {
    /// Begins to look.
    pub(super) fn start(api: Api) -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut looks = Looks::default();
            while stopped.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                // An API that is slow for once says nothing of the nodes.
                if let Ok(nodes) = api.items("/api/v1/nodes") {
                    looks.take(&nodes);
                }
            }
            looks
        });
        Self { stop, thread }
    }

    /// Ends it: how often every node was seen Ready, or when one was not.
    pub(super) fn end(self) -> Result<String> {
        // The thread cannot have ended before.
        let _told = self.stop.send(());
        let Ok(looks) = self.thread.join() else { bail!("the thread that watches nodes ended badly") };
        ensure!(looks.count > 0, "the API did not show the nodes a single time");
        if let Some(first) = looks.bad.first() {
            bail!("{} of {} looks: {first}", looks.bad.len(), looks.count);
        }
        Ok(format!("Ready at each of {} looks, no change between them", looks.count))
    }
}

impl Looks {
    fn take(&mut self, nodes: &[Value]) {
        self.count += 1;
        for node in nodes {
            let name = node["metadata"]["name"].as_str().unwrap_or("?").to_owned();
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let Some(ready) = conditions.iter().find(|condition| condition["type"] == "Ready") else {
                continue;
            };
            let since = ready["lastTransitionTime"].as_str().unwrap_or_default().to_owned();
            if ready["status"] != "True" {
                self.bad.push(format!("{name} is not Ready: {}", ready["message"]));
            } else if self.since.entry(name.clone()).or_insert_with(|| since.clone()) != &since {
                self.bad.push(format!("{name} was not Ready for a moment before {since}"));
                self.since.insert(name, since);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(status: &str, since: &str) -> Value {
        json!({
            "metadata": { "name": "node1" },
            "status": { "conditions": [{ "type": "Ready", "status": status, "lastTransitionTime": since, "message": "m" }] },
        })
    }

    #[test]
    fn a_moment_that_was_missed_is_seen_by_its_time() {
        let mut looks = Looks::default();
        looks.take(&[node("True", "10:00")]);
        looks.take(&[node("True", "10:00")]);
        assert!(looks.bad.is_empty());
        looks.take(&[node("True", "10:01")]);
        assert_eq!(looks.bad, ["node1 was not Ready for a moment before 10:01"]);
        looks.take(&[node("False", "10:02")]);
        assert_eq!(looks.bad.len(), 2);
    }
}
