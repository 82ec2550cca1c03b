//! What the instance says of itself: region, and the credentials of its role (instance metadata service, version 2).

use hyper::Method;
use serde::Deserialize;

use super::http::{Http, HttpError};
use super::sign::Credentials;

/// How long the session lasts, in seconds; it is for three questions.
const SESSION: &str = "60";

/// Why the instance says nothing of use.
#[derive(Debug, thiserror::Error)]
pub(super) enum ImdsError {
    /// It does not answer.
    #[error("the metadata service of the instance: {0}")]
    Http(#[from] HttpError),
    /// It has no role.
    #[error("the instance has no role")]
    NoRole,
    /// The credentials are not understood.
    #[error("the credentials of the role {role} are not understood: {source}")]
    Credentials {
        /// The role.
        role: String,
        /// The cause.
        source: serde_json::Error,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoleCredentials {
    access_key_id: String,
    secret_access_key: String,
    token: String,
}

/// A session with the service.
#[derive(Debug)]
pub(super) struct Imds<'a> {
    http: &'a Http,
    endpoint: &'a str,
    token: String,
}

impl<'a> Imds<'a> {
    /// Begins one. A pod that is not in the host's network would be one hop too far for the answer.
    pub(super) async fn open(http: &'a Http, endpoint: &'a str) -> Result<Self, ImdsError> {
        let url = format!("{endpoint}/latest/api/token");
        let headers = [("x-aws-ec2-metadata-token-ttl-seconds", SESSION.to_owned())];
        let token = http.ask(Method::PUT, &url, &headers, "").await?;
        Ok(Self { http, endpoint, token })
    }

    async fn get(&self, path: &str) -> Result<String, HttpError> {
        let url = format!("{}/latest/meta-data/{path}", self.endpoint);
        let headers = [("x-aws-ec2-metadata-token", self.token.clone())];
        self.http.ask(Method::GET, &url, &headers, "").await
    }

    /// The region that the instance is in.
    pub(super) async fn region(&self) -> Result<String, ImdsError> {
        Ok(self.get("placement/region").await?.trim().to_owned())
    }

    /// The credentials of the instance's role.
    pub(super) async fn credentials(&self) -> Result<Credentials, ImdsError> {
        const ROLES: &str = "iam/security-credentials/";
        let roles = match self.get(ROLES).await {
            Err(HttpError::Refused { status, .. }) if status == hyper::StatusCode::NOT_FOUND => String::new(),
            answer => answer?,
        };
        let role = roles.lines().next().map(str::trim).filter(|role| !role.is_empty());
        let role = role.ok_or(ImdsError::NoRole)?;
        let text = self.get(&format!("{ROLES}{role}")).await?;
        let found: RoleCredentials = serde_json::from_str(&text)
            .map_err(|source| ImdsError::Credentials { role: role.to_owned(), source })?;
        Ok(Credentials {
            key: found.access_key_id,
            secret: found.secret_access_key,
            token: Some(found.token),
        })
    }
}
