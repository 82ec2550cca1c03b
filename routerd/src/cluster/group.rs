//! Pods chosen by labels: what a policy's `podSelector` and its peers mean.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use super::Index;
use super::objects::{Labels, Pod, PolicyPeer};
use super::selector::{Requirement, Selector};

#[cfg(test)]
thread_local! {
    /// How often a pod was held against a group on this thread, for tests of what a change costs.
    pub(crate) static LOOKS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// Which namespaces a group takes pods from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scope {
    /// This one.
    Own(String),
    /// Those whose labels match.
    Matching(Selector),
}

/// Pods chosen by labels. Policies that choose alike share a group. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PodGroup(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Text of all the rest, which order and names in the kernel come from.
    id: String,
    scope: Scope,
    pods: Selector,
}

impl PodGroup {
    /// The group that `peer` of a policy in `namespace` means; `None` for addresses.
    pub fn of_peer(namespace: &str, peer: &PolicyPeer) -> Option<Self> {
        let PolicyPeer::Pods { namespaces, pods } = peer else { return None };
        let scope = match namespaces {
            None => Scope::Own(namespace.to_owned()),
            Some(selector) => Scope::Matching(selector.clone()),
        };
        Some(Self::new(scope, pods))
    }

    /// The pods of `namespace` that `pods` selects.
    pub fn in_namespace(namespace: &str, pods: &Selector) -> Self {
        Self::new(Scope::Own(namespace.to_owned()), pods)
    }

    fn new(scope: Scope, pods: &Selector) -> Self {
        let id = format!("{scope:?} {pods:?}");
        Self(Arc::new(Inner { id, scope, pods: pods.clone() }))
    }

    /// Text that no other group has.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The one namespace its pods are in, if there is but one.
    pub fn own_namespace(&self) -> Option<&str> {
        match &self.0.scope {
            Scope::Own(namespace) => Some(namespace),
            Scope::Matching(_) => None,
        }
    }

    /// The labels of its pods.
    pub fn pods(&self) -> &Selector {
        &self.0.pods
    }

    /// True if it asks for no label: it takes all pods of its namespaces.
    pub fn is_broad(&self) -> bool {
        self.0.pods.requirements.is_empty()
    }

    /// True if it has the pod for a member, as far as names and labels go.
    pub fn takes(&self, index: &Index, pod: &Pod) -> bool {
        #[cfg(test)]
        LOOKS.set(LOOKS.get() + 1);
        self.0.pods.matches(&pod.labels) && self.takes_namespace(index, &pod.name.namespace)
    }

    /// True if pods of the namespace may be members. A namespace that no source has shown yet has unknown labels, so
    /// nothing is admitted because of them.
    pub fn takes_namespace(&self, index: &Index, namespace: &str) -> bool {
        let labels = || index.namespaces().get(namespace).map(|namespace| &namespace.labels);
        match &self.0.scope {
            Scope::Own(own) => own == namespace,
            Scope::Matching(_) => self.takes_namespace_labels(labels()),
        }
    }

    /// True if pods of a namespace with these labels may be members, for the labels' sake.
    pub fn takes_namespace_labels(&self, labels: Option<&Labels>) -> bool {
        match &self.0.scope {
            Scope::Own(_) => false,
            Scope::Matching(selector) => labels.is_some_and(|labels| selector.matches(labels)),
        }
    }
}

/// For people to read, without the signs that `nft` writes around a comment.
impl fmt::Display for PodGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pods = describe(&self.0.pods);
        let text = match &self.0.scope {
            Scope::Own(namespace) => format!("pods [{pods}] of namespace {namespace}"),
            Scope::Matching(selector) => format!("pods [{pods}] of namespaces [{}]", describe(selector)),
        };
        f.write_str(&text.replace('"', "'"))
    }
}

/// The selector as kubectl writes it.
fn describe(selector: &Selector) -> String {
    let texts = selector.requirements.iter().map(|requirement| match requirement {
        Requirement::In(key, values) if values.len() == 1 => format!("{key}={}", values[0]),
        Requirement::In(key, values) => format!("{key} in ({})", values.join(",")),
        Requirement::NotIn(key, values) => format!("{key} notin ({})", values.join(",")),
        Requirement::Exists(key) => key.clone(),
        Requirement::DoesNotExist(key) => format!("!{key}"),
    });
    texts.collect::<Vec<_>>().join(",")
}

impl PartialEq for PodGroup {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0.id == other.0.id
    }
}

impl Eq for PodGroup {}

impl PartialOrd for PodGroup {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PodGroup {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.id.cmp(&other.0.id) }
    }
}
