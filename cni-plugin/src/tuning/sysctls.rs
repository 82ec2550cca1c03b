//! Kernel settings of the pod's namespace.

use std::rc::Rc;

use kernel::{KernelError, NetNs, sysctl};

use crate::error::{CniError, Code};
use crate::undo::Undo;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    key: String,
    components: Vec<String>,
    value: String,
}

impl Setting {
    /// `key` with dots or slashes, as `net.ipv4.conf.IFNAME.arp_filter`; only below `net.`, the part that is the
    /// namespace's own.
    pub(super) fn new(key: &str, value: &str, ifname: &str) -> Result<Self, CniError> {
        let invalid = || {
            CniError::config(format!("invalid net sysctl key: {key:?}"))
                .with_details("only keys below net. can be set, as net.core.somaxconn")
        };
        if key.contains("..") {
            return Err(invalid());
        }
        // Dots first: an interface's name may have some.
        let path = key.replace('.', "/").replacen("IFNAME", ifname, 1);
        let components: Vec<String> =
            path.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect();
        if components.len() < 2 || components[0] != "net" {
            return Err(invalid());
        }
        Ok(Self { key: key.to_owned(), components, value: value.to_owned() })
    }

    pub(super) fn key(&self) -> &str {
        &self.key
    }

    #[cfg(test)]
    pub(super) fn value(&self) -> &str {
        &self.value
    }

    pub(super) fn is_same_key(&self, other: &Setting) -> bool {
        self.components == other.components
    }

    fn components(&self) -> Vec<&str> {
        self.components.iter().map(String::as_str).collect()
    }

    /// The value now; `None` if it can only be written.
    fn read(&self) -> Result<Option<String>, CniError> {
        match sysctl::read(&self.components()) {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.is_permission() => Ok(None),
            Err(error) => Err(self.refused(&error)),
        }
    }

    fn write(&self, value: &str) -> Result<(), CniError> {
        sysctl::write_blindly(&self.components(), value).map_err(|error| self.refused(&error))
    }

    fn refused(&self, error: &KernelError) -> CniError {
        let Self { key, value, .. } = self;
        if error.is_not_found() {
            return CniError::new(Code::UNSUPPORTED, format!("sysctl {key:?} does not exist in the pod"))
                .with_details(error.to_string());
        }
        let code = if error.is_invalid() { Code::CONFIG } else { Code::KERNEL };
        CniError::new(code, format!("sysctl {key:?} cannot be {value:?}")).with_details(error.to_string())
    }
}

/// Writes all settings in the pod. All of them are looked at before the first is written.
pub(super) fn apply(pod: &Rc<NetNs>, settings: &[Setting], undo: &mut Undo) -> Result<(), CniError> {
    if settings.is_empty() {
        return Ok(());
    }
    let before: Vec<(Setting, String)> = pod.visit(|| {
        let read = |setting: &Setting| Ok(setting.read()?.map(|value| (setting.clone(), value)));
        settings.iter().map(read).filter_map(Result::transpose).collect::<Result<_, CniError>>()
    })??;
    let home = Rc::clone(pod);
    undo.push("the sysctls of the pod", move || {
        home.visit(|| before.iter().try_for_each(|(setting, value)| setting.write(value)))?
    });
    pod.visit(|| settings.iter().try_for_each(|setting| setting.write(&setting.value)))?
}

/// All settings are as they were written.
pub(super) fn check(pod: &NetNs, settings: &[Setting]) -> Result<(), CniError> {
    pod.visit(|| settings.iter().try_for_each(check_one))?
}

fn check_one(setting: &Setting) -> Result<(), CniError> {
    let Some(found) = setting.read()? else { return Ok(()) };
    // The kernel puts tabs between numbers, whatever was written.
    if found.split_whitespace().eq(setting.value.split_whitespace()) {
        return Ok(());
    }
    let Setting { key, value, .. } = setting;
    let msg = format!("Error: Tuning configured value of {key} is {value}, current value is {found}");
    Err(CniError::new(Code::CHECK_FAILED, msg))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn components(key: &str) -> Option<String> {
        Setting::new(key, "1", "eth0.100").ok().map(|setting| setting.components.join("/"))
    }

    #[test]
    fn a_key_stays_below_net_and_the_interface_may_have_dots() {
        assert_eq!(components("net.core.somaxconn").unwrap(), "net/core/somaxconn");
        assert_eq!(components("/net/ipv4/ip_forward").unwrap(), "net/ipv4/ip_forward");
        let arp = components("net.ipv4.conf.IFNAME.arp_filter").unwrap();
        assert_eq!(arp, "net/ipv4/conf/eth0.100/arp_filter");
        assert_eq!(components("net.IFNAME.IFNAME").unwrap(), "net/eth0.100/IFNAME");
        for key in ["kernel.hostname", "net/../kernel/x", "net", "", ".", "net..", "../net/x", "network.x"] {
            let error = Setting::new(key, "1", "eth0").unwrap_err();
            assert!(error.msg.starts_with("invalid net sysctl key"), "{key}: {error}");
        }
    }
}
