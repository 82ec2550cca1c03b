//! What stands in for the images that the tests name, which no registry within reach has: Kubernetes' own test server with the
//! usual small programs for most of them.

use std::path::Path;

use anyhow::{Context, Result};

use super::Order;
use crate::cluster::dns_image;
use crate::image::{self, Image};
use crate::process::{capture, command};

/// Kubernetes' test server and client.
const AGNHOST: &str = "agnhost";

/// Its certificate and the key of it.
const CERTIFICATE: [&str; 2] = ["localhost.crt", "localhost.key"];

/// What tests start by a shell or let do nothing: the test server has what they call.
const LIKE_AGNHOST: [&str; 3] = ["busybox", "glibc-dns-testing", "nginx"];

/// A server that sends segments out of the window.
const REGRESSION: &str = "regression-issue-74839";

/// The images of a run, beside those that every cluster of the lab has.
pub(super) fn of(order: &Order) -> Result<Vec<Image>> {
    let agnhost = newest(&order.images, AGNHOST).context("the tests name no agnhost image")?;
    let agnhost = image::agnhost(&agnhost, &order.parts.programs.path(AGNHOST))?.with_tools()?;
    // By these names its TLS servers look for what they are; who asks them takes any certificate.
    let identity = identity()?;
    let agnhost = CERTIFICATE.iter().fold(agnhost, |image, name| image.file(name, identity.as_bytes()));
    let Some(programs) = &order.services else { return Ok(vec![agnhost]) };
    let alike = order.images.iter().filter(|name| LIKE_AGNHOST.contains(&short(name)));
    let mut images = vec![alike.fold(agnhost, |image, name| image.also(name))];
    images.push(dns_image(&programs.join("coredns"))?);
    if let Some(name) = newest(&order.images, "pause") {
        images.push(plain(&name, &order.parts.programs.path("pause"))?);
    }
    if let Some(name) = newest(&order.images, REGRESSION) {
        images.push(plain(&name, &programs.join(REGRESSION))?);
    }
    Ok(images)
}

/// A certificate that its own key has signed, and the key: both as PEM, one after the other.
fn identity() -> Result<String> {
    let words = "req -x509 -newkey rsa:2048 -nodes -subj /CN=localhost -days 3650 -keyout - -out -";
    capture(command("openssl").args(words.split(' '))).context("a certificate for the test server")
}

/// An image of one program, named as the file.
fn plain(name: &str, program: &Path) -> Result<Image> {
    let file = program.file_name().context("a program without a name")?.to_string_lossy();
    Image::new(name, &[&format!("/{file}")], &[]).program(&file, program)
}

/// The last part of a name, without its tag.
fn short(name: &str) -> &str {
    let last = name.rsplit('/').next().unwrap_or(name);
    last.split(':').next().unwrap_or(last)
}

/// The newest by the numbers of the tag.
fn newest(names: &[String], wanted: &str) -> Option<String> {
    let version = |name: &String| -> Option<Vec<u32>> {
        let (_, tag) = name.rsplit_once(':')?;
        tag.split(['.', '-']).map(|number| number.parse().ok()).collect()
    };
    let known = names.iter().filter(|name| short(name) == wanted);
    known.filter_map(|name| Some((version(name)?, name))).max().map(|(_, name)| name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_taken_by_number() {
        let names = ["registry.k8s.io/e2e-test-images/agnhost:2.9.1", "registry.k8s.io/pause:3.10.2"];
        let mut names: Vec<String> = names.map(str::to_owned).into();
        names.push("registry.k8s.io/e2e-test-images/agnhost:2.63.0".to_owned());
        let newest_of = |wanted| newest(&names, wanted);
        assert_eq!(newest_of("agnhost").as_deref(), Some("registry.k8s.io/e2e-test-images/agnhost:2.63.0"));
        assert_eq!(newest_of("pause").as_deref(), Some("registry.k8s.io/pause:3.10.2"));
        assert_eq!(newest_of("nginx"), None);
    }
}
