//! One request and its answer.

use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

/// The longest that one request may take. The metadata service answers in milliseconds, or is not there.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
const LONGEST: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    /// The request cannot be made of what was given.
    #[error("{url} cannot be asked: {source}")]
    Request {
        /// What was to be asked.
        url: String,
        /// The cause.
        source: hyper::http::Error,
    },
    /// Nobody answered.
    #[error("{url} cannot be reached: {source}")]
    Connect {
        /// What was asked.
        url: String,
        /// The cause.
        source: hyper_util::client::legacy::Error,
    },
    /// The answer did not come whole.
    #[error("the answer of {url} is not whole or too long: {source}")]
    Body {
        /// What was asked.
        url: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It took too long.
    #[error("{url} did not answer within {TIMEOUT:?}")]
    Slow {
        /// What was asked.
        url: String,
    },
    /// It was refused.
    #[error("{url} answered {status}: {text}")]
    Refused {
        /// What was asked.
        url: String,
        /// The status.
        status: StatusCode,
        /// What it said.
        text: String,
    },
}

/// A client for plain and encrypted HTTP.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Http {
    /// A client that trusts the system's certificate authorities. Without any it can ask only what is not encrypted.
    pub(super) fn new() -> Self {
        let https = match HttpsConnectorBuilder::new().with_native_roots() {
            Ok(builder) => builder.https_or_http().enable_http1().build(),
            Err(error) => {
                tracing::warn!(%error, "no certificate authorities were found in /etc/ssl/certs, so the API of EC2 cannot be asked");
                let none = rustls::RootCertStore::empty();
                let config =
                    rustls::ClientConfig::builder().with_root_certificates(none).with_no_client_auth();
                HttpsConnectorBuilder::new().with_tls_config(config).https_or_http().enable_http1().build()
            }
        };
        Self { client: Client::builder(TokioExecutor::new()).build(https) }
    }

    /// The text of the answer.
    pub(super) async fn ask(
        &self,
        method: Method,
        url: &str,
        headers: &[(&'static str, String)],
        body: &str,
    ) -> Result<String, HttpError> {
        let asked = tokio::time::timeout(TIMEOUT, self.talk(method, url, headers, body)).await;
        asked.unwrap_or_else(|_| Err(HttpError::Slow { url: url.to_owned() }))
    }

    async fn talk(
        &self,
        method: Method,
        url: &str,
        headers: &[(&'static str, String)],
        body: &str,
    ) -> Result<String, HttpError> {
        let name = || url.to_owned();
        let mut request = Request::builder().method(method).uri(url);
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request
            .body(Full::new(Bytes::from(body.to_owned())))
            .map_err(|source| HttpError::Request { url: name(), source })?;
        let response = self
            .client
            .request(request)
            .await
            .map_err(|source| HttpError::Connect { url: name(), source })?;
        let status = response.status();
        let whole = Limited::new(response.into_body(), LONGEST).collect().await;
        let bytes = whole.map_err(|source| HttpError::Body { url: name(), source })?.to_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if status.is_success() { Ok(text) } else { Err(HttpError::Refused { url: name(), status, text }) }
    }
}
