//! `/healthz`, `/readyz` and `/metrics` over plain HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use hyper::{Method, StatusCode};
use tokio::net::TcpListener;

use super::{Published, Snapshot, metrics};
use crate::http::{self, Answer, TEXT, page};

/// The wait before a port that is taken is tried again.
const BIND_RETRY: Duration = Duration::from_secs(2);

/// What one listener serves.
#[derive(Debug, Clone)]
pub struct Pages {
    /// `/healthz` and `/readyz`.
    pub health: bool,
    /// The path of the metrics, if served here.
    pub metrics: Option<String>,
}

/// The answer to one request.
pub(super) async fn respond(method: &Method, path: &str, pages: &Pages, published: &Published) -> Answer {
    if let Some(refusal) = http::unless_reading(method) {
        return refusal;
    }
    match path {
        // Liveness: the daemon answers. It does not look at how long work takes, because a kill makes that longer.
        "/healthz" if pages.health => page(StatusCode::OK, TEXT, "OK"),
        "/readyz" if pages.health => {
            let snapshot = Snapshot::take(published);
            if snapshot.ready {
                page(StatusCode::OK, TEXT, "OK")
            } else {
                page(StatusCode::SERVICE_UNAVAILABLE, TEXT, snapshot.reasons.join("\n") + "\n")
            }
        }
        path if pages.metrics.as_deref() == Some(path) => {
            let refused = published.drops.totals().await;
            match metrics::encode(&Snapshot::take(published), refused.as_deref()) {
                Ok(text) => page(StatusCode::OK, metrics::CONTENT, text),
                Err(error) => page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, format!("{error}\n")),
            }
        }
        _ => http::not_found(),
    }
}

async fn listen(address: SocketAddr) -> TcpListener {
    let mut said = false;
    loop {
        match http::listen(address).and_then(TcpListener::from_std) {
            Ok(listener) => return listener,
            Err(error) => {
                if !said {
                    tracing::error!(%address, %error, "cannot listen for health or metrics; it is tried again");
                    said = true;
                }
                tokio::time::sleep(BIND_RETRY).await;
            }
        }
    }
}

/// Serves for ever. A port that is taken is waited for.
pub async fn serve(address: SocketAddr, pages: Pages, published: Published) {
    let listener = listen(address).await;
    http::serve(listener, move |method, path| {
        let (pages, published) = (pages.clone(), published.clone());
        async move { respond(&method, &path, &pages, &published).await }
    })
    .await;
}
