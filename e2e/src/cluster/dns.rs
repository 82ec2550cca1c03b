//! The cluster's own name service: a real CoreDNS, under the address that kubelets tell their pods (`kubelet.yaml`).

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::control_plane::ControlPlane;
use crate::image::Image;
use crate::process::wait_for;

/// The image of `dns.yaml`.
const IMAGE: &str = "localhost/coredns:dev";

const MANIFEST: &str = include_str!("dns.yaml");

/// Where the manifest wants the kubeconfig.
const PLACE: &str = "    # the lab's\n";

/// How long its pods may take.
const LIMIT: Duration = Duration::from_mins(2);

/// Its image, from the static program.
pub(crate) fn image(program: &Path) -> Result<Image> {
    Image::new(IMAGE, &["/coredns"], &[]).program("coredns", program)
}

/// Applies it and waits until all its pods are ready, which they are when they have read the API.
pub(super) fn deploy(plane: &ControlPlane) -> Result<()> {
    let kubeconfig = fs::read_to_string(&plane.kubeconfig).context("the kubeconfig of the cluster's DNS")?;
    plane.apply(&manifest(&kubeconfig)?)?;
    wait_for("the cluster's DNS", LIMIT, || {
        let deployment = plane.api.get("/apis/apps/v1/namespaces/kube-system/deployments/coredns")?;
        let (wanted, ready) = (&deployment["spec"]["replicas"], &deployment["status"]["readyReplicas"]);
        ensure!(wanted == ready, "{ready} of {wanted} pods are ready");
        Ok(Some(()))
    })
}

fn manifest(kubeconfig: &str) -> Result<String> {
    let (before, after) = MANIFEST.split_once(PLACE).context("dns.yaml has no place for the kubeconfig")?;
    let indented = kubeconfig.trim_end().replace('\n', "\n    ");
    Ok(format!("{before}    {indented}\n{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubeconfig_is_a_block_of_the_config_map() {
        let text = manifest("apiVersion: v1\nkind: Config\n").unwrap();
        assert!(text.contains("  kubeconfig: |\n    apiVersion: v1\n    kind: Config\n---\n"), "{text}");
    }
}
