//! Small HTTP servers: plain HTTP/1.1, an answer for a method and a path.

use std::convert::Infallible;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// How long a client may take to send its request line and headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// The wait after a connection could not be accepted, as without a free descriptor.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// So many clients of one server are served at once; one more is turned away.
const MOST_CLIENTS: usize = 256;

/// Plain text as content type.
pub(crate) const TEXT: &str = "text/plain; charset=utf-8";
/// JSON as content type.
pub(crate) const JSON: &str = "application/json";

/// A whole answer.
pub(crate) type Answer = Response<Full<Bytes>>;

/// An answer with that content.
pub(crate) fn page(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}

/// The answer to a request that only reads may ask for and that did not.
pub(crate) fn unless_reading(method: &Method) -> Option<Answer> {
    let reads = method == Method::GET || method == Method::HEAD;
    (!reads).then(|| page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n"))
}

/// The answer where there is nothing.
pub(crate) fn not_found() -> Answer {
    page(StatusCode::NOT_FOUND, TEXT, "not found\n")
}

/// The IPv6 wildcard takes IPv4 too, but not on a kernel without IPv6.
pub(crate) fn possible(address: SocketAddr) -> SocketAddr {
    let without_ipv6 = !Path::new("/proc/net/if_inet6").exists();
    if address.is_ipv6() && address.ip().is_unspecified() && without_ipv6 {
        return (Ipv4Addr::UNSPECIFIED, address.port()).into();
    }
    address
}

/// Serves until it is dropped, which ends the connections too.
pub(crate) async fn serve<F, A>(listener: TcpListener, answer: F)
where
    F: Fn(Method, String) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let mut clients = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        while clients.try_join_next().is_some() {}
        if clients.len() < MOST_CLIENTS {
            clients.spawn(connection(stream, answer.clone()));
        }
    }
}

async fn connection<F, A>(stream: TcpStream, answer: F)
where
    F: Fn(Method, String) -> A,
    A: Future<Output = Answer>,
{
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(request.method().clone(), request.uri().path().to_owned());
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "an HTTP client went away");
    }
}
