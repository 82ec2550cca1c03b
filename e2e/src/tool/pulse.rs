//! Numbered datagrams at a steady rate: none of them may be lost while something is done to the way.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// The time between two datagrams.
const EVERY: Duration = Duration::from_millis(10);
/// What has no answer after this is lost. Longer than a busy machine takes for one.
const LOST: Duration = Duration::from_secs(4);
/// The time between two lines.
const TELL: Duration = Duration::from_millis(200);

/// What was counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pulse {
    /// Datagrams sent.
    pub sent: u64,
    /// Of them never answered, as far as is known; those of the last 4 s still wait.
    pub lost: u64,
    /// The longest time between two answers, in ms.
    pub longest: u128,
}

impl Pulse {
    /// A line has it as `sent N lost N longest N`.
    pub fn parse(line: &str) -> Option<Self> {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["sent", sent, "lost", lost, "longest", longest] => Some(Self {
                sent: sent.parse().ok()?,
                lost: lost.parse().ok()?,
                longest: longest.parse().ok()?,
            }),
            _ => None,
        }
    }

    /// How long after the last thing that was done it is to be read.
    pub const fn settles_after() -> Duration {
        LOST.saturating_add(TELL).saturating_add(TELL)
    }
}

/// Sends to a server of the lab until killed, and says every 200 ms what was counted.
pub(super) fn pulse(server: SocketAddr) -> Result<()> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).context("a socket for datagrams")?;
    super::serve::widen(&socket)?;
    let mut waiting: BTreeMap<u64, Instant> = BTreeMap::new();
    let mut counted = Pulse { sent: 0, lost: 0, longest: 0 };
    let (mut told, mut answered) = (Instant::now(), Instant::now());
    loop {
        let now = Instant::now();
        // One that cannot be sent has no answer either.
        let _lost = socket.send_to(counted.sent.to_string().as_bytes(), server);
        waiting.insert(counted.sent, now);
        counted.sent += 1;
        while let Some(number) = answer(&socket, now + EVERY)? {
            if waiting.remove(&number).is_some() {
                counted.longest = counted.longest.max(answered.elapsed().as_millis());
                answered = Instant::now();
            }
        }
        while let Some(oldest) = waiting.first_entry().filter(|oldest| oldest.get().elapsed() > LOST) {
            oldest.remove();
            counted.lost += 1;
        }
        if told.elapsed() > TELL {
            told = Instant::now();
            println!("sent {} lost {} longest {}", counted.sent, counted.lost, counted.longest);
        }
    }
}

/// The number of the next answer until then.
fn answer(socket: &UdpSocket, until: Instant) -> Result<Option<u64>> {
    let mut buffer = [0; 256];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        socket.set_read_timeout(Some(left)).context("a time limit for answers")?;
        // A refusal by ICMP comes as an error and is no answer.
        let Ok(length) = socket.recv(&mut buffer) else { continue };
        let text = String::from_utf8_lossy(&buffer[..length]);
        if let Some(number) = text.trim().rsplit(' ').next().and_then(|word| word.parse().ok()) {
            return Ok(Some(number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_line_is_understood() {
        let counted = Pulse { sent: 12, lost: 1, longest: 30 };
        assert_eq!(Pulse::parse("sent 12 lost 1 longest 30"), Some(counted));
        assert_eq!(Pulse::parse("sent 12"), None);
    }
}
