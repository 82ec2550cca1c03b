//! The CNI error object: what a runtime gets on stdout when an operation failed (CNI spec 1.1.0, section "Error").

use std::fmt;

use kernel::KernelError;
use serde_json::{Map, Value};

/// The number in an error object. Runtimes do not branch on it, people and tests do.
///
/// 1 to 99 are the spec's; from 100 on a plugin may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code(pub u32);

impl Code {
    /// The configuration's `cniVersion` is none of ours, or too old for the command.
    pub const VERSION: Code = Code(1);
    /// A field of the configuration asks for what this plugin or kernel cannot do; key and value are named.
    pub const UNSUPPORTED: Code = Code(2);
    /// The container does not exist; the runtime need not call DEL.
    pub const UNKNOWN_CONTAINER: Code = Code(3);
    /// An environment variable is missing or wrong; it is named.
    pub const ENVIRONMENT: Code = Code(4);
    /// Reading or writing a file, or stdin, failed.
    pub const IO: Code = Code(5);
    /// The configuration on stdin is no JSON object.
    pub const DECODE: Code = Code(6);
    /// The configuration is JSON, but a value in it cannot be used; the key is named.
    pub const CONFIG: Code = Code(7);
    /// `CNI_NETNS` cannot be used (reference code, not in the spec's table).
    pub const NETNS: Code = Code(8);
    /// A passing condition; the runtime should try again later.
    pub const TRY_AGAIN: Code = Code(11);
    /// STATUS: ADD cannot be served.
    pub const NOT_READY: Code = Code(50);
    /// STATUS: ADD cannot be served and running containers may have limited connectivity.
    pub const LIMITED: Code = Code(51);
    /// The kernel refused an operation; its error number is in the text.
    pub const KERNEL: Code = Code(100);
    /// What should be made is there already (a second ADD, a device of that name).
    pub const EXISTS: Code = Code(101);
    /// CHECK found the attachment other than it was made.
    pub const CHECK_FAILED: Code = Code(102);
    /// The daemon answered something that is not the protocol.
    pub const PROTOCOL: Code = Code(103);
    /// A programming error of ours. It is answered as an object too, so that the runtime shows it.
    pub const INTERNAL: Code = Code(199);
}

/// A failed operation, as the runtime will show it.
///
/// `msg` is one line that names the thing and the cause; `details` says what to do or gives more. libcni shows both
/// as `msg; details` in the pod's event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct CniError {
    /// The kind of failure.
    pub code: Code,
    /// One line for the reader.
    pub msg: String,
    /// More for the reader; may be empty.
    pub details: String,
}

impl CniError {
    /// A failure of the kind `code`.
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Self { code, msg: msg.into(), details: String::new() }
    }

    /// The same with more for the reader. A second call appends.
    #[must_use]
    pub fn with_details(mut self, details: impl AsRef<str>) -> Self {
        if !self.details.is_empty() && !details.as_ref().is_empty() {
            self.details.push_str("; ");
        }
        self.details.push_str(details.as_ref());
        self
    }

    /// The same, with what was being done put in front of the message.
    #[must_use]
    pub fn context(mut self, doing: impl fmt::Display) -> Self {
        self.msg = format!("{doing}: {}", self.msg);
        self
    }

    /// A system call on a file failed: `doing` names call and path.
    pub fn io(doing: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::new(Code::IO, format!("{doing}: {error}"))
    }

    /// A value of the configuration cannot be used.
    pub fn config(msg: impl Into<String>) -> Self {
        Self::new(Code::CONFIG, msg)
    }

    /// The JSON object for stdout. `version` is the configuration's `cniVersion`, as far as it was read.
    pub fn to_json(&self, version: &str) -> Value {
        let mut object = Map::new();
        object.insert("cniVersion".into(), version.into());
        object.insert("code".into(), self.code.0.into());
        object.insert("msg".into(), one_line(&self.msg).into());
        if !self.details.is_empty() {
            object.insert("details".into(), one_line(&self.details).into());
        }
        Value::Object(object)
    }
}

/// Values of a configuration are quoted in messages; a line break in one must not forge a line of somebody's log.
fn one_line(text: &str) -> String {
    let escaped = |character: char| -> String {
        if character.is_control() { character.escape_default().collect() } else { character.into() }
    };
    text.chars().map(escaped).collect()
}

impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.msg)?;
        if self.details.is_empty() { Ok(()) } else { write!(f, "; {}", self.details) }
    }
}

impl From<KernelError> for CniError {
    fn from(error: KernelError) -> Self {
        let code = if error.is_transient() { Code::TRY_AGAIN } else { Code::KERNEL };
        Self::new(code, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_object_has_version_code_message_and_details_only_if_there_are_some() {
        let error = CniError::new(Code::CONFIG, "missing network name");
        assert_eq!(
            error.to_json("1.0.0"),
            serde_json::json!({"cniVersion": "1.0.0", "code": 7, "msg": "missing network name"})
        );
        let error = error.with_details("set `name`").context("load");
        assert_eq!(error.to_string(), "load: missing network name; set `name`");
    }

    #[test]
    fn a_kernel_error_that_may_pass_asks_for_another_try() {
        let busy = KernelError::new("add veth", nix::errno::Errno::EBUSY);
        assert_eq!(CniError::from(busy).code, Code::TRY_AGAIN);
        let refused = KernelError::new("add veth", nix::errno::Errno::EPERM);
        assert_eq!(CniError::from(refused).code, Code::KERNEL);
    }
}
