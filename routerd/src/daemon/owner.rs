//! The thread of the task that owns the index, and of what it hears from the API server.
//!
//! Between an event's arrival and its planes' threads nothing is handed to another thread; and what a large cluster takes to
//! compute does not keep BGP's timers, the plugin's socket and the administration waiting, which have other threads.

use std::io;
use std::sync::mpsc;

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
    let (hand, given) = mpsc::sync_channel::<(Runtime, Task)>(1);
    let thread = std::thread::Builder::new().name("cluster".to_owned());
    let started = thread.spawn(move || {
        let _running = running;
        if let Ok((runtime, task)) = given.recv() {
            runtime.block_on(task.run());
        }
    });
    match started {
        Ok(_) => _ = hand.send((runtime, task)),
        Err(error) => {
            tracing::error!(%error, "the thread of the index cannot start; are there too many in this container?");
            // A runtime must not be dropped by a task of another one.
            runtime.shutdown_background();
        }
    }
    ended
}
