//! Asks those who know: the task that owns the index for who is who, the policy plane for what it holds.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use kernel::rtnl::Rtnl;

use super::answer::{Answer, Verdict};
use super::crowd;
use super::ends::{Resolver, Ways, Who};
use super::judge::Values;
use super::others::{Here, Others, Snapshot};
use super::question::Question;
use super::seen::Masquerade;
use super::ways::Judges;
use crate::cluster::Index;
use crate::cluster::objects::ObjectName;
use crate::cluster::task::Handle;
use crate::policy::{Direction, Isolation, Peers, PolicyKey, PolicyPlane, PolicyValue, Ports};
use crate::runner::{Held, Window};

/// The way to look at what the policy plane holds.
pub type PolicyWindow = Window<PolicyKey, PolicyValue>;

/// Where questions are answered. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Desk {
    /// The index.
    pub cluster: Handle,
    /// The policy plane; `None` if it does not run.
    pub policy: Option<PolicyWindow>,
    /// Its pure half, to ask what another node would hold.
    pub plane: PolicyPlane,
    /// What becomes of sources behind Services; `None` if Services are another program's.
    pub masquerade: Option<Masquerade>,
}

/// Said where the first complete view is missing.
pub(super) const NO_VIEW: &str =
    "the first complete view of the cluster has not come yet, so nothing can be said; see `routerd status`";
/// Said with `--run-firewall=false`.
pub(super) const NO_PLANE: &str = "this routerd enforces no policies (--run-firewall=false, or its thread could not start: see `routerd status`)";

impl Desk {
    /// Answers a question. An error says what is not known.
    pub async fn explain(&self, question: Question) -> Result<Answer, String> {
        let policy = self.policy.as_ref().ok_or(NO_PLANE)?;
        let local = blocking(local_addresses).await?;
        let (node, Ways { ways, notes }) = {
            let (question, masquerade) = (question.clone(), self.masquerade);
            let resolve = move |index: &Index| {
                let ways = Resolver::new(index, &local, masquerade).ways(&question);
                ways.map(|ways| (index.node_name().to_owned(), ways))
            };
            self.cluster.look(resolve).await.ok_or(NO_VIEW)??
        };
        let is_here = |who: &Who| who.node() == Some(&*node);
        let pods = ways.iter().flat_map(|way| [&way.from.who, &way.to.who]);
        let (ours, others): (Vec<&Who>, Vec<&Who>) =
            pods.filter(|who| matches!(who, Who::Pod(..))).partition(|who| is_here(who));
        let ours: BTreeSet<ObjectName> = ours.into_iter().filter_map(Who::pod).cloned().collect();
        // The plane's thread only copies; attaches wait for it.
        let ours = policy.look(move |held| Known::gather(held, &ours)).await.ok_or(NO_VIEW)?;
        let snapshot = if others.is_empty() && !ours.has_crowds() {
            Snapshot::default()
        } else {
            self.cluster.look(Snapshot::take).await.ok_or(NO_VIEW)?
        };
        let (plane, here, protocol) = (self.plane, node.clone(), question.protocol);
        let judge = move || -> Vec<Verdict> {
            let others = Others::new(plane, &snapshot);
            let alone = ours.has_crowds().then(|| Others::one_by_one(plane, &snapshot));
            let ours = Here { held: &ours, alone };
            let judges = Judges { here: &here, ours: &ours, others: &others };
            ways.iter().map(|way| judges.verdict(way, protocol)).collect()
        };
        let verdicts = blocking(judge).await?;
        let admitted = !verdicts.is_empty() && verdicts.iter().all(|verdict| verdict.admitted);
        Ok(Answer { question, node, admitted, ways: verdicts, notes })
    }
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|error| format!("a bug of routerd: {error}"))
}

/// The addresses of this node's devices; without them a gateway's address counts as a pod's.
fn local_addresses() -> BTreeSet<IpAddr> {
    let listed = Rtnl::open().and_then(|mut rtnl| rtnl.addresses(None, None));
    listed.unwrap_or_default().into_iter().map(|one| one.address).collect()
}

/// What the plane of this node holds of some pods.
#[derive(Debug, Default)]
struct Known {
    values: BTreeMap<PolicyKey, PolicyValue>,
    refused: BTreeMap<PolicyKey, String>,
}

impl Known {
    /// Copies the verdicts of the pods, the policies that judge them, and what these name.
    fn gather(held: &Held<'_, PolicyKey, PolicyValue>, pods: &BTreeSet<ObjectName>) -> Self {
        let mut known = Self::default();
        let mut keys: Vec<PolicyKey> = pods.iter().cloned().map(PolicyKey::Pod).collect();
        while let Some(key) = keys.pop() {
            let Some(value) = held.values.get(&key).filter(|_| !known.values.contains_key(&key)) else {
                continue;
            };
            keys.extend(led_to(value));
            if let PolicyKey::Crowd(side) = &key {
                keys.extend(crowd::peers(side, held.values).cloned());
            }
            let item = (held.item)(&key);
            // A problem that is worth another try is one of the kernel.
            let refusal = held.problems.iter().find(|one| one.retry && Some(&one.item) == item.as_ref());
            if let Some(refusal) = refusal {
                known.refused.insert(key.clone(), refusal.message.clone());
            }
            known.values.insert(key, value.clone());
        }
        known
    }
}

impl Known {
    fn has_crowds(&self) -> bool {
        self.values.keys().any(|key| matches!(key, PolicyKey::Crowd(_)))
    }
}

/// The keys of what a value's rules lead to.
fn led_to(value: &PolicyValue) -> Vec<PolicyKey> {
    let mut keys = Vec::new();
    match value {
        PolicyValue::Pod(verdict) => {
            for direction in Direction::BOTH {
                if let Isolation::By(policies) = verdict.isolation(direction) {
                    keys.extend(policies.iter().cloned().map(PolicyKey::Policy));
                }
            }
            keys.extend(verdict.crowds.iter().cloned().map(PolicyKey::Crowd));
        }
        PolicyValue::Policy(rules) => {
            let admissions = Direction::BOTH.into_iter().filter_map(|direction| rules.of(direction));
            for admission in admissions.flatten() {
                if let Peers::Any { groups, .. } = &admission.peers {
                    keys.extend(groups.iter().cloned().map(PolicyKey::Group));
                }
                if let Ports::Any { names, .. } = &admission.ports {
                    keys.extend(names.iter().cloned().map(PolicyKey::Ports));
                }
            }
        }
        PolicyValue::Crowd(all) => keys.extend(crowd::led_to(all)),
        PolicyValue::Class(ports) => keys.extend(crowd::names(ports).into_iter().map(PolicyKey::Ports)),
        _ => {}
    }
    keys
}

impl Values for Known {
    fn value(&self, key: &PolicyKey) -> Option<PolicyValue> {
        self.values.get(key).cloned()
    }

    fn refused(&self, key: &PolicyKey) -> Option<String> {
        self.refused.get(key).cloned()
    }
}
