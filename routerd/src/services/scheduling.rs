//! How a virtual service chooses among its backends: annotations and session affinity.

use kernel::ipvs::{self, Heading, Netmask, ServiceFlags, ServiceKey};

use crate::cluster::objects::Service;

const SCHEDULER: &str = "kube-router.io/service.scheduler";
const SCHEDULER_FLAGS: &str = "kube-router.io/service.schedflags";
/// The schedulers of kube-router's documents and those of `ipvsadm` that need no more than weights; the first is the
/// default.
const KNOWN: [&str; 9] = ["rr", "wrr", "lc", "wlc", "dh", "sh", "mh", "sed", "nq"];
/// The schedulers whose flags mean something in the kernel.
const WITH_FLAGS: [&str; 2] = ["sh", "mh"];

/// How backends are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Scheduling {
    /// The kernel's name of the scheduler.
    pub scheduler: &'static str,
    /// Its flags; with affinity also [`ServiceFlags::PERSISTENT`].
    pub flags: ServiceFlags,
    /// Seconds a client stays with its backend; 0 without affinity.
    pub affinity_seconds: u32,
}

impl Scheduling {
    /// What `service` asks for, and what of it is wrong.
    pub(super) fn of(service: &Service, problems: &mut Vec<String>) -> Self {
        let scheduler = scheduler(service, problems);
        let mut flags = flags(service, scheduler, problems);
        let affinity_seconds = service.affinity_seconds.unwrap_or(0);
        if affinity_seconds > 0 {
            flags = flags.with(ServiceFlags::PERSISTENT);
        }
        Self { scheduler, flags, affinity_seconds }
    }

    /// The IPVS service that chooses so.
    pub(super) fn service(&self, key: ServiceKey) -> ipvs::Service {
        let mut service = ipvs::Service::new(key, self.scheduler);
        service.flags = self.flags;
        service.persistence_seconds = self.affinity_seconds;
        service
    }

    /// How an IPVS service chooses that was seen at a glance, if a Service can ask for it.
    pub(super) fn of_heading(heading: &Heading<'_>) -> Option<Self> {
        let (flags, affinity_seconds) = (heading.flags, heading.persistence_seconds);
        let scheduler = KNOWN.into_iter().find(|known| *known == heading.scheduler)?;
        let usual = heading.netmask == Netmask::host(heading.key.family());
        usual.then_some(Self { scheduler, flags, affinity_seconds })
    }

    /// How an IPVS service chooses, if a Service can ask for it.
    pub(super) fn of_kernel(service: &ipvs::Service) -> Option<Self> {
        let scheduler = KNOWN.into_iter().find(|known| *known == service.scheduler)?;
        let found = Self { scheduler, flags: service.flags, affinity_seconds: service.persistence_seconds };
        (found.service(service.key) == *service).then_some(found)
    }
}

fn scheduler(service: &Service, problems: &mut Vec<String>) -> &'static str {
    let Some(name) = service.annotations.get(SCHEDULER) else { return KNOWN[0] };
    if let Some(known) = KNOWN.into_iter().find(|known| *known == name.trim()) {
        return known;
    }
    problems.push(format!(
        "annotation {SCHEDULER}: {name:?} is none of {}; {} is used",
        KNOWN.join(", "),
        KNOWN[0]
    ));
    KNOWN[0]
}

fn flags(service: &Service, scheduler: &str, problems: &mut Vec<String>) -> ServiceFlags {
    let Some(text) = service.annotations.get(SCHEDULER_FLAGS) else { return ServiceFlags::empty() };
    if !WITH_FLAGS.contains(&scheduler) {
        problems.push(format!(
            "annotation {SCHEDULER_FLAGS}: scheduler {scheduler} has no flags, only {} have; it is ignored",
            WITH_FLAGS.join(" and ")
        ));
        return ServiceFlags::empty();
    }
    let mut flags = ServiceFlags::empty();
    for word in text.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        flags = flags.with(match word {
            "flag-1" => ServiceFlags::SCHEDULER_1,
            "flag-2" => ServiceFlags::SCHEDULER_2,
            "flag-3" => ServiceFlags::SCHEDULER_3,
            other => {
                problems.push(format!(
                    "annotation {SCHEDULER_FLAGS}: {other:?} is none of flag-1, flag-2, flag-3; it is ignored"
                ));
                continue;
            }
        });
    }
    flags
}
