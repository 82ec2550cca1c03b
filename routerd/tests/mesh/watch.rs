//! Whatever is deleted of a node's routes, at any moment.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use crate::lab::Node;

/// Watches a node's routes of protocol 179, until [`Watch::deleted`] or its end.
pub(crate) struct Watch(Child);

impl Drop for Watch {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Watch {
    pub(crate) fn start(node: &Node) -> Self {
        let mut command = node.ns.command("ip");
        let watch = Self(command.args(["monitor", "route"]).stdout(Stdio::piped()).spawn().unwrap());
        // It does not say when it listens.
        std::thread::sleep(Duration::from_millis(200));
        watch
    }

    /// What was deleted, a line for each.
    pub(crate) fn deleted(mut self) -> Vec<String> {
        self.0.kill().unwrap();
        let said = BufReader::new(self.0.stdout.take().unwrap());
        let ours = |line: &String| line.starts_with("Deleted") && line.contains("proto 179");
        said.lines().map_while(Result::ok).filter(ours).collect()
    }
}
