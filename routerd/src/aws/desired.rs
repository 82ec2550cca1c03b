//! From this node's object to its instance.

use std::collections::BTreeSet;
use std::fmt;

use crate::cluster::{Change, Index};
use crate::runner::Plane;

/// What `spec.providerID` begins with on AWS.
const PROVIDER: &str = "aws:///";

/// An EC2 instance's identifier, as `i-0123456789abcdef0`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceId(String);

impl InstanceId {
    /// The instance of a Node's `spec.providerID`, as `aws:///eu-west-1a/i-0123456789abcdef0`; `None` for another
    /// provider and for what is no instance (Fargate).
    pub fn of_provider(id: &str) -> Option<Self> {
        let last = id.strip_prefix(PROVIDER)?.rsplit('/').next()?;
        let digits = last.strip_prefix("i-")?;
        let hexadecimal = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        hexadecimal.then(|| Self(last.to_owned()))
    }
}

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The pure half of the plane.
#[derive(Debug, Clone, Copy)]
pub struct Instance;

impl Plane for Instance {
    const NAME: &'static str = super::NAME;
    type Key = ();
    type Value = InstanceId;

    fn keys(&self, _: &Index) -> BTreeSet<()> {
        BTreeSet::from([()])
    }

    fn touched(&self, index: &Index, change: &Change) -> BTreeSet<()> {
        match change {
            Change::Node(delta) if delta.any().is_some_and(|node| node.name == index.node_name()) => {
                self.keys(index)
            }
            _ => BTreeSet::new(),
        }
    }

    fn desired(&self, index: &Index, (): &()) -> Option<InstanceId> {
        InstanceId::of_provider(&index.own_node()?.provider_id)
    }
}
