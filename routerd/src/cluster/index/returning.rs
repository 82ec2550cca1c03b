//! The Services that ask for direct server return: few among thousands, and looked through at many changes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::objects::{ObjectName, Service};
use super::{Delta, Index};

/// The annotation by which a Service asks for it, as kube-router has it.
pub const DIRECT_RETURN: &str = "kube-router.io/service.dsr";

impl Index {
    /// The Services with the annotation [`DIRECT_RETURN`], whatever its value is, by name.
    pub fn returning(&self) -> &BTreeMap<ObjectName, Arc<Service>> {
        &self.returning
    }

    pub(super) fn index_service(&mut self, name: &ObjectName, delta: &Delta<Service>) {
        match delta.new.as_ref().filter(|service| service.annotations.contains_key(DIRECT_RETURN)) {
            Some(service) => _ = self.returning.insert(name.clone(), Arc::clone(service)),
            None => _ = self.returning.remove(name),
        }
    }
}
