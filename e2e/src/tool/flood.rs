//! A client that never stops asking: it shows the very first answer that slips through.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::ask::by_tcp;

/// Asks on new connections all the time. Begins with `silent 0`, prints `answered MS` and `silent MS` whenever that changes, `MS` being how
/// long ago the try that showed it began, and `tries N answered M slowest MS` every half second. After `silent MS` stands why that try had no answer.
pub(super) fn flood(server: &str, timeout: Duration) -> Result<()> {
    let address: SocketAddr = server.parse().with_context(|| format!("{server:?} is no address and port"))?;
    let (mut tries, mut answers, mut before, mut slowest) = (0_u64, 0_u64, false, Duration::ZERO);
    let mut told = Instant::now();
    println!("silent 0");
    loop {
        let begin = Instant::now();
        let answer = by_tcp(address, timeout, 0);
        let answered = answer.is_ok();
        slowest = slowest.max(begin.elapsed());
        if before != answered {
            let ago = begin.elapsed().as_millis();
            match answer {
                Ok(_) => println!("answered {ago}"),
                Err(error) => println!("silent {ago} {error:#}"),
            }
            before = answered;
        }
        tries += 1;
        answers += u64::from(answered);
        if told.elapsed() > Duration::from_millis(500) {
            told = Instant::now();
            println!("tries {tries} answered {answers} slowest {}", slowest.as_millis());
        }
        // An unreachable network fails at once: that must not become a busy loop.
        std::thread::sleep(Duration::from_millis(1));
    }
}
