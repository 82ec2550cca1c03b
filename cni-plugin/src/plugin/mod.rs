//! One invocation from environment and stdin to stdout and exit status.

mod attach;
mod bandwidth;
mod collect;
mod ipam_only;
mod legacy;
mod loopback;
mod packets;
mod parts;
mod pod;
mod portmap;
mod role;
#[cfg(test)]
mod tests;
mod tuning;

pub(crate) use collect::valid_attachments;
pub use role::Role;

use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use kernel::NetNs;
use serde_json::{Value, json};

use crate::args::{Args, UnknownKeys};
use crate::config::NetConf;
use crate::env::{Command, Environment};
use crate::error::{CniError, Code};
use crate::request::{Request, Wiring};
use crate::version::Version;

/// The longest configuration that is read. A chain's `prevResult` and hundreds of mappings fit a thousand times.
const MOST_BYTES: u64 = 8 << 20;

/// What a process has to do with the world.
pub struct World<'a> {
    /// The name the program was called by, without its folder.
    pub called: &'a str,
    /// The environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The configuration comes from here; read only if the command needs it.
    pub stdin: &'a mut dyn Read,
    /// The result or the error goes here, and nothing else.
    pub stdout: &'a mut dyn Write,
    /// Words for a person who started the program by hand.
    pub stderr: &'a mut dyn Write,
}

/// Runs one invocation; the answer is the exit status.
pub fn run(world: &mut World<'_>, wiring: &impl Wiring) -> u8 {
    let mut version = Version::NEWEST;
    // A panic becomes an error object too: a runtime would show only "exit status 101". What was done is taken back
    // while it unwinds.
    let outcome =
        catch_unwind(AssertUnwindSafe(|| execute(world, wiring, &mut version))).unwrap_or_else(|_| {
            Err(CniError::new(Code::INTERNAL, "the plugin met a case it was not written for").with_details(
                "this is a defect of routerd-cni; please report it with the pod's network configuration",
            ))
        });
    let (answer, status) = match outcome {
        Ok(answer) => (answer, 0),
        Err(error) => (Some(error.to_json(version.as_str())), 1),
    };
    let Some(answer) = answer else { return status };
    match writeln!(world.stdout, "{answer}").and_then(|()| world.stdout.flush()) {
        Ok(()) => status,
        // Nobody is left to tell.
        Err(_) => 1,
    }
}

fn execute(
    world: &mut World<'_>,
    wiring: &impl Wiring,
    version: &mut Version,
) -> Result<Option<Value>, CniError> {
    let Some(env) = Environment::read(world.variable)? else {
        about(world);
        return Ok(None);
    };
    if env.command == Command::Version {
        return Ok(Some(versions(world.called)));
    }
    let conf = NetConf::parse(&read_all(world.stdin)?)?;
    *version = conf.version;
    let role = Role::of(world.called, &conf.plugin_type)?;
    check_command(env.command, conf.version)?;
    let mut request = request(role, env, conf)?;
    judge_own_namespace(&mut request)?;
    dispatch(role, &request, wiring)
}

fn dispatch(role: Role, request: &Request, wiring: &impl Wiring) -> Result<Option<Value>, CniError> {
    match role {
        Role::RouterdCni | Role::Bridge => pod::Pod::new(role, request, wiring).run(),
        Role::HostLocal => ipam_only::run(request),
        Role::Loopback => loopback::run(request),
        Role::Bandwidth => bandwidth::run(request),
        Role::Tuning => tuning::run(request),
        Role::Portmap => portmap::run(request),
    }
}

fn about(world: &mut World<'_>) {
    let versions: Vec<&str> = Version::ALL.into_iter().map(Version::as_str).collect();
    let text = format!(
        "CNI plugin {} (routerd-cni {})\nCNI protocol versions supported: {}",
        world.called,
        env!("CARGO_PKG_VERSION"),
        versions.join(", ")
    );
    // A person who closed stderr does not want to read.
    drop(writeln!(world.stderr, "{text}"));
}

/// Every version that the plugin speaks under the name it was called by.
fn versions(called: &str) -> Value {
    let oldest = match Role::of(called, "") {
        Ok(Role::Bandwidth) => bandwidth::OLDEST,
        _ => Version::V010,
    };
    let all: Vec<&str> =
        Version::ALL.into_iter().filter(|version| *version >= oldest).map(Version::as_str).collect();
    json!({ "cniVersion": Version::NEWEST.as_str(), "supportedVersions": all })
}

fn read_all(stdin: &mut dyn Read) -> Result<Vec<u8>, CniError> {
    let mut bytes = Vec::new();
    stdin
        .take(MOST_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| CniError::io("read the network configuration from stdin", &error))?;
    if bytes.len() as u64 > MOST_BYTES {
        let msg = format!("the network configuration on stdin is longer than {MOST_BYTES} bytes");
        return Err(CniError::new(Code::DECODE, msg));
    }
    Ok(bytes)
}

fn check_command(command: Command, version: Version) -> Result<(), CniError> {
    let (allowed, since) = match command {
        Command::Check => (version.has_check(), "0.4.0"),
        Command::Status | Command::Gc => (version.has_status_and_gc(), "1.1.0"),
        Command::Add | Command::Del | Command::Version => (true, ""),
    };
    if allowed {
        return Ok(());
    }
    let command = command.as_str();
    Err(CniError::new(Code::VERSION, format!("config version does not allow {command}"))
        .with_details(format!("cniVersion is {version}, {command} exists since {since}")))
}

fn request(role: Role, env: Environment, conf: NetConf) -> Result<Request, CniError> {
    let unknown = match (env.command, role) {
        (Command::Add | Command::Check, Role::RouterdCni) => UnknownKeys::RefuseButPod,
        (Command::Add | Command::Check, Role::Loopback | Role::Bandwidth | Role::Portmap) => {
            UnknownKeys::Ignore
        }
        (Command::Add | Command::Check, _) => UnknownKeys::Refuse,
        _ => UnknownKeys::Ignore,
    };
    // What asks to take something away must not fail for what it says of the making.
    let args = match Args::parse(&env.args, unknown) {
        Err(_) if unknown == UnknownKeys::Ignore => Args::default(),
        outcome => outcome?,
    };
    Ok(Request { env, conf, args })
}

/// A pod cannot be the node: what we would wire or remove there is the node's own. A DEL is of one whose namespace is not
/// known, and frees what the attachment has elsewhere.
fn judge_own_namespace(request: &mut Request) -> Result<(), CniError> {
    let Some(path) = request.env.netns.as_deref().filter(|_| !request.env.netns_override) else {
        return Ok(());
    };
    // What cannot be opened is judged by the role: DEL bears it.
    let Ok(theirs) = NetNs::open(path) else { return Ok(()) };
    if !NetNs::current()?.is_same(&theirs)? {
        return Ok(());
    }
    if request.env.command == Command::Del {
        request.env.netns = None;
        return Ok(());
    }
    Err(CniError::new(Code::NETNS, "plugin's netns and netns from CNI_NETNS should not be the same")
        .with_details(format!("CNI_NETNS is {}; set CNI_NETNS_OVERRIDE=1 if that is meant", path.display())))
}
