//! Which plugin this program is at the moment.

use std::fmt;

use crate::error::{CniError, Code};

/// One of the plugins in this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Bridge, host-local and the daemon's policy in one exec.
    RouterdCni,
    /// The reference plugin `bridge`.
    Bridge,
    /// The reference plugin `host-local`.
    HostLocal,
    /// The reference plugin `loopback`.
    Loopback,
    /// The reference plugin `portmap`.
    Portmap,
    /// The reference plugin `bandwidth`.
    Bandwidth,
    /// The reference plugin `tuning`.
    Tuning,
}

impl Role {
    const ALL: [Role; 7] = [
        Role::RouterdCni,
        Role::Bridge,
        Role::HostLocal,
        Role::Loopback,
        Role::Portmap,
        Role::Bandwidth,
        Role::Tuning,
    ];

    /// The name it is called by and the `type` in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Role::RouterdCni => "routerd-cni",
            Role::Bridge => "bridge",
            Role::HostLocal => "host-local",
            Role::Loopback => "loopback",
            Role::Portmap => "portmap",
            Role::Bandwidth => "bandwidth",
            Role::Tuning => "tuning",
        }
    }

    /// True if `name` is one of the plugins in this program.
    pub fn is_known(name: &str) -> bool {
        Self::named(name).is_some()
    }

    fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }

    /// The role of a program called `called` with a configuration of `plugin_type`. The called name wins, because a
    /// delegated IPAM plugin gets the configuration, and so the `type`, of the one that calls it.
    pub fn of(called: &str, plugin_type: &str) -> Result<Self, CniError> {
        if let Some(role) = Self::named(called).or_else(|| Self::named(plugin_type)) {
            return Ok(role);
        }
        let known: Vec<&str> = Self::ALL.into_iter().map(Role::name).collect();
        Err(CniError::new(Code::UNSUPPORTED, format!("unknown plugin type {plugin_type:?}")).with_details(
            format!("called as {called:?}; neither that nor `type` is one of {}", known.join(", ")),
        ))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_called_name_wins_and_an_unknown_one_falls_back_to_the_type() {
        assert_eq!(Role::of("host-local", "bridge").unwrap(), Role::HostLocal);
        assert_eq!(Role::of("my-cni", "loopback").unwrap(), Role::Loopback);
        let error = Role::of("my-cni", "ptp").unwrap_err();
        assert_eq!(error.code, Code::UNSUPPORTED);
        assert!(error.msg.contains("ptp") && error.details.contains("my-cni"));
    }
}
