//! The settings of the pod's interface.

use std::rc::Rc;

use kernel::NetNs;
use kernel::rtnl::{Link, LinkChange, Rtnl};

use super::backup::Backup;
use super::conf::TuningConf;
use crate::address::Mac;
use crate::error::{CniError, Code};
use crate::request::Request;
use crate::undo::Undo;

/// Settings of an interface; `None` is not looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Settings {
    pub(super) mac: Option<Mac>,
    pub(super) promiscuous: Option<bool>,
    /// In bytes.
    pub(super) mtu: Option<u32>,
    pub(super) all_multicast: Option<bool>,
    /// In packets.
    pub(super) queue_length: Option<u32>,
}

impl Settings {
    pub(super) fn is_empty(&self) -> bool {
        *self == Settings::default()
    }

    fn change(&self) -> LinkChange<'static> {
        LinkChange {
            mac: self.mac,
            promiscuous: self.promiscuous,
            mtu: self.mtu,
            all_multicast: self.all_multicast,
            queue_length: self.queue_length,
            ..LinkChange::default()
        }
    }

    /// What `link` has of those that are set here.
    fn as_of(&self, link: &Link) -> Self {
        Self {
            mac: self.mac.and(link.mac),
            promiscuous: self.promiscuous.map(|_| link.promiscuous),
            mtu: self.mtu.map(|_| link.mtu),
            all_multicast: self.all_multicast.map(|_| link.all_multicast),
            queue_length: self.queue_length.map(|_| link.queue_length),
        }
    }

    /// Each setting on its own, so that one that is refused does not keep back the others.
    fn one_by_one(&self) -> [Self; 5] {
        let none = Settings::default();
        [
            Self { mtu: self.mtu, ..none },
            Self { mac: self.mac, ..none },
            Self { promiscuous: self.promiscuous, ..none },
            Self { all_multicast: self.all_multicast, ..none },
            Self { queue_length: self.queue_length, ..none },
        ]
    }
}

fn find(rtnl: &mut Rtnl, ifname: &str) -> Result<Link, CniError> {
    rtnl.link_by_name(ifname)?
        .ok_or_else(|| CniError::new(Code::KERNEL, format!("Cannot find container link {ifname}")))
}

/// Keeps what the interface has and changes it.
pub(super) fn apply(
    pod: &Rc<NetNs>,
    request: &Request,
    conf: &TuningConf,
    undo: &mut Undo,
) -> Result<(), CniError> {
    let ifname = request.env.ifname.clone();
    let mut rtnl = pod.visit(Rtnl::open)??;
    let link = find(&mut rtnl, &ifname)?;
    let before = conf.wanted.as_of(&link);
    let backup = Backup::new(request);
    let (home, forget) = (Rc::clone(pod), backup.clone());
    undo.push(format!("the settings of {ifname}"), move || {
        give_back(&home, &ifname, &before);
        forget.forget();
        Ok(())
    });
    backup.write(&before)?;
    Ok(rtnl.change_link(link.index, &conf.wanted.change())?)
}

/// Gives an interface what it had, as far as it is there and the kernel lets it.
pub(super) fn give_back(pod: &NetNs, ifname: &str, before: &Settings) {
    let Ok(Ok(mut rtnl)) = pod.visit(Rtnl::open) else { return };
    let Ok(Some(link)) = rtnl.link_by_name(ifname) else { return };
    for setting in before.one_by_one().iter().filter(|one| !one.is_empty()) {
        // The pod goes away, and nobody could do anything about it.
        drop(rtnl.change_link(link.index, &setting.change()));
    }
}

/// The interface has what the configuration asks for.
pub(super) fn check(pod: &NetNs, ifname: &str, wanted: &Settings) -> Result<(), CniError> {
    let link = find(&mut pod.visit(Rtnl::open)??, ifname)?;
    let found = wanted.as_of(&link);
    let differs = [
        ("Ethernet address", text(wanted.mac), text(found.mac)),
        ("promiscuous mode", text(wanted.promiscuous), text(found.promiscuous)),
        ("MTU", text(wanted.mtu), text(found.mtu)),
        ("all-multicast mode", text(wanted.all_multicast), text(found.all_multicast)),
        ("transmit queue length", text(wanted.queue_length), text(found.queue_length)),
    ];
    match differs.into_iter().find(|(_, wanted, found)| wanted != found) {
        Some((what, wanted, found)) => Err(CniError::new(
            Code::CHECK_FAILED,
            format!("Error: Tuning configured {what} of {ifname} is {wanted}, current value is {found}"),
        )),
        None => Ok(()),
    }
}

fn text<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "not set".to_owned(), |value| value.to_string())
}
