//! A kernel that lacks something. The lab's has all that it needs, so this one is made to refuse.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use kernel::KernelError;
use kernel::ipvs::{Command, Destination, Service};
use nix::errno::Errno;
use routerd::services::Settings;
use routerd::services::apply::{Headings, Hindrance, Kernel};
use routerd::services::linux::Linux;
use routerd::services::plan::{PacketChange, StaleFlows, VipStep};
use routerd::services::state::{State, Tuple};
use routerd::services::wanted::LocalAddresses;

type Result<T> = std::result::Result<T, KernelError>;

/// It has no scheduler `nq` until somebody loads the module, and its memory is full.
#[derive(Default)]
pub(crate) struct Lacking {
    pub(crate) is_loaded: Arc<AtomicBool>,
    real: Linux,
}

impl Kernel for Lacking {
    fn prepare(&mut self, settings: &Settings) -> Result<(u64, Vec<Hindrance>)> {
        self.real.prepare(settings)
    }

    fn observe(&mut self) -> Result<State> {
        self.real.observe()
    }

    fn local_addresses(&mut self) -> Result<LocalAddresses> {
        self.real.local_addresses()
    }

    fn services(&mut self) -> Result<Vec<Service>> {
        self.real.services()
    }

    fn headings(&mut self, tell: &mut Headings<'_>) -> Result<()> {
        self.real.headings(tell)
    }

    fn backends(&mut self, tuple: &Tuple) -> Result<Vec<(Destination, u32)>> {
        self.real.backends(tuple)
    }

    fn balance(&mut self, commands: &[Command]) -> Vec<Result<()>> {
        let is_loaded = self.is_loaded.load(Ordering::Relaxed);
        let one = |command: &Command| match command {
            Command::AddService(new) if new.scheduler == "nq" && !is_loaded => {
                vec![Err(KernelError::new(command.to_string(), Errno::ENOENT))]
            }
            _ => self.real.balance(std::slice::from_ref(command)),
        };
        commands.iter().flat_map(one).collect()
    }

    fn vips(&mut self, steps: &[VipStep]) -> Vec<Result<()>> {
        self.real.vips(steps)
    }

    fn packets(&mut self, change: &PacketChange) -> Result<()> {
        self.real.packets(change)
    }

    fn forget(&mut self, _: &[StaleFlows]) -> Result<u64> {
        Err(KernelError::new("list tracked flows", Errno::ENOBUFS))
    }
}
