//! No request is waited for without end. A server whose machine has gone without a word, or that hangs, takes requests and
//! never answers them; the client of `kube` would wait for ever, and say nothing.

use std::error::Error;
use std::io;
use std::time::Duration;

use futures::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Bytes, Frame};
use hyper::{Request, Response, StatusCode, Uri};
use kube::Client;
use kube::client::Body;
use tokio::sync::watch as published;
use tower::{BoxError, service_fn};

/// How long the API server may take to begin an answer, and then between two parts of it. It begins to answer a watch at
/// once, and a list as soon as it has the first of its objects; what waits in its queues is refused after 15 s.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Why a request is given up.
#[derive(Debug, thiserror::Error)]
enum Silence {
    #[error("no answer of the API server within {} s", .0.as_secs_f32())]
    NoAnswer(Duration),
    #[error("the API server began to answer, and then nothing came for {} s", .0.as_secs_f32())]
    Stalled(Duration),
}

/// `client`, but each answer must begin within `patience`, and go on so, however long it is. A watch that stands is silent
/// while nothing happens, so that is left to its connection and to who watches.
///
/// It is always the `client` of now that is asked, and `refused` is told when the server refuses who asks, or the connection.
pub(super) fn patient(
    client: published::Receiver<Client>,
    refused: published::Sender<()>,
    patience: Duration,
) -> Client {
    let namespace = client.borrow().default_namespace().to_owned();
    let service = service_fn(move |request| {
        let (client, refused) = (client.borrow().clone(), refused.clone());
        async move {
            let answer = ask(client, request, patience).await;
            if is_refused(&answer) {
                refused.send_replace(());
            }
            answer
        }
    });
    Client::new(service, namespace)
}

/// True if other credentials may help: 401, or an error of TLS.
fn is_refused<B>(answer: &kube::Result<Response<B>>) -> bool {
    match answer {
        Ok(answer) => answer.status() == StatusCode::UNAUTHORIZED,
        Err(error) => has_tls(error),
    }
}

fn has_tls(error: &(dyn Error + 'static)) -> bool {
    // An I/O error does not count what it holds as its cause.
    let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>()
        || held.and_then(|error| error.downcast_ref::<rustls::Error>()).is_some()
        || error.source().is_some_and(has_tls)
}

/// `client`, but `begun` is told of each watch that the server begins. While nothing happens in the cluster that is all that
/// shows that it is back.
pub(super) fn telling(client: Client, begun: published::Sender<()>) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = service_fn(move |request: Request<Body>| {
        let (client, begun) = (client.clone(), begun.clone());
        async move {
            let watch = is_watch(request.uri());
            let answer = client.send(request).await?;
            if watch && answer.status().is_success() {
                begun.send_replace(());
            }
            Ok::<_, kube::Error>(answer)
        }
    });
    Client::new(service, namespace)
}

type Parts = stream::BoxStream<'static, Result<Frame<Bytes>, BoxError>>;

async fn ask(
    client: Client,
    request: Request<Body>,
    patience: Duration,
) -> kube::Result<Response<StreamBody<Parts>>> {
    let between = if is_watch(request.uri()) { Duration::MAX } else { patience };
    match tokio::time::timeout(patience, client.send(request)).await {
        Ok(answer) => Ok(answer?.map(|body| StreamBody::new(parts(body, between)))),
        // The connection goes with the request, so the next one does not fall silent on it.
        Err(_) => Err(kube::Error::Service(Box::new(Silence::NoAnswer(patience)))),
    }
}

fn is_watch(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.split('&').any(|pair| pair == "watch=true"))
}

/// The parts of an answer as they come, and an error if the next one does not come in time.
fn parts(body: Body, between: Duration) -> Parts {
    Box::pin(stream::unfold(Some(body), move |body| async move {
        let mut body = body?;
        match tokio::time::timeout(between, body.frame()).await {
            Ok(Some(Ok(frame))) => Some((Ok(frame), Some(body))),
            Ok(Some(Err(error))) => Some((Err(error.into()), None)),
            Ok(None) => None,
            Err(_) => Some((Err(Silence::Stalled(between).into()), None)),
        }
    }))
}
