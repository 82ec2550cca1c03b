//! The root-only unix socket: a client sends one line with a question, and gets one JSON document, or for `drops` one each line.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};

use super::{Published, Snapshot};
use crate::advertise;
use crate::drops::{self, Wish};

/// A question is a word and at most two names; whoever sends more is not one of ours.
const QUESTION_LIMIT: u64 = 4096;
/// How long a client may take to ask, and to read a document.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the socket could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {path}: {operation}: {source}")]
pub struct SocketError {
    path: PathBuf,
    operation: &'static str,
    source: std::io::Error,
}

/// Makes the folder (mode 0700) and the socket; one that an earlier run left is replaced.
pub fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    let failed = |operation| move |source| SocketError { path: path.to_owned(), operation, source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed("make its folder"))?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
            .map_err(failed("close its folder to others"))?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(failed("remove what an earlier run left")(error));
        }
        _ => {}
    }
    UnixListener::bind(path).map_err(failed("bind"))
}

async fn answer(stream: UnixStream, published: &Published) -> std::io::Result<()> {
    if stream.peer_cred()?.uid() != 0 {
        // The folder's mode keeps others out already; this holds when somebody loosened it.
        return Ok(());
    }
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader.take(QUESTION_LIMIT));
    let mut question = String::new();
    in_time(reader.read_line(&mut question)).await?;
    let question = question.trim();
    let (topic, words) = question.split_once(' ').unwrap_or((question, ""));
    let document = match (topic, Wish::parse(words)) {
        // It may follow for days.
        ("drops", Some(wish)) => return drops::serve(&published.drops, wish, reader, writer).await,
        ("status", _) => serde_json::to_vec(&Snapshot::take(published)),
        ("explain" | "verify", _) => {
            let answer = computed(topic, words, published).await;
            serde_json::to_vec(&answer.unwrap_or_else(|error| json!({"error": error})))
        }
        ("bgp", _) => {
            let answer = match &published.speaker {
                Some(link) => advertise::admin::answer(link, words).await,
                None => Err("this routerd speaks no BGP (--run-router=false)".to_owned()),
            };
            serde_json::to_vec(&answer.unwrap_or_else(|error| json!({"error": error})))
        }
        _ => serde_json::to_vec(&json!({
            "error": format!(
                "unknown question {question:?}; this routerd answers: status, drops, explain, verify, bgp"
            ),
        })),
    };
    let document = document.map_err(std::io::Error::other)?;
    in_time(async {
        writer.write_all(&document).await?;
        writer.shutdown().await
    })
    .await
}

/// Answers that are not published: they take their time.
async fn computed(topic: &str, words: &str, published: &Published) -> Result<Value, String> {
    let desk = published.desk.as_ref().ok_or("this routerd answers no questions about policies")?;
    let answer = match topic {
        "explain" => {
            let question = serde_json::from_str(words);
            let question = question.map_err(|error| format!("the question is not understood: {error}"))?;
            serde_json::to_value(desk.explain(question).await?)
        }
        _ => serde_json::to_value(desk.verify().await?),
    };
    answer.map_err(|error| error.to_string())
}

async fn in_time<T>(work: impl Future<Output = std::io::Result<T>>) -> std::io::Result<T> {
    tokio::time::timeout(CLIENT_TIMEOUT, work).await?
}

/// Answers for ever.
pub async fn serve(listener: UnixListener, published: Published) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let published = published.clone();
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &published).await {
                        tracing::debug!(%error, "an administration client went away");
                    }
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: others close theirs in time.
                tracing::warn!(%error, "cannot accept an administration client");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
