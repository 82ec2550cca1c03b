//! An IPAM plugin that is not built in: a program in `CNI_PATH`, which gets our own stdin and environment.
//!
//! It is the only program that this one ever runs. Nothing it does can harm more than its own operation: an answer that
//! is no result, none at all or a death are errors, and whatever was begun with it is ended by its DEL.

mod answer;
mod child;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use kernel::rtnl::Rtnl;

use crate::bridge::open_pod;
use crate::config::NetConf;
use crate::env::Environment;
use crate::error::{CniError, Code};
use crate::ipam::Owner;
use crate::plugin::Role;
use crate::request::{Addresses, Ipam, Request};
use crate::undo::Undo;

/// STATUS as a whole has two seconds: a runtime asks with no limit of its own and holds a lock meanwhile. The daemon may
/// be asked as well.
const STATUS_LIMIT: Duration = Duration::from_millis(900);

/// An IPAM plugin as a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignIpam {
    name: String,
    program: PathBuf,
}

impl ForeignIpam {
    /// Finds the program of `ipam.type` `name` in `CNI_PATH`; the first regular file of that name is it.
    pub fn find(name: &str, env: &Environment) -> Result<Self, CniError> {
        if name.contains(['/', '\0']) || Role::is_known(name) {
            return Err(CniError::config(format!("ipam.type: {name:?} is no IPAM plugin"))
                .with_details("host-local is built in; any other is the name of a program in CNI_PATH"));
        }
        if env.path.is_empty() {
            let msg =
                format!("required env variables [CNI_PATH] missing: ipam.type {name:?} is looked for there");
            return Err(CniError::new(Code::ENVIRONMENT, msg));
        }
        let mut candidates = env.path.iter().map(|folder| folder.join(name));
        let program = candidates.find(|path| path.metadata().is_ok_and(|found| found.is_file()));
        let program = program.ok_or_else(|| {
            let msg = format!("ipam.type: failed to find plugin {name:?} in path {:?}", env.path);
            CniError::new(Code::UNSUPPORTED, msg)
                .with_details("install it, or use host-local, which is built in")
        })?;
        Ok(Self { name: name.to_owned(), program })
    }

    /// Runs one operation to its end; the answer is what it said on stdout.
    fn call(&self, command: &str, conf: &NetConf, limit: Option<Duration>) -> Result<Vec<u8>, CniError> {
        let child = self.start(command, limit)?;
        self.finish(command, child, conf, limit)
    }

    fn start(&self, command: &str, limit: Option<Duration>) -> Result<std::process::Child, CniError> {
        child::start(&self.program, command, limit).map_err(|error| {
            CniError::io(format!("start IPAM plugin {} ({command})", self.program.display()), &error)
        })
    }

    fn finish(
        &self,
        command: &str,
        child: std::process::Child,
        conf: &NetConf,
        limit: Option<Duration>,
    ) -> Result<Vec<u8>, CniError> {
        let ended = child::finish(child, conf.text(), limit).map_err(|error| {
            let code = if error.kind() == ErrorKind::TimedOut { Code::TRY_AGAIN } else { Code::PROTOCOL };
            CniError::new(code, format!("IPAM plugin {:?} ({command}): {error}", self.name))
        })?;
        answer::check(&self.name, command, ended)
    }
}

/// The plugin is of a time that did not know the operation.
fn is_unknown_operation(error: &CniError) -> bool {
    error.code == Code::ENVIRONMENT && error.msg.contains("CNI_COMMAND")
}

/// A second ADD of an attachment would fail later, and taking it back would release the addresses of the first: the plugin
/// knows only whose they are.
fn refuse_second_add(request: &Request) -> Result<(), CniError> {
    let ifname = request.env.ifname.as_str();
    let mut inside = open_pod(request)?.visit(Rtnl::open)??;
    match inside.link_by_name(ifname)? {
        None => Ok(()),
        Some(_) => {
            Err(CniError::new(Code::EXISTS, format!("interface {ifname:?} in the pod already exists"))
                .with_details("it was not touched; DEL comes before another ADD"))
        }
    }
}

impl Ipam for ForeignIpam {
    fn reserve(&self, request: &Request, undo: &mut Undo) -> Result<Addresses, CniError> {
        refuse_second_add(request)?;
        let child = self.start("ADD", None)?;
        let (again, conf) = (self.clone(), request.conf.clone());
        // Also when the ADD fails: who knows how far it came.
        undo.push(format!("what IPAM plugin {:?} reserved", self.name), move || {
            again.call("DEL", &conf, None).map(drop)
        });
        let said = self.finish("ADD", child, &request.conf, None)?;
        answer::addresses(&self.name, &said, request.conf.version)
    }

    fn release(&self, request: &Request) -> Result<(), CniError> {
        self.call("DEL", &request.conf, None).map(drop)
    }

    fn check(&self, request: &Request) -> Result<(), CniError> {
        self.call("CHECK", &request.conf, None).map(drop)
    }

    fn status(&self, request: &Request) -> Result<(), CniError> {
        match self.call("STATUS", &request.conf, Some(STATUS_LIMIT)) {
            Err(error) if !is_unknown_operation(&error) => Err(error),
            _ => Ok(()),
        }
    }

    fn collect(&self, conf: &NetConf, _valid: &BTreeSet<Owner>) -> Result<Vec<Owner>, CniError> {
        match self.call("GC", conf, None) {
            // It has no GC and so nothing that GC could free.
            Err(error) if is_unknown_operation(&error) || error.code == Code::VERSION => Ok(Vec::new()),
            outcome => outcome.map(|_| Vec::new()),
        }
    }
}
