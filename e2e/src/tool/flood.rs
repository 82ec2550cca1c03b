//! A client that never stops asking: it shows the very first answer that slips through.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::ask::by_tcp;

/// Asks on new connections all the time. Prints `answered TRIES` and `silent TRIES` whenever that changes,
/// the count being all tries before, and `tries N answered M` every half second.
pub(super) fn flood(server: &str, timeout: Duration) -> Result<()> {
    let address: SocketAddr = server.parse().with_context(|| format!("{server:?} is no address and port"))?;
    let (mut tries, mut answers, mut before) = (0_u64, 0_u64, None);
    let mut told = std::time::Instant::now();
    loop {
        let answered = by_tcp(address, timeout).is_ok();
        if before != Some(answered) {
            println!("{} {tries}", if answered { "answered" } else { "silent" });
            before = Some(answered);
        }
        tries += 1;
        answers += u64::from(answered);
        if told.elapsed() > Duration::from_millis(500) {
            told = std::time::Instant::now();
            println!("tries {tries} answered {answers}");
        }
        // An unreachable network fails at once: that must not become a busy loop.
        std::thread::sleep(Duration::from_millis(1));
    }
}
