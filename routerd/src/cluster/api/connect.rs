//! Which API server, and as whom: kubeconfig, URL, or the pod's service account, as kube-router does it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

/// Where the kubelet puts a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("the kubeconfig {path} cannot be used: {source}")]
    Kubeconfig { path: PathBuf, source: Box<kube::config::KubeconfigError> },
    #[error("--master={url} is not a URL: {source}")]
    Master { url: String, source: Box<dyn std::error::Error + Send + Sync> },
    #[error(
        "the pod's service account cannot be used ({source}); outside a pod --kubeconfig or --master is needed"
    )]
    InCluster { source: Box<kube::config::InClusterError> },
    #[error("the connection cannot be set up: {source}")]
    Client { source: Box<kube::Error> },
}

/// A client, and the URL it speaks to. A connection whose other end is not there any more is given up after `patience`.
pub(super) async fn client(
    kubeconfig: Option<&Path>,
    master: Option<&str>,
    patience: Duration,
) -> Result<(Client, String), ConnectError> {
    let config = config(kubeconfig, master).await?;
    let url = config.cluster_url.to_string();
    let client =
        build(config, patience).map_err(|source| ConnectError::Client { source: Box::new(source) })?;
    Ok((client, url))
}

/// As `Client::try_from` builds it, which leaves no say about the connections, without its repetitions: who asks here tries
/// again himself, and tells of it.
fn build(config: Config, patience: Duration) -> kube::Result<Client> {
    if config.proxy_url.is_some() {
        // There it is an error that names what is missing for it.
        return Client::try_from(config);
    }
    let connector = config.rustls_https_connector_with_connector(tcp(patience))?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector));
    Ok(Client::new(service, config.default_namespace))
}

/// Connections that notice by themselves when the other end has gone without a word, be it while they wait for an answer or
/// while a watch has nothing to tell.
fn tcp(patience: Duration) -> HttpConnector {
    let at_least = |time: Duration| Some(time.max(Duration::from_secs(1)));
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_connect_timeout(Some(patience));
    connector.set_keepalive(at_least(patience / 2));
    connector.set_keepalive_interval(at_least(patience / 6));
    connector.set_tcp_user_timeout(Some(patience));
    connector
}

async fn config(kubeconfig: Option<&Path>, master: Option<&str>) -> Result<Config, ConnectError> {
    let mut config = match (kubeconfig, master) {
        (Some(path), _) => from_file(path).await?,
        (None, Some(url)) => {
            let folder = Path::new(SERVICE_ACCOUNT);
            let existing = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
            let mut config = Config::new(parse(url)?);
            config.root_cert_file = existing("ca.crt");
            config.auth_info.token_file = existing("token").map(|path| path.display().to_string());
            config
        }
        (None, None) => {
            Config::incluster().map_err(|source| ConnectError::InCluster { source: Box::new(source) })?
        }
    };
    if let Some(url) = master {
        config.cluster_url = parse(url)?;
    }
    let verified_by_the_system = config.cluster_url.scheme_str() != Some("http")
        && config.root_cert_file.is_none()
        && !config.accept_invalid_certs;
    if !verified_by_the_system {
        // Without any, all of the system's certificates would be read, for a tenth of a second, and if there are none, as in
        // our image, it would fail.
        config.root_cert.get_or_insert_default();
    }
    Ok(config)
}

async fn from_file(path: &Path) -> Result<Config, ConnectError> {
    let wrong = |source| ConnectError::Kubeconfig { path: path.to_owned(), source: Box::new(source) };
    let file = Kubeconfig::read_from(path).map_err(wrong)?;
    Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(wrong)
}

fn parse<T>(url: &str) -> Result<T, ConnectError>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    url.parse().map_err(|source| ConnectError::Master { url: url.to_owned(), source: Box::new(source) })
}
