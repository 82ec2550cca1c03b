//! The Go programs of a real cluster (control plane, kubelet, container runtime, a test image's program), built from
//! their modules, because no registry within reach has them built. Cached by what they are made from.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::paths::{cache, fingerprint};
use crate::process::{PATH, capture, command, describe, tail};
use crate::progress::{Step, step};

/// Names a folder with `etcd`, `kube-apiserver` and `kubectl` to use instead of ours (as Kubernetes' own test tools do).
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// Debian's Go 1.19 cannot build Kubernetes 1.36; this is what its go.mod asks for.
const NEEDED: &str = "Go 1.26 (https://go.dev/dl/)";

/// Flags of every build: no paths of this machine, no symbols, and no C compiler.
const FLAGS: [&str; 4] = ["build", "-trimpath", "-buildvcs=false", "-v"];

macro_rules! source {
    ($module:literal, $($file:literal),+) => {
        Source { name: $module, files: &[$(($file, include_str!(concat!("../../data/go/", $module, "/", $file)))),+] }
    };
}

/// The same for a package's tests as a program; its packages are vetted where they are made.
const TEST_FLAGS: [&str; 5] = ["test", "-c", "-vet=off", "-trimpath", "-buildvcs=false"];

/// What Go calls a program that is a package's tests.
const TEST: &str = ".test";

/// A module of `data/go`, carried inside the lab's program.
struct Source {
    name: &'static str,
    files: &'static [(&'static str, &'static str)],
}

const KUBE: Source = source!("kube", "go.mod", "go.sum", "main.go");
const CONTAINERD: Source = source!("containerd", "go.mod", "go.sum", "tools.go");
const PAUSE: Source = source!("pause", "go.mod", "main.go");
/// The reference plugins of the current release.
const CNI: Source = source!("cni", "go.mod", "go.sum", "tools.go");

/// cnitool and a program of ours around libcni, both of the current release of CNI.
const LIBCNI: Source = source!("libcni", "go.mod", "go.sum", "main.go", "tools.go");

/// The cluster's DNS.
const DNS: Source = source!("dns", "go.mod", "go.sum", "tools.go");

/// What is built: the program's file name, its module and the package in it.
type Program = (&'static str, &'static Source, &'static str);

/// The programs of a real cluster.
const PROGRAMS: [Program; 6] = [
    ("pause", &PAUSE, "."),
    ("containerd", &CONTAINERD, "github.com/containerd/containerd/v2/cmd/containerd"),
    (
        "containerd-shim-runc-v2",
        &CONTAINERD,
        "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
    ),
    ("ctr", &CONTAINERD, "github.com/containerd/containerd/v2/cmd/ctr"),
    ("agnhost", &KUBE, "k8s.io/kubernetes/test/images/agnhost"),
    ("kube", &KUBE, "."),
];

/// The reference plugins that the benches compare with, beside Debian's older ones.
const PLUGINS: [Program; 6] = [
    ("bridge", &CNI, "github.com/containernetworking/plugins/plugins/main/bridge"),
    ("loopback", &CNI, "github.com/containernetworking/plugins/plugins/main/loopback"),
    ("host-local", &CNI, "github.com/containernetworking/plugins/plugins/ipam/host-local"),
    ("portmap", &CNI, "github.com/containernetworking/plugins/plugins/meta/portmap"),
    ("bandwidth", &CNI, "github.com/containernetworking/plugins/plugins/meta/bandwidth"),
    ("tuning", &CNI, "github.com/containernetworking/plugins/plugins/meta/tuning"),
];

/// What drives the plugin as container runtimes do.
const DRIVERS: [Program; 2] =
    [("cnitool", &LIBCNI, "github.com/containernetworking/cni/cnitool"), ("libcni", &LIBCNI, ".")];

/// The tests that every Kubernetes cluster must pass, of the release that the lab's control plane is.
const CONFORMANCE: [Program; 1] = [("e2e.test", &KUBE, "k8s.io/kubernetes/test/e2e")];

/// What the tests of Services need beside them: names in the cluster, and a server that answers with segments out of the
/// window.
const SERVICES: [Program; 2] = [
    ("coredns", &DNS, "github.com/coredns/coredns"),
    ("regression-issue-74839", &KUBE, "k8s.io/kubernetes/test/images/regression-issue-74839"),
];

/// The proxy that comes with Kubernetes, which the benches compare with.
const PROXY: [Program; 1] = [("kube-proxy", &KUBE, "k8s.io/kubernetes/cmd/kube-proxy")];

/// A folder with `coredns` and `regression-issue-74839`; `None` on a machine without Go.
pub fn services() -> Result<Option<PathBuf>> {
    built("services", &SERVICES)
}

/// `kube-proxy`; `None` on a machine without Go.
pub fn proxy() -> Result<Option<PathBuf>> {
    Ok(built("proxy", &PROXY)?.map(|folder| folder.join(PROXY[0].0)))
}

/// Kubernetes' own end-to-end tests as one program, built when the cache has none; `None` on a machine without Go.
pub fn conformance() -> Result<Option<PathBuf>> {
    Ok(built("e2e", &CONFORMANCE)?.map(|folder| folder.join(CONFORMANCE[0].0)))
}

/// A folder with `cnitool` and `libcni`, built when the cache has none; `None` on a machine without Go.
pub fn cni_drivers() -> Result<Option<PathBuf>> {
    built("libcni", &DRIVERS)
}

/// What the release of cnitool and libcni is called.
pub fn cni_release() -> &'static str {
    let line = LIBCNI.files[0].1.lines().find_map(|line| line.split_once("containernetworking/cni v"));
    line.map_or("?", |(_, version)| version.trim())
}

/// A folder with the reference plugins of the current release, built when the cache has none; `None` on a machine
/// without Go.
pub fn reference_plugins() -> Result<Option<PathBuf>> {
    built("cni", &PLUGINS)
}

/// What the release of the reference plugins is called.
pub fn reference_release() -> &'static str {
    let line = CNI.files[0].1.lines().find_map(|line| line.split_once("containernetworking/plugins v"));
    line.map_or("?", |(_, version)| version.trim())
}

/// The folder of some programs in the cache, filled when it is not there.
fn built(kind: &str, programs: &[Program]) -> Result<Option<PathBuf>> {
    let folder = cache()?.join(format!("{kind}-{}", key(programs)));
    if folder.is_dir() {
        return Ok(Some(folder));
    }
    let Some(go) = find_go() else { return Ok(None) };
    build_all(&go, programs, &folder)?;
    Ok(Some(folder))
}

/// The programs, ready to be started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Programs {
    folder: PathBuf,
    assets: Option<PathBuf>,
}

impl Programs {
    /// The programs, built when the cache has none; `None` on a machine without Go.
    pub fn prepare() -> Result<Option<Self>> {
        let assets = std::env::var_os(ASSETS).filter(|value| !value.is_empty()).map(PathBuf::from);
        Ok(built("go", &PROGRAMS)?.map(|folder| Self { folder, assets }))
    }

    /// Where a program lies that is not part of `kube`.
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join(program)
    }

    /// A program of the control plane as a file and the argument that must come first, if any.
    pub fn kubernetes(&self, program: &str) -> (PathBuf, Option<String>) {
        match self.assets.as_ref().map(|folder| folder.join(program)).filter(|path| path.is_file()) {
            Some(path) => (path, None),
            None => (self.path("kube"), Some(program.to_owned())),
        }
    }

    /// A command of the control plane, to run on this side.
    pub fn command(&self, program: &str) -> Command {
        let (path, first) = self.kubernetes(program);
        let mut prepared = command(path);
        prepared.args(first);
        prepared
    }
}

/// Why there are no programs and what to do about it.
pub fn missing() -> String {
    format!(
        "Go is not installed, and the kubelet, the container runtime and the controllers are built with it \
         (${ASSETS} can stand in for etcd, kube-apiserver and kubectl only). Install {NEEDED} and put `go` on the PATH"
    )
}

fn key(programs: &[Program]) -> String {
    let mut parts = FLAGS.to_vec();
    for (program, source, package) in programs {
        parts.extend([program, package]);
        parts.extend(TEST_FLAGS.iter().filter(|_| program.ends_with(TEST)));
        parts.extend(source.files.iter().flat_map(|(name, text)| [*name, *text]));
    }
    fingerprint(&parts)
}

fn find_go() -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default() + ":" + PATH;
    path.split(':').map(|folder| Path::new(folder).join("go")).find(|file| file.is_file())
}

/// Builds beside the final place and moves it there at the end, so that a folder of that name is always complete.
fn build_all(go: &Path, programs: &[Program], to: &Path) -> Result<()> {
    let parent = to.parent().context("the cache has no folder")?;
    let work = super::build_folder("go", parent)?;
    let output = work.path().join("programs");
    fs::create_dir(&output)?;
    for (_, source, _) in programs {
        let folder = work.path().join(source.name);
        fs::create_dir_all(&folder)?;
        for (name, text) in source.files {
            fs::write(folder.join(name), text)
                .with_context(|| format!("writing {name} of {}", source.name))?;
        }
    }
    for (program, source, package) in programs {
        step(&format!("go build {program}"), |step| {
            let file = output.join(program);
            build_one(go, &work.path().join(source.name), package, &file, step)?;
            let size = fs::metadata(&file)?.len() >> 20;
            Ok(((), format!("{size} MiB")))
        })?;
    }
    match fs::rename(&output, to) {
        // Another run was faster; its programs are the same.
        Err(_) if to.is_dir() => Ok(()),
        result => result.with_context(|| format!("naming {}", to.display())),
    }
}

fn build_one(go: &Path, folder: &Path, package: &str, output: &Path, step: &mut Step) -> Result<()> {
    let linking = format!("-ldflags=-s -w {}", version_flags());
    if !output.to_string_lossy().ends_with(TEST) {
        let mut build = prepared(go, folder);
        build.args(FLAGS).arg(linking).arg("-o").arg(output).arg(package);
        return watched(go, folder, package, build, step);
    }
    // The tests' program alone says nothing until it is made, which takes long: first the packages that it is made of.
    let below = format!("{package}/...");
    let mut packages = prepared(go, folder);
    packages.args(FLAGS).args(["-o", "/dev/null"]).arg(&below);
    watched(go, folder, &below, packages, step)?;
    let mut tests = prepared(go, folder);
    tests.args(TEST_FLAGS).arg(linking).arg("-o").arg(output).arg(package);
    watched(go, folder, package, tests, step)
}

/// Runs a build that names each package when it is made.
fn watched(go: &Path, folder: &Path, package: &str, mut build: Command, step: &mut Step) -> Result<()> {
    let packages = capture(prepared(go, folder).args(["list", "-deps", package]))?.lines().count() as u64;
    let mut child = build
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} could not be started", describe(&build)))?;
    let log = folder.join("build.log");
    let (mut text, mut done) = (String::new(), 0);
    if let Some(lines) = child.stderr.take() {
        for line in BufReader::new(lines).lines() {
            let line = line.context("reading what the Go build says")?;
            done += u64::from(!line.starts_with("go: "));
            step.update(done, packages, "packages");
            text = text + &line + "\n";
        }
    }
    fs::write(&log, text)?;
    let status = child.wait()?;
    if !status.success() {
        bail!(
            "{} ended with {status} (it needs {NEEDED} and the Go module proxy):\n{}",
            describe(&build),
            tail(&log, 25)
        );
    }
    Ok(())
}

fn prepared(go: &Path, folder: &Path) -> Command {
    let mut prepared = command(go);
    prepared.current_dir(folder).env("CGO_ENABLED", "0").env("GOWORK", "off").env_remove("GOFLAGS");
    prepared
}

/// What the programs answer when asked for their version: that of the Kubernetes module.
fn version_flags() -> String {
    let line = KUBE.files[0].1.lines().find_map(|line| line.trim().strip_prefix("k8s.io/kubernetes "));
    let version = line.unwrap_or("v0.0.0").trim();
    let mut numbers = version.trim_start_matches('v').split('.');
    let (major, minor) = (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default());
    let set = |name: &str, value: &str| format!("-X k8s.io/component-base/version.{name}={value}");
    [set("gitVersion", version), set("gitMajor", major), set("gitMinor", minor)].join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_that_of_the_module_file() {
        let flags = version_flags();
        assert!(flags.contains("version.gitVersion=v1.36."), "{flags}");
        assert!(flags.contains("version.gitMajor=1 ") && flags.ends_with("version.gitMinor=36"), "{flags}");
    }

    #[test]
    fn the_cache_key_is_stable_within_one_source() {
        assert_eq!(key(&PROGRAMS), key(&PROGRAMS));
        assert_eq!(key(&PROGRAMS).len(), 16);
        assert_ne!(key(&PROGRAMS), key(&PLUGINS));
    }

    #[test]
    fn the_release_of_the_reference_plugins_is_that_of_the_module_file() {
        assert_eq!(reference_release(), "1.9.1");
    }

    #[test]
    fn a_program_of_the_control_plane_comes_from_the_assets_when_they_have_it() {
        let assets = tempfile::tempdir().unwrap();
        fs::write(assets.path().join("etcd"), "").unwrap();
        let programs = Programs { folder: "/cache".into(), assets: Some(assets.path().into()) };
        assert_eq!(programs.kubernetes("etcd"), (assets.path().join("etcd"), None));
        assert_eq!(programs.kubernetes("kubelet"), ("/cache/kube".into(), Some("kubelet".into())));
    }
}
