//! Which API server, and as whom: kubeconfig, URL, or the pod's service account, as kube-router does it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::ConfigExt as _;
use kube::config::{Cluster, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use tower::{BoxError, ServiceBuilder};

use super::ApiServer;
use super::renew::Files;

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
    #[error("the token file {path} of the kubeconfig cannot be read: {source}")]
    TokenFile { path: String, source: std::io::Error },
    #[error(
        "the kubeconfig {path} names the proxy {proxy}, and proxies are not supported: take proxy-url out, and reach the server without"
    )]
    Proxy { path: PathBuf, proxy: String },
    #[error("the connection cannot be set up: {source}")]
    Client { source: Box<kube::Error> },
}

/// A client, and what it was made of.
pub(super) struct Connection {
    pub(super) client: Client,
    /// Whom it speaks to.
    pub(super) url: String,
    /// What was read for it and is not read again by itself.
    pub(super) files: Files,
}

/// Reads the credentials and makes a client of them. A connection whose other end is not there any more is given up after
/// `patience`.
pub(super) async fn client(server: &ApiServer, patience: Duration) -> Result<Connection, ConnectError> {
    let (config, files) = config(server.kubeconfig.as_deref(), server.master.as_deref()).await?;
    let url = config.cluster_url.to_string();
    let client =
        build(config, patience).map_err(|source| ConnectError::Client { source: Box::new(source) })?;
    Ok(Connection { client, url, files })
}

/// As `Client::try_from` builds it, which leaves no say about the connections, without its repetitions: who asks here tries
/// again himself, and tells of it.
fn build(config: Config, patience: Duration) -> kube::Result<Client> {
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

async fn config(kubeconfig: Option<&Path>, master: Option<&str>) -> Result<(Config, Files), ConnectError> {
    let mut files = Files::default();
    let mut config = match (kubeconfig, master) {
        (Some(path), _) => from_file(path, &mut files).await?,
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
    Ok((config, files))
}

async fn from_file(path: &Path, files: &mut Files) -> Result<Config, ConnectError> {
    let wrong = |source| ConnectError::Kubeconfig { path: path.to_owned(), source: Box::new(source) };
    files.note(path.to_owned());
    let file = Kubeconfig::read_from(path).map_err(wrong)?;
    let cluster = cluster_of(&file);
    if let Some(proxy) = cluster.and_then(|cluster| cluster.proxy_url.clone()).filter(|url| !url.is_empty()) {
        return Err(ConnectError::Proxy { path: path.to_owned(), proxy });
    }
    let users = file.auth_infos.iter().filter_map(|user| user.auth_info.as_ref());
    let of_users = users.flat_map(|user| [&user.client_certificate, &user.client_key, &user.token_file]);
    let named = of_users.chain(cluster.map(|cluster| &cluster.certificate_authority)).flatten();
    named.for_each(|name| files.note(name.into()));
    let mut config =
        Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await.map_err(wrong)?;
    // What the environment names is for others: what is asked for here is the own cluster.
    config.proxy_url = None;
    read_token(&mut config)?;
    Ok(config)
}

fn cluster_of(file: &Kubeconfig) -> Option<&Cluster> {
    let context =
        file.contexts.iter().find(|context| Some(&context.name) == file.current_context.as_ref())?;
    let name = &context.context.as_ref()?.cluster;
    file.clusters.iter().find(|cluster| cluster.name == *name)?.cluster.as_ref()
}

/// Reads the token file. It often ends with a line feed, with which `kube` can do nothing.
fn read_token(config: &mut Config) -> Result<(), ConnectError> {
    if let (None, Some(path)) = (&config.auth_info.token, config.auth_info.token_file.take()) {
        let token = std::fs::read_to_string(&path);
        let token = token.map_err(|source| ConnectError::TokenFile { path, source })?;
        config.auth_info.token = Some(token.trim().to_owned().into());
    }
    Ok(())
}

fn parse<T>(url: &str) -> Result<T, ConnectError>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    url.parse().map_err(|source| ConnectError::Master { url: url.to_owned(), source: Box::new(source) })
}
