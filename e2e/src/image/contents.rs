//! What goes into which image.

use std::path::Path;

use anyhow::Result;

use super::Image;

/// The name under which `daemonset/` asks for the daemon's image.
pub const ROUTERD_NAME: &str = "localhost/routerd:dev";

/// Where `daemonset/` and the installer's defaults look for each program.
const PLACES: [(&str, &str); 3] = [
    ("routerd", "usr/bin/routerd"),
    ("routerd-init", "usr/bin/routerd-init"),
    ("routerd-cni", "usr/libexec/cni/routerd-cni"),
];

/// The image of Kubernetes' test server and client under a name, from its program, which is static.
pub fn agnhost(name: &str, program: &Path) -> Result<Image> {
    Image::new(name, &["/agnhost"], &["pause"]).program("agnhost", program)
}

/// The daemon's image from the folder of its static programs: the daemon, the plugin, the installer and nothing else.
pub fn routerd(programs: &Path) -> Result<Image> {
    PLACES.iter().try_fold(Image::new(ROUTERD_NAME, &["/usr/bin/routerd"], &[]), |image, (program, place)| {
        image.program(place, &programs.join(program))
    })
}
