//! The thread of the task that owns the index, and of what it hears from the API server.
//!
//! Between an event's arrival and its planes' threads nothing is handed to another thread; and what a large cluster takes to
//! compute does not keep BGP's timers, the plugin's socket and the administration waiting, which have other threads.

use std::io;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use crate::cluster::task::Task;

/// A runtime for that thread; what is spawned inside of it begins with [`run`].
pub(super) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// Runs the task. What is returned ends with it, and at once if there can be no thread.
pub(super) fn run(runtime: Runtime, task: Task) -> oneshot::Receiver<()> {
    let (running, ended) = oneshot::channel::<()>();
    let thread = std::thread::Builder::new().name("cluster".to_owned());
    let started = thread.spawn(move || {
        let _running = running;
        runtime.block_on(task.run());
    });
    if let Err(error) = started {
        tracing::error!(%error, "the thread of the index cannot start");
    }
    ended
}
