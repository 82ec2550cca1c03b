//! An object as a member of an ordered set, found by its name.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::sync::Arc;

use super::super::objects::{NetworkPolicy, ObjectName, Pod};

/// What has a name in a namespace.
pub(super) trait Named {
    fn object_name(&self) -> &ObjectName;
}

impl Named for Pod {
    fn object_name(&self) -> &ObjectName {
        &self.name
    }
}

impl Named for NetworkPolicy {
    fn object_name(&self) -> &ObjectName {
        &self.name
    }
}

/// An object that is compared by its name alone. A set of them costs a word each.
#[derive(Debug, Clone)]
pub(super) struct ByName<T>(pub(super) Arc<T>);

impl<T: Named> Borrow<ObjectName> for ByName<T> {
    fn borrow(&self) -> &ObjectName {
        self.0.object_name()
    }
}

impl<T: Named> PartialEq for ByName<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.object_name() == other.0.object_name()
    }
}

impl<T: Named> Eq for ByName<T> {}

impl<T: Named> PartialOrd for ByName<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T: Named> Ord for ByName<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.object_name().cmp(other.0.object_name())
    }
}

/// Objects in the order of their names.
pub(super) type Set<T> = BTreeSet<ByName<T>>;

/// Those of one namespace.
pub(super) fn of_namespace<'a, T: Named>(
    set: &'a Set<T>,
    namespace: &'a str,
) -> impl Iterator<Item = &'a Arc<T>> {
    let first = ObjectName::new(namespace, "");
    set.range(first..).map(|member| &member.0).take_while(move |one| one.object_name().namespace == namespace)
}
