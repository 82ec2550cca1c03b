//! Small HTTP servers: plain HTTP/1.1, an answer for a method and a path.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// How long a client may take from its connection to the last octet of its answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// The wait after a connection could not be accepted, as without a free descriptor.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// So many clients of one server are served at once. One more has the place of the one that has been there longest: who
/// holds connections must not keep out the kubelet, which would take the daemon for dead, or a load balancer.
const MOST_CLIENTS: usize = 256;

/// Connections that may wait for being accepted.
const BACKLOG: i32 = 128;

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

/// Listens, without blocking. The IPv6 wildcard takes IPv4 too, whatever `net.ipv6.bindv6only` says: else the kubelet of an IPv4 node
/// would take the daemon for dead.
pub(crate) fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let address = possible(address);
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    // As the standard library does: a port whose last connections are closing is free.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The IPv6 wildcard, but not on a kernel without IPv6.
fn possible(address: SocketAddr) -> SocketAddr {
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
    let mut by_age: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        while clients.try_join_next().is_some() {}
        by_age.retain(|client| !client.is_finished());
        if by_age.len() >= MOST_CLIENTS
            && let Some(oldest) = by_age.pop_front()
        {
            oldest.abort();
        }
        by_age.push_back(clients.spawn(connection(stream, answer.clone())));
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
    // One answer a connection, so that none stays longer than its answer takes.
    let served = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
    match tokio::time::timeout(PATIENCE, served).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an HTTP client went away"),
        Err(_) => tracing::debug!("an HTTP client took longer than {PATIENCE:?}"),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn the_wildcard_takes_ipv4_whatever_the_nodes_setting_says() {
        let node = kernel::testing::TestNs::new("wildcard");
        node.run("sysctl", &["-qw", "net.ipv6.bindv6only=1"]);
        node.run_in(|| {
            let listener = listen("[::]:0".parse().unwrap()).unwrap();
            let port = listener.local_addr().unwrap().port();
            for address in ["127.0.0.1", "::1"] {
                std::net::TcpStream::connect((address, port)).unwrap();
            }
            listen((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        });
    }

    async fn ask(stream: &mut TcpStream) -> String {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test]
    async fn who_holds_all_connections_keeps_nobody_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(serve(listener, async |_, _| page(StatusCode::OK, TEXT, "ok")));
        let mut idle = Vec::new();
        for _ in 0..MOST_CLIENTS {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        for _ in 0..3 {
            // It ends without being told to: an answer is the end of its connection.
            let text = ask(&mut TcpStream::connect(address).await.unwrap()).await;
            assert!(text.starts_with("HTTP/1.1 200") && text.ends_with("ok"), "{text}");
        }
        // Those that were there longest made place, the others stay.
        assert_eq!(idle[0].read(&mut [0]).await.unwrap_or(0), 0);
        assert!(ask(&mut idle[MOST_CLIENTS - 1]).await.ends_with("ok"));
        server.abort();
    }
}
