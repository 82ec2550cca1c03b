//! `/healthz`, `/readyz` and `/metrics` over plain HTTP.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use super::{Published, Snapshot, metrics};

/// How long a client may take to send its request line and headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
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

fn page(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

const TEXT: &str = "text/plain; charset=utf-8";

/// The answer to one request.
pub(super) async fn respond(
    method: &Method,
    path: &str,
    pages: &Pages,
    published: &Published,
) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        return page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
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
        _ => page(StatusCode::NOT_FOUND, TEXT, "not found\n"),
    }
}

async fn listen(address: SocketAddr) -> TcpListener {
    let mut said = false;
    loop {
        match TcpListener::bind(address).await {
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
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let (pages, published) = (pages.clone(), published.clone());
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let (pages, published) = (&pages, &published);
                async move {
                    let path = request.uri().path();
                    Ok::<_, Infallible>(respond(request.method(), path, pages, published).await)
                }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "an HTTP client went away");
            }
        });
    }
}
