//! Ports that listen: the only thing of the kernel that this plane has.

use std::collections::BTreeMap;
use std::io;

use tokio::runtime::Handle as Runtime;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::desired::{Check, Key};
use super::plan::Plan;
use super::{NAME, answer};
use crate::http;
use crate::runner::{Apply, Problem, Report, Scope, Status};
use crate::services::status;

/// A server that runs.
#[derive(Debug)]
struct Server {
    check: watch::Sender<Check>,
    task: JoinHandle<()>,
}

/// The half of the plane that opens and closes ports.
#[derive(Debug)]
pub struct Applier {
    runtime: Runtime,
    /// What the plane that carries Services says of itself.
    proxy: watch::Receiver<Status>,
    servers: BTreeMap<Key, Server>,
}

impl Applier {
    /// No server yet. They run in `runtime`, and fail while `proxy` is broken or has not begun. Its calls come from a thread
    /// that is none of the runtime's.
    pub fn new(runtime: Runtime, proxy: watch::Receiver<Status>) -> Self {
        Self { runtime, proxy, servers: BTreeMap::new() }
    }

    fn open(&self, key: &Key, check: Check) -> io::Result<Server> {
        let listener = http::listen(check.address())?;
        let _inside = self.runtime.enter();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let (told, proxy, key) = (watch::Sender::new(check), self.proxy.clone(), key.clone());
        let check = told.subscribe();
        let answer = move |method, path: String| {
            let answer = answer::respond(&method, &path, &key, &check.borrow(), &proxy.borrow());
            std::future::ready(answer)
        };
        Ok(Server { check: told, task: self.runtime.spawn(http::serve(listener, answer)) })
    }

    fn close(&mut self, key: &Key) {
        if let Some(server) = self.servers.remove(key) {
            server.task.abort();
            // The port is free when the task has ended, and may be wanted by the next. How it ended is no news.
            let _ = self.runtime.block_on(server.task);
        }
    }
}

fn item(key: &Key) -> String {
    match key {
        Key::Node => format!("{NAME} on this node"),
        Key::Service(name) => status::item(name),
    }
}

fn not_open(key: &Key, check: &Check, error: &io::Error) -> Problem {
    let flag = match key {
        Key::Node => "--healthz-bind-address",
        Key::Service(_) => "spec.healthCheckNodePort",
    };
    let message = format!(
        "load balancers cannot ask for the health of this node: {flag}: TCP {} cannot be listened at: {error}; \
         end whoever has the port or choose another; it is tried again",
        check.address()
    );
    Problem { item: item(key), message, retry: true }
}

impl Apply for Applier {
    type Key = Key;
    type Value = Check;

    fn apply(&mut self, desired: &BTreeMap<Key, Check>, _: &Scope<Key>) -> Report {
        let served = self.servers.iter().map(|(key, server)| (key.clone(), server.check.borrow().clone()));
        let plan = Plan::between(&served.collect(), desired);
        let mut report = Report::default();
        for key in &plan.close {
            self.close(key);
            report.writes += 1;
        }
        for (key, check) in plan.tell {
            if let Some(server) = self.servers.get(&key) {
                server.check.send_replace(check);
            }
        }
        for (key, check) in plan.open {
            match self.open(&key, check.clone()) {
                Ok(server) => {
                    self.servers.insert(key, server);
                    report.writes += 1;
                }
                Err(error) => report.problems.push(not_open(&key, &check, &error)),
            }
        }
        report.counts = BTreeMap::from([("servers", self.servers.len() as u64)]);
        report
    }

    fn item(&self, key: &Key) -> Option<String> {
        Some(item(key))
    }
}

impl Drop for Applier {
    fn drop(&mut self) {
        for server in self.servers.values() {
            server.task.abort();
        }
    }
}
