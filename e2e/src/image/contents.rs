//! What goes into which image.

use std::path::Path;

use anyhow::Result;

use super::Image;

/// The name under which `daemonset/` asks for the daemon's image.
pub const ROUTERD_NAME: &str = "localhost/routerd:dev";

/// The daemon's image from the folder of its static programs: the daemon, the plugin, the installer and nothing else.
pub fn routerd(programs: &Path) -> Result<Image> {
    let mut image = Image::new(ROUTERD_NAME, &["/routerd"], &[]);
    for program in ["routerd", "routerd-cni", "routerd-init"] {
        image = image.program(program, &programs.join(program))?;
    }
    Ok(image)
}
