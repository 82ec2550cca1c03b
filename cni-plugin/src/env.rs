//! The environment of an invocation: which operation on which attachment.

use std::path::{Path, PathBuf};

use crate::error::{CniError, Code};

/// An operation of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Make an attachment.
    Add,
    /// Take an attachment away.
    Del,
    /// Is an attachment still as it was made?
    Check,
    /// Would an ADD work?
    Status,
    /// Free everything of attachments that are not listed.
    Gc,
    /// Which versions are spoken?
    Version,
}

impl Command {
    /// As the specification writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Command::Add => "ADD",
            Command::Del => "DEL",
            Command::Check => "CHECK",
            Command::Status => "STATUS",
            Command::Gc => "GC",
            Command::Version => "VERSION",
        }
    }

    fn parse(text: &str) -> Result<Self, CniError> {
        let all = [Self::Add, Self::Del, Self::Check, Self::Status, Self::Gc, Self::Version];
        all.into_iter().find(|command| command.as_str() == text).ok_or_else(|| {
            CniError::new(Code::ENVIRONMENT, format!("unknown CNI_COMMAND: {text}"))
                .with_details("known are ADD, DEL, CHECK, STATUS, GC and VERSION")
        })
    }

    /// The variables it cannot do without, besides `CNI_COMMAND`. `CNI_PATH` is not among them: only the delegation to
    /// a foreign IPAM plugin needs it, and says so then.
    fn required(self) -> &'static [&'static str] {
        match self {
            Command::Add | Command::Check => &["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"],
            Command::Del => &["CNI_CONTAINERID", "CNI_IFNAME"],
            Command::Status | Command::Gc | Command::Version => &[],
        }
    }
}

/// The environment, validated for its command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// The operation.
    pub command: Command,
    /// `CNI_CONTAINERID`; empty for STATUS, GC and VERSION.
    pub container_id: String,
    /// `CNI_NETNS`: the path of the pod's network namespace. `None` if empty, which DEL must bear.
    pub netns: Option<PathBuf>,
    /// `CNI_IFNAME`: the interface's name in the pod; empty for STATUS, GC and VERSION.
    pub ifname: String,
    /// `CNI_ARGS` as given; see [`crate::args`].
    pub args: String,
    /// `CNI_PATH`: where plugins lie, for a foreign IPAM plugin.
    pub path: Vec<PathBuf>,
    /// `CNI_NETNS_OVERRIDE`: the plugin's own namespace is allowed as the pod's.
    pub netns_override: bool,
    /// When this invocation began, as [`crate::socket::moment`] counts.
    pub started: u64,
}

impl Environment {
    /// Reads the environment through `get`. `Ok(None)` if `CNI_COMMAND` is not set: a person started the program.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Option<Self>, CniError> {
        let value = |name: &str| get(name).unwrap_or_default();
        let command = value("CNI_COMMAND");
        if command.is_empty() {
            return Ok(None);
        }
        let command = Command::parse(&command)?;
        let required = command.required();
        // What a command does not need is not judged, and so not kept either.
        let needed = |name: &str| if required.contains(&name) { value(name) } else { String::new() };
        let (container_id, ifname) = (needed("CNI_CONTAINERID"), needed("CNI_IFNAME"));
        if !container_id.is_empty() {
            validate_container_id(&container_id)?;
        }
        if !ifname.is_empty() {
            validate_ifname(&ifname)?;
        }
        let missing: Vec<&str> = required.iter().copied().filter(|name| value(name).is_empty()).collect();
        if !missing.is_empty() {
            let msg = format!("required env variables [{}] missing", missing.join(","));
            return Err(CniError::new(Code::ENVIRONMENT, msg));
        }
        Ok(Some(Self {
            command,
            container_id,
            netns: Some(value("CNI_NETNS")).filter(|path| !path.is_empty()).map(PathBuf::from),
            ifname,
            args: value("CNI_ARGS"),
            path: value("CNI_PATH").split(':').filter(|part| !part.is_empty()).map(PathBuf::from).collect(),
            netns_override: matches!(value("CNI_NETNS_OVERRIDE").to_ascii_uppercase().as_str(), "1" | "TRUE"),
            started: crate::socket::moment(),
        }))
    }

    /// The pod's namespace, for an operation that cannot do without.
    pub fn require_netns(&self) -> Result<&Path, CniError> {
        self.netns
            .as_deref()
            .ok_or_else(|| CniError::new(Code::ENVIRONMENT, "required env variables [CNI_NETNS] missing"))
    }
}

/// True if `text` may be a container's id or a network's name: `^[a-zA-Z0-9][a-zA-Z0-9_.\-]*$`. Both become names of
/// files, so this is also what keeps a path from leaving its folder.
pub fn is_identifier(text: &str) -> bool {
    let first = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    first && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte))
}

fn validate_container_id(id: &str) -> Result<(), CniError> {
    if is_identifier(id) {
        return Ok(());
    }
    Err(CniError::new(Code::ENVIRONMENT, "invalid characters in containerID")
        .with_details(format!("CNI_CONTAINERID is {id:?}, allowed are letters, digits, `_`, `.` and `-`")))
}

/// What the kernel would take in an interface's name, but not as it is written (`%d` becomes a number that is free), or
/// what no file or message should carry.
pub(crate) fn is_not_for_names(c: char) -> bool {
    c == '%' || c.is_control()
}

fn validate_ifname(name: &str) -> Result<(), CniError> {
    let reason = if name.len() > 15 {
        "interface name is too long: at most 15 bytes"
    } else if name == "." || name == ".." {
        "interface name is . or .."
    } else if name.chars().any(|c| c == '/' || c == ':' || c.is_whitespace()) {
        "interface name contains / or : or whitespace characters"
    } else if name.contains(is_not_for_names) {
        "interface name contains % or control characters"
    } else {
        return Ok(());
    };
    Err(CniError::new(Code::ENVIRONMENT, reason).with_details(format!("CNI_IFNAME is {name:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<Option<Environment>, CniError> {
        Environment::read(|name| {
            pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn add(id: &str, ifname: &str) -> Result<Option<Environment>, CniError> {
        read(&[
            ("CNI_COMMAND", "ADD"),
            ("CNI_CONTAINERID", id),
            ("CNI_NETNS", "/run/netns/p"),
            ("CNI_IFNAME", ifname),
        ])
    }

    #[test]
    fn all_missing_variables_are_named_in_one_error() {
        let error = read(&[("CNI_COMMAND", "ADD")]).unwrap_err();
        assert_eq!(error.code, Code::ENVIRONMENT);
        assert_eq!(error.msg, "required env variables [CNI_CONTAINERID,CNI_NETNS,CNI_IFNAME] missing");
        let error = read(&[("CNI_COMMAND", "DEL")]).unwrap_err();
        assert_eq!(error.msg, "required env variables [CNI_CONTAINERID,CNI_IFNAME] missing");
    }

    #[test]
    fn status_gc_and_version_need_nothing_and_take_empty_texts() {
        for command in ["STATUS", "GC", "VERSION"] {
            let env = read(&[("CNI_COMMAND", command), ("CNI_CONTAINERID", ""), ("CNI_NETNS", "")]);
            assert_eq!(env.unwrap().unwrap().command.as_str(), command);
        }
    }

    #[test]
    fn an_unknown_command_is_named_and_none_at_all_is_a_person() {
        let error = read(&[("CNI_COMMAND", "FOO")]).unwrap_err();
        assert_eq!((error.code, error.msg.as_str()), (Code::ENVIRONMENT, "unknown CNI_COMMAND: FOO"));
        assert_eq!(read(&[]).unwrap(), None);
    }

    #[test]
    fn identifiers_that_could_leave_a_folder_are_refused() {
        for id in ["../x", "-x", "a b", "ä", "a/b", "."] {
            assert_eq!(add(id, "eth0").unwrap_err().code, Code::ENVIRONMENT, "{id}");
        }
        assert!(add("a.b_c-1", "eth0").is_ok());
    }

    #[test]
    fn an_interface_name_is_what_the_kernel_takes() {
        for name in [".", "..", "a/b", "a:b", "a b", "a234567890123456", "eth%d", "e\u{1}"] {
            assert_eq!(add("c1", name).unwrap_err().code, Code::ENVIRONMENT, "{name}");
        }
        assert!(add("c1", "a23456789012345").is_ok());
    }

    #[test]
    fn delete_takes_an_empty_namespace() {
        let env = read(&[
            ("CNI_COMMAND", "DEL"),
            ("CNI_CONTAINERID", "c1"),
            ("CNI_IFNAME", "eth0"),
            ("CNI_NETNS", ""),
        ]);
        assert_eq!(env.unwrap().unwrap().netns, None);
    }
}
