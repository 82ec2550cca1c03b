//! Asks EC2 to leave the check away.

use std::collections::BTreeMap;
use std::env;
use std::time::SystemTime;

use hyper::{Method, StatusCode};
use tokio::runtime::Handle as Runtime;

use super::NAME;
use super::desired::InstanceId;
use super::http::{Http, HttpError};
use super::imds::{Imds, ImdsError};
use super::sign::{self, Credentials, Request};
use crate::runner::{Apply, Problem, Report, Scope};

const SERVICE: &str = "ec2";
const VERSION: &str = "2016-11-15";
const CONTENT_TYPE: &str = "application/x-www-form-urlencoded; charset=utf-8";
/// Where every instance finds its metadata.
const METADATA: &str = "http://169.254.169.254";

/// Where is asked; the variables are those of AWS' own programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoints {
    /// `AWS_EC2_METADATA_SERVICE_ENDPOINT`.
    pub metadata: String,
    /// `AWS_ENDPOINT_URL_EC2`; `None`: that of the region.
    pub ec2: Option<String>,
}

impl Endpoints {
    /// Those of this process's environment, or the usual ones.
    pub fn of_process() -> Self {
        let address = |name| env::var(name).ok().map(|url| url.trim_end_matches('/').to_owned());
        let given = |name| address(name).filter(|url| !url.is_empty());
        Self {
            metadata: given("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or_else(|| METADATA.to_owned()),
            ec2: given("AWS_ENDPOINT_URL_EC2"),
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Instance(#[from] ImdsError),
    #[error(transparent)]
    Ec2(#[from] HttpError),
}

impl Failed {
    /// What to do, and whether to try again.
    fn advice(&self) -> (&'static str, bool) {
        match self {
            Self::Ec2(HttpError::Refused { status, .. })
                if matches!(*status, StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED) =>
            {
                (
                    "allow ec2:ModifyInstanceAttribute to the instance's role and restart, or switch the check off by hand and use --disable-source-dest-check=false",
                    false,
                )
            }
            Self::Instance(ImdsError::NoRole) => (
                "give the instance a role with ec2:ModifyInstanceAttribute, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
                true,
            ),
            _ => ("it is tried again; until then the cloud may drop packets of pods", true),
        }
    }
}

/// The half of the plane that asks.
#[derive(Debug)]
pub struct Applier {
    runtime: Runtime,
    endpoints: Endpoints,
    /// The instance that is done.
    done: Option<InstanceId>,
}

impl Applier {
    /// Asks at `endpoints`, with `runtime` for its waiting.
    pub fn new(runtime: Runtime, endpoints: Endpoints) -> Self {
        Self { runtime, endpoints, done: None }
    }

    async fn switch_off(&self, instance: &InstanceId) -> Result<(), Failed> {
        // For this once: a node elsewhere never reads the certificate authorities.
        let http = Http::new();
        let imds = Imds::open(&http, &self.endpoints.metadata).await?;
        let region = imds.region().await?;
        let who = match of_environment() {
            Some(who) => who,
            None => imds.credentials().await?,
        };
        let url = match &self.endpoints.ec2 {
            Some(url) => url.clone(),
            // The partition of China has an end of its own.
            None if region.starts_with("cn-") => format!("https://ec2.{region}.amazonaws.com.cn"),
            None => format!("https://ec2.{region}.amazonaws.com"),
        };
        let host = url.split_once("://").map_or(url.as_str(), |(_, host)| host);
        let body = format!(
            "Action=ModifyInstanceAttribute&InstanceId={instance}&SourceDestCheck.Value=false&Version={VERSION}"
        );
        let request = Request {
            method: "POST",
            host,
            query: "",
            content_type: CONTENT_TYPE,
            body: &body,
            service: SERVICE,
            region: &region,
        };
        let mut headers = sign::headers(&request, &who, SystemTime::now());
        headers.push(("content-type", CONTENT_TYPE.to_owned()));
        http.ask(Method::POST, &format!("{url}/"), &headers, &body).await?;
        Ok(())
    }
}

fn of_environment() -> Option<Credentials> {
    let variable = |name| env::var(name).ok().filter(|value| !value.is_empty());
    Some(Credentials {
        key: variable("AWS_ACCESS_KEY_ID")?,
        secret: variable("AWS_SECRET_ACCESS_KEY")?,
        token: variable("AWS_SESSION_TOKEN"),
    })
}

impl Apply for Applier {
    type Key = ();
    type Value = InstanceId;

    fn apply(&mut self, desired: &BTreeMap<(), InstanceId>, _: &Scope<()>) -> Report {
        let mut report = Report::default();
        let Some(instance) = desired.get(&()) else { return report };
        if self.done.as_ref() != Some(instance) {
            match self.runtime.clone().block_on(self.switch_off(instance)) {
                Ok(()) => {
                    tracing::info!(%instance, "the source/destination check of this node's instance is off");
                    self.done = Some(instance.clone());
                }
                Err(error) => {
                    let (advice, retry) = error.advice();
                    // Not the plane's own name: nothing here makes a node unready.
                    let item = format!("instance {instance}");
                    let message = format!("the source/destination check stays on: {error}; {advice}");
                    report.problems.push(Problem { item, message, retry });
                }
            }
        }
        report.counts.insert("instances without the check", u64::from(self.done.is_some()));
        report
    }

    fn item(&self, (): &()) -> Option<String> {
        Some(NAME.to_owned())
    }
}
