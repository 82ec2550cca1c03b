//! Runs the targets of `cni_plugin::fuzzing` and `bgp::fuzzing`, and that of the installer, for libFuzzer.
//!
//! `cargo lab fuzz` builds these programs with the stable toolchain; `cargo fuzz run TARGET -s none` does, too, where
//! cargo-fuzz is installed, and without `-s none` it adds the address sanitizer on a nightly one.

/// Runs the target `name`.
///
/// # Panics
///
/// If there is no such target, or if the target found something.
pub fn run(name: &str, data: &[u8]) {
    if name == "install" {
        return init::conflist::fuzzing::install(data);
    }
    let mut all = cni_plugin::fuzzing::TARGETS.iter().chain(bgp::fuzzing::TARGETS);
    let target = all.find(|(known, _)| *known == name);
    let (_, target) = target.unwrap_or_else(|| panic!("{name} is no target"));
    target(data);
}
