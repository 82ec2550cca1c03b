//! Container images without a container engine: OCI image archives of one layer, from scratch, made
//! from static programs (OCI image specification 1.1: layout, index, manifest, configuration, layer).

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::paths::hex;

mod contents;
mod elf;
mod tar;
pub mod tools;

pub use contents::{ROUTERD_NAME, agnhost, routerd};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// `cargo lab image`: builds what is missing and writes the daemon's image.
pub fn command(output: &Path, binaries: Option<&Path>) -> Result<()> {
    let binaries = crate::setup::binaries::prepare(binaries)?;
    crate::progress::step(&format!("image {ROUTERD_NAME}"), |_| {
        let digest = routerd(&binaries)?.write(output)?;
        let size = std::fs::metadata(output)?.len();
        Ok(((), format!("{}, {} KiB, {digest}", output.display(), size >> 10)))
    })
}

/// An image: programs and what to start of them.
#[derive(Debug, Clone, Default)]
pub struct Image {
    /// The full name with its tag, as a pod names it.
    pub name: String,
    /// Other names that pods know it by.
    also: Vec<String>,
    /// The program to start, and its arguments that always apply.
    pub entrypoint: Vec<String>,
    /// The arguments that apply when a pod gives none.
    pub arguments: Vec<String>,
    /// Files, each of which may be executed, by path without a leading slash.
    files: BTreeMap<String, Vec<u8>>,
    /// Symbolic links, by path without a leading slash, with their targets.
    links: BTreeMap<String, String>,
    /// Where a shell looks for programs.
    search_path: String,
}

impl Image {
    /// An image without files.
    pub fn new(name: &str, entrypoint: &[&str], arguments: &[&str]) -> Self {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            name: name.to_owned(),
            also: Vec::new(),
            entrypoint: owned(entrypoint),
            arguments: owned(arguments),
            files: BTreeMap::new(),
            links: BTreeMap::new(),
            search_path: "/".to_owned(),
        }
    }

    /// Gives it one more full name.
    #[must_use]
    pub fn also(mut self, name: &str) -> Self {
        self.also.push(name.to_owned());
        self
    }

    /// Adds a program of this machine under a path in the image.
    pub fn program(mut self, path: &str, from: &Path) -> Result<Self> {
        let content = std::fs::read(from)
            .with_context(|| format!("{} could not be read for the image {}", from.display(), self.name))?;
        if elf::needs_a_loader(&content) {
            bail!(
                "{} is not a static program, so it cannot start in the image {}, which holds no C library",
                from.display(),
                self.name
            );
        }
        self.files.insert(path.trim_start_matches('/').to_owned(), content);
        Ok(self)
    }

    /// Adds a file with `content` under a path in the image.
    #[must_use]
    pub fn file(mut self, path: &str, content: &[u8]) -> Self {
        self.files.insert(path.trim_start_matches('/').to_owned(), content.to_vec());
        self
    }

    /// Writes the archive, whole or not at all, and returns the digest of the image's manifest.
    ///
    /// The same programs give the same bytes.
    pub fn write(&self, to: &Path) -> Result<String> {
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)
            .with_context(|| format!("a file in {} could not be made", folder.display()))?;
        let digest = self
            .archive(std::io::BufWriter::new(file.as_file_mut()))
            .with_context(|| format!("writing the image {}", self.name))?;
        // An archive is for whoever imports it, but a temporary file is born private.
        std::fs::set_permissions(file.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.persist(to).with_context(|| format!("the image could not be named {}", to.display()))?;
        Ok(digest)
    }

    fn archive(&self, to: impl Write) -> Result<String> {
        let layer = Blob::new(LAYER, self.layer()?);
        let config = Blob::new(CONFIG, self.config(&layer).to_string().into_bytes());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
        });
        let manifest = Blob::new(MANIFEST, manifest.to_string().into_bytes());
        let entry = |name: &String| {
            let mut entry = manifest.descriptor();
            entry["annotations"] =
                json!({ "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name });
            entry
        };
        let entries: Vec<Value> = std::iter::once(&self.name).chain(&self.also).map(entry).collect();
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries });
        let mut archive = tar::Archive::new(to);
        archive.file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        archive.file("index.json", 0o644, index.to_string().as_bytes())?;
        for blob in [&config, &manifest, &layer] {
            archive.file(&format!("blobs/sha256/{}", blob.sha256), 0o644, &blob.content)?;
        }
        archive.finish()?;
        Ok(manifest.digest())
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut archive = tar::Archive::new(Vec::new());
        for folder in self.folders() {
            archive.folder(folder, 0o755)?;
        }
        for (path, content) in &self.files {
            archive.file(path, 0o755, content)?;
        }
        for (path, target) in &self.links {
            archive.link(path, target)?;
        }
        archive.finish()
    }

    /// Every folder a file lies in, parents before children.
    fn folders(&self) -> BTreeSet<&str> {
        let all = self.files.keys().chain(self.links.keys());
        all.flat_map(|path| path.match_indices('/').map(|(end, _)| &path[..end])).collect()
    }

    fn config(&self, layer: &Blob) -> Value {
        json!({
            "architecture": architecture(),
            "os": "linux",
            "config": { "Entrypoint": self.entrypoint, "Cmd": self.arguments, "Env": [format!("PATH={}", self.search_path)] },
            "rootfs": { "type": "layers", "diff_ids": [layer.digest()] },
        })
    }
}

/// Content that is found by its digest, which is reckoned once: layers are large.
struct Blob {
    media_type: &'static str,
    content: Vec<u8>,
    sha256: String,
}

impl Blob {
    fn new(media_type: &'static str, content: Vec<u8>) -> Self {
        let sha256 = hex(&Sha256::digest(&content));
        Self { media_type, content, sha256 }
    }

    fn digest(&self) -> String {
        format!("sha256:{}", self.sha256)
    }

    fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest(), "size": self.content.len() })
    }
}

/// This machine's architecture in the words of the specification (Go's).
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::{capture, command};

    fn example(folder: &Path) -> Image {
        let program = folder.join("program");
        std::fs::write(&program, "not really a program").unwrap();
        let image = Image::new("localhost/example:dev", &["/opt/bin/program"], &["serve"]);
        image.program("/opt/bin/program", &program).unwrap()
    }

    #[test]
    fn the_same_programs_give_the_same_archive() {
        let folder = tempfile::tempdir().unwrap();
        let image = example(folder.path());
        let (one, two) = (folder.path().join("one.tar"), folder.path().join("two.tar"));
        assert_eq!(image.write(&one).unwrap(), image.write(&two).unwrap());
        assert_eq!(std::fs::read(one).unwrap(), std::fs::read(two).unwrap());
    }

    #[test]
    fn index_manifest_configuration_and_layer_are_found_by_their_digests() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("image.tar");
        let digest = example(folder.path()).write(&path).unwrap();
        capture(command("tar").arg("-xf").arg(&path).arg("-C").arg(folder.path())).unwrap();
        let blob = |digest: &str| {
            std::fs::read(folder.path().join("blobs/sha256").join(digest.trim_start_matches("sha256:")))
                .unwrap()
        };
        let index: Value =
            serde_json::from_slice(&std::fs::read(folder.path().join("index.json")).unwrap()).unwrap();
        let entry = &index["manifests"][0];
        assert_eq!(entry["digest"], digest);
        assert_eq!(entry["annotations"]["io.containerd.image.name"], "localhost/example:dev");
        let manifest: Value = serde_json::from_slice(&blob(&digest)).unwrap();
        let config: Value =
            serde_json::from_slice(&blob(manifest["config"]["digest"].as_str().unwrap())).unwrap();
        assert_eq!(config["config"]["Entrypoint"][0], "/opt/bin/program");
        let layer = manifest["layers"][0]["digest"].as_str().unwrap();
        assert_eq!(config["rootfs"]["diff_ids"][0], layer);
        std::fs::write(folder.path().join("layer.tar"), blob(layer)).unwrap();
        let list = capture(command("tar").arg("-tf").arg(folder.path().join("layer.tar"))).unwrap();
        assert_eq!(list.lines().collect::<Vec<_>>(), ["opt/", "opt/bin/", "opt/bin/program"]);
    }
}
