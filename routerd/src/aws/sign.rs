//! AWS Signature Version 4.
//!
//! Source: "Create a signed AWS API request" in AWS' IAM user guide; HMAC is RFC 2104 with SHA-256.

use std::fmt::Write as _;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use crate::drops::clock;

/// The block of SHA-256, in bytes.
const BLOCK: usize = 64;

/// Who asks.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    /// The key's name.
    pub(super) key: String,
    /// The key.
    pub(super) secret: String,
    /// What goes with keys that end.
    pub(super) token: Option<String>,
}

/// A request that is to be signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    /// `GET` or `POST`.
    pub(super) method: &'a str,
    /// The host that is asked, with the port if it is not the usual one.
    pub(super) host: &'a str,
    /// What stands behind `?`, sorted and encoded.
    pub(super) query: &'a str,
    /// The type of the body.
    pub(super) content_type: &'a str,
    /// The body.
    pub(super) body: &'a str,
    /// Which service.
    pub(super) service: &'a str,
    /// In which region.
    pub(super) region: &'a str,
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn hash(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// RFC 2104. Keys here are shorter than a block, or hashed to be.
fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut block = [0; BLOCK];
    let hashed = Sha256::digest(key);
    let key = if key.len() > BLOCK { hashed.as_slice() } else { key };
    block[..key.len()].copy_from_slice(key);
    let with = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = Sha256::new().chain_update(with(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(with(0x5c)).chain_update(inner).finalize().to_vec()
}

/// `20150830T123600Z`.
fn stamp(at: SystemTime) -> String {
    let text: String = clock::text(at).chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let whole = text.split('.').next().unwrap_or_default();
    format!("{whole}Z")
}

/// The headers, beside host and content type, that make the request one of `who` at the time `at`.
pub(super) fn headers(
    request: &Request<'_>,
    who: &Credentials,
    at: SystemTime,
) -> Vec<(&'static str, String)> {
    let Request { method, host, query, content_type, body, service, region } = *request;
    let stamp = stamp(at);
    let day = &stamp[..8];
    let mut signed = vec![("content-type", content_type), ("host", host), ("x-amz-date", stamp.as_str())];
    signed.extend(who.token.as_deref().map(|token| ("x-amz-security-token", token)));
    let lines = signed.iter().fold(String::new(), |mut text, (name, value)| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{name}:{value}");
        text
    });
    let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
    let names = names.join(";");
    let canonical = format!("{method}\n/\n{query}\n{lines}\n{names}\n{}", hash(body));
    let scope = format!("{day}/{region}/{service}/aws4_request");
    let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", hash(&canonical));
    let steps = [day, region, service, "aws4_request", &to_sign];
    let signature =
        steps.iter().fold(format!("AWS4{}", who.secret).into_bytes(), |key, text| hmac(&key, text));
    let key = &who.key;
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={}",
        hex(&signature)
    );
    let mut headers = vec![("authorization", authorization), ("x-amz-date", stamp)];
    headers.extend(who.token.clone().map(|token| ("x-amz-security-token", token)));
    headers
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    /// RFC 4231, test cases 2 and 6.
    #[test]
    fn hmac_is_that_of_the_standard() {
        assert_eq!(
            hex(&hmac(b"Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
        assert_eq!(
            hex(&hmac(&[0xaa; 131], "Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    /// The example of AWS' documentation (`ListUsers` of IAM).
    #[test]
    fn a_request_is_signed_as_in_the_documentation_of_aws() {
        let who = Credentials {
            key: "AKIDEXAMPLE".into(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
            token: None,
        };
        let request = Request {
            method: "GET",
            host: "iam.amazonaws.com",
            query: "Action=ListUsers&Version=2010-05-08",
            content_type: "application/x-www-form-urlencoded; charset=utf-8",
            body: "",
            service: "iam",
            region: "us-east-1",
        };
        let at = UNIX_EPOCH + Duration::new(1_440_938_160, 0);
        let headers = headers(&request, &who, at);
        assert_eq!(headers[1], ("x-amz-date", "20150830T123600Z".to_owned()));
        let signature = "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
        assert!(headers[0].1.ends_with(signature), "{}", headers[0].1);
    }
}
