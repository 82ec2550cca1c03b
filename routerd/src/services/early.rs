//! What a new node cannot do without, before the view of the cluster is complete: the cluster addresses of the API server's
//! Service and of the cluster's DNS. Nothing that is there is removed or changed; where an earlier run (or kube-router) has
//! left such a Service with backends, that one serves until the view is complete.

use std::collections::BTreeMap;

use kernel::KernelError;
use kernel::ipvs::Command;

use super::apply::{Applier, Kernel, is_needed_first, wishes};
use super::desired::{At, Key, Origin, Value, Wish};
use super::execute::Known;
use super::gates::Gates;
use super::plan::{Extent, PacketChange, Plan, VipStep};
use super::state::State;
use super::status;
use super::wanted::Touched;
use crate::runner::Report;

impl<K: Kernel> Applier<K> {
    /// Adds what is needed first.
    pub(super) fn add_early(&mut self, desired: &BTreeMap<Key, Value>) -> Report {
        let mut report = Report::default();
        // Without the node's addresses nobody knows whose source is to be rewritten.
        if desired.contains_key(&Key::Node)
            && let Err(error) = self.add_missing(desired, &mut report)
        {
            report.problems.push(status::of_plane(error.to_string(), true));
        }
        report
    }

    fn add_missing(
        &mut self,
        desired: &BTreeMap<Key, Value>,
        report: &mut Report,
    ) -> Result<(), KernelError> {
        // What hinders is told by the run for everything.
        let (writes, _) = self.kernel.prepare(&self.settings)?;
        report.writes += writes;
        self.want_nothing(desired)?;
        let mut touched = Touched::default();
        for (name, wish) in wishes(desired.iter()).filter(|(name, wish)| is_needed_first(name, wish)) {
            let wish = self.certain(wish);
            let more = self.wanted.set(name, Some(&wish));
            for tuple in more.tuples {
                // One system call; all that an earlier run has left would be thousands.
                if self.kernel.backends(&tuple)?.is_empty() {
                    touched.tuples.insert(tuple);
                }
            }
            touched.hairpin.extend(more.hairpin);
        }
        if touched.tuples.is_empty() {
            return Ok(());
        }
        let mut known = Known::new(self.kernel.observe()?);
        let extent = Extent::Only(touched);
        let plan = Plan::between(&known.state, self.wanted.state(), &extent, |_| false);
        if let Some(plan) = additions(plan, &known.state) {
            self.execute(plan, &mut known, report);
        }
        Ok(())
    }

    /// The part of a wish that no object which is not known yet can change: addresses that the API server gave, with their
    /// backends. That a Service has no backend, and what is refused therefore, is known only at the end.
    fn certain(&self, wish: &Wish) -> Wish {
        let mut virtuals = wish.virtuals.clone();
        virtuals.retain(|wanted| {
            let is_ours = matches!(wanted.at, At::Virtual(address) if !self.settings.is_excluded(address));
            is_ours && wanted.origin == Origin::Cluster && !wanted.backends.by_socket.is_empty()
        });
        Wish { since: wish.since, virtuals, problems: Vec::new() }
    }
}

/// What of a plan only adds; nothing if that would stand on rules or sets of ours that are others than those wanted.
fn additions(mut plan: Plan, observed: &State) -> Option<Plan> {
    let is_new = observed.packets.program.as_ref().is_none_or(|program| program.chains.is_empty());
    if plan.announce.program.is_some() && !is_new {
        return None;
    }
    plan.announce.unrefuse.clear();
    plan.announce.refuse.clear();
    plan.announce.gates.remove = Gates::default();
    plan.balance.retain(|command| matches!(command, Command::AddService(_) | Command::AddDestination(..)));
    // An address that is there has a route by which the node reaches it.
    plan.vips.retain(|step| {
        let adds = matches!(step, VipStep::AddAddress(_) | VipStep::SetRoute(..));
        adds && !observed.vips.contains_key(&step.address())
    });
    plan.unbalance = Vec::new();
    plan.withdraw = PacketChange::default();
    Some(plan)
}
