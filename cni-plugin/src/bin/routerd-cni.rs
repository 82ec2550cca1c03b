//! The CNI plugin: one program under the names `routerd-cni`, `bridge`, `host-local`, `loopback`.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use cni_plugin::bridge::Bridge;
use cni_plugin::plugin::{World, run};

fn main() -> ExitCode {
    let called = std::env::args_os().next().unwrap_or_else(|| OsString::from("routerd-cni"));
    let called = Path::new(&called).file_name().unwrap_or_default().to_string_lossy().into_owned();
    // A value that is no text is no valid value of any variable of the protocol; it fails the checks as it is shown.
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    let mut world = World {
        called: &called,
        variable: &variable,
        stdin: &mut std::io::stdin().lock(),
        stdout: &mut std::io::stdout().lock(),
        stderr: &mut std::io::stderr(),
    };
    ExitCode::from(run(&mut world, &Bridge))
}
