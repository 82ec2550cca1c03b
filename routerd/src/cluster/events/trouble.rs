//! From a plane's problem to what is said of an object. Pure.

use std::cmp::Ordering;

use super::super::Kind;
use super::super::objects::ObjectName;
use crate::advertise::sessions::ITEM as SESSION;
use crate::runner::Problem;

/// How much of a message an Event holds (`NoteLengthLimit` of the API server), with room for the mark of what is left out.
const LONGEST: usize = 1000;
/// What a plane calls the object of its own node.
const OWN_NODE: &str = "Node of this host";

/// What is wrong with an object. It is the same one whatever the note says of it now.
#[derive(Debug, Clone)]
pub(super) struct Trouble {
    /// The object's kind.
    pub(super) kind: Kind,
    /// Its name; one that lives in no namespace has an empty one.
    pub(super) object: ObjectName,
    /// What is wrong.
    pub(super) note: String,
    /// The reason, in one word as Events have it.
    pub(super) reason: &'static str,
    /// What tells it from other troubles of the object with that reason: the session it is about, or else the note itself. A session
    /// that is lost again and again, each time for something else, is one trouble.
    pub(super) subject: String,
}

impl PartialEq for Trouble {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Trouble {}

impl PartialOrd for Trouble {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Trouble {
    fn cmp(&self, other: &Self) -> Ordering {
        let identity = (self.kind, &self.object, &self.subject, self.reason);
        identity.cmp(&(other.kind, &other.object, &other.subject, other.reason))
    }
}

impl Trouble {
    /// The trouble that a problem is, if it is one of an object of Kubernetes.
    pub(super) fn of(problem: &Problem, node: &str) -> Option<Self> {
        let (kind, object) = match problem.item.as_str() {
            OWN_NODE => (Kind::Node, ObjectName::new("", node)),
            item if item.starts_with(SESSION) => (Kind::Node, ObjectName::new("", node)),
            item => {
                let (kind, name) = item.split_once(' ')?;
                (Kind::of_name(kind)?, name_of(Kind::of_name(kind)?, name)?)
            }
        };
        let session = problem.item.starts_with(SESSION);
        let reason = if session { "BGPSessionDown" } else { reason(kind) };
        let note = shortened(&problem.message);
        let subject = if session { problem.item.clone() } else { note.clone() };
        Some(Self { kind, object, note, reason, subject })
    }

    /// The namespace that the Event is in.
    pub(super) fn event_namespace(&self) -> &str {
        if self.object.namespace.is_empty() { "default" } else { &self.object.namespace }
    }
}

fn reason(kind: Kind) -> &'static str {
    match kind {
        Kind::NetworkPolicy => "PolicyNotEnforced",
        Kind::Service | Kind::EndpointSlice => "ServiceNotProgrammed",
        Kind::Pod => "PodNotProgrammed",
        Kind::Node | Kind::Namespace => "NodeNotProgrammed",
    }
}

fn name_of(kind: Kind, text: &str) -> Option<ObjectName> {
    // Names have no spaces; what has some is about more than one object.
    let text = Some(text).filter(|text| !text.is_empty() && !text.contains(' '))?;
    match (kind.is_namespaced(), text.split_once('/')) {
        (true, Some((namespace, name))) if !namespace.is_empty() && !name.is_empty() => {
            Some(ObjectName::new(namespace, name))
        }
        (false, None) => Some(ObjectName::new("", text)),
        _ => None,
    }
}

fn shortened(text: &str) -> String {
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    format!("{} ...", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(item: &str, message: &str) -> Option<Trouble> {
        Trouble::of(&Problem { item: item.into(), message: message.into(), retry: false }, "node1")
    }

    #[test]
    fn only_what_names_one_object_becomes_an_event() {
        let policy = of("NetworkPolicy default/web", "why").unwrap();
        assert_eq!((policy.reason, policy.event_namespace()), ("PolicyNotEnforced", "default"));
        let node = of("Node of this host", "why").unwrap();
        assert_eq!(
            (node.kind, node.object.name.as_str(), node.event_namespace()),
            (Kind::Node, "node1", "default")
        );
        let session = of("BGP session 192.0.2.9", "why").unwrap();
        assert_eq!((session.object.name.as_str(), session.reason), ("node1", "BGPSessionDown"));
        assert_eq!(session, of("BGP session 192.0.2.9", "another reason").unwrap());
        assert_ne!(session, of("BGP session 192.0.2.8", "why").unwrap());
        assert_ne!(policy, of("NetworkPolicy default/web", "another reason").unwrap());
        for item in [
            "policy",
            "policy peers pods [] of namespace a",
            "Service web",
            "Pod a/b and c",
            "Node ",
            "route 10.0.0.0/8",
        ] {
            assert_eq!(of(item, "why"), None, "{item}");
        }
    }

    #[test]
    fn a_note_is_never_longer_than_the_api_server_takes() {
        let note = of("Pod a/b", &"ä".repeat(2000)).unwrap().note;
        assert!(note.len() <= 1024 && note.ends_with(" ..."), "{}", note.len());
    }
}
