//! Lines for a client of the administration's socket.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::broadcast::error::RecvError;

use super::desk::{Drops, Subscription};
use super::line::Line;

/// How long a client may take for the lines of before, if it does not follow.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// What a client wants: the words after `drops`, as `100 follow`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// So many of the last lines.
    pub last: usize,
    /// And all that come.
    pub follow: bool,
}

impl Wish {
    /// Reads the words; `None` if they are others.
    pub fn parse(words: &str) -> Option<Self> {
        let mut words = words.split_whitespace();
        let last = words.next()?.parse().ok()?;
        match (words.next(), words.next()) {
            (None, _) => Some(Self { last, follow: false }),
            (Some("follow"), None) => Some(Self { last, follow: true }),
            _ => None,
        }
    }

    /// The words.
    pub fn words(&self) -> String {
        let follow = if self.follow { " follow" } else { "" };
        format!("{}{follow}", self.last)
    }
}

/// Writes lines until the client goes, or all of before are written. A client that reads slowly delays nobody: it loses
/// lines and is told how many.
pub async fn serve<R, W>(drops: &Drops, wish: Wish, mut reader: R, mut writer: W) -> std::io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let Some(Subscription { first, mut following }) = drops.subscribe(wish.last).await else {
        return writer.write_all(refusal(drops).bytes()).await;
    };
    let begin = async {
        let problem = drops.status().problem;
        if !problem.is_empty() {
            writer.write_all(Line::notice(&problem).bytes()).await?;
        }
        for line in &first {
            writer.write_all(line.bytes()).await?;
        }
        writer.flush().await
    };
    tokio::time::timeout(CLIENT_TIMEOUT, begin).await.map_err(std::io::Error::from)??;
    if !wish.follow {
        return Ok(());
    }
    let mut nothing = [0; 64];
    loop {
        let line = tokio::select! {
            line = following.recv() => line,
            // The client says nothing more; the end of it is the end of the client.
            read = reader.read(&mut nothing) => match read? {
                0 => return Ok(()),
                _ => continue,
            },
        };
        let line = match line {
            Ok(line) => line,
            Err(RecvError::Lagged(lost)) => Line::lost_by_reader(lost),
            Err(RecvError::Closed) => return Ok(()),
        };
        writer.write_all(line.bytes()).await?;
    }
}

fn refusal(drops: &Drops) -> Line {
    let error = if drops.is_there() {
        "routerd is too busy to answer; try again"
    } else {
        "this routerd enforces no policies (--run-firewall=false), so it refuses nothing"
    };
    Line::error(error)
}
