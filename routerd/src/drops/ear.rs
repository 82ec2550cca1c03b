//! The thread that reads refused packets from the kernel, and opens its socket again when it cannot be had.

use std::io;
use std::time::Duration;

use kernel::nflog::{Entry, Nflog};
use tokio::sync::mpsc;

use crate::policy::{LOG_GROUP, LOGGED_BYTES};

/// The wait before the group is tried again: another program that reads it may end.
const RETRY: Duration = Duration::from_secs(5);
/// How long one wait for packets lasts.
const WAIT: Duration = Duration::from_hours(1);
/// Bunches of entries that may wait for the task. More wait in the kernel, which throws away what its buffer cannot hold.
const BUNCHES: usize = 16;

/// What there is to hear.
#[derive(Debug)]
pub(super) enum Heard {
    /// The group is ours from now on.
    Begin,
    /// Entries.
    Entries(Vec<Entry>),
    /// The group cannot be read, and why.
    Deaf(String),
}

/// Starts the thread. It runs as long as the process, or as somebody listens.
pub(super) fn spawn() -> io::Result<mpsc::Receiver<Heard>> {
    let (say, heard) = mpsc::channel(BUNCHES);
    std::thread::Builder::new().name("drops".to_owned()).spawn(move || {
        loop {
            let Err(error) = listen(&say) else { return };
            if say.blocking_send(Heard::Deaf(deaf(&error))).is_err() {
                return;
            }
            std::thread::sleep(RETRY);
        }
    })?;
    Ok(heard)
}

/// Reads until nobody listens.
fn listen(say: &mpsc::Sender<Heard>) -> kernel::Result<()> {
    let mut socket = Nflog::bind(LOG_GROUP, LOGGED_BYTES)?;
    let mut heard = Heard::Begin;
    while say.blocking_send(heard).is_ok() {
        heard = loop {
            if let Some(entries) = socket.next(WAIT)? {
                break Heard::Entries(entries);
            }
        };
    }
    Ok(())
}

fn deaf(error: &kernel::KernelError) -> String {
    format!(
        "refused packets are not shown: {error}; it is tried again every {} s, and they are dropped and counted all \
         the same",
        RETRY.as_secs()
    )
}
