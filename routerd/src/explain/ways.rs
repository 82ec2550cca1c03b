//! From ways to verdicts. Pure: who judges a direction, and what becomes of it.

use super::answer::{Judgement, Outcome, Verdict};
use super::ends::{Party, Way, Who};
use super::judge::{Packet, Values, judge};
use crate::cluster::objects::Protocol;
use crate::policy::Direction;

/// What judges, and where.
pub(super) struct Judges<'a> {
    /// The name of this node.
    pub(super) here: &'a str,
    /// What this node's kernel holds.
    pub(super) ours: &'a dyn Values,
    /// What the others' would.
    pub(super) others: &'a dyn Values,
}

impl Judges<'_> {
    /// What becomes of a way's packets.
    pub(super) fn verdict(&self, way: &Way, protocol: Protocol) -> Verdict {
        let (egress, ingress) = match self.unjudged(way) {
            Some(both) => both,
            None => (
                self.direction(Direction::Egress, way, protocol),
                self.direction(Direction::Ingress, way, protocol),
            ),
        };
        let refuses = |judgement: &Judgement| judgement.outcome == Outcome::Refused;
        Verdict {
            from: way.from.who.to_string(),
            source: way.from.address,
            seen: way.seen.as_ref().map(|seen| seen.address),
            to: way.to.who.to_string(),
            destination: way.to.address,
            port: way.port,
            via: way.via.clone(),
            admitted: !refuses(&egress) && !refuses(&ingress),
            egress,
            ingress,
        }
    }

    /// Both directions, where a rule before all policies admits the packet.
    fn unjudged(&self, way: &Way) -> Option<(Judgement, Judgement)> {
        let (sender, to) = (way.sender(), &way.to.who);
        let both = |why: &str| {
            let one = |who| self.say(Outcome::Admitted, who, why);
            Some((one(&way.from.who), one(to)))
        };
        match (&sender.who, to) {
            _ if sender.address == way.to.address => both("a pod or node always reaches itself"),
            (Who::Node(node) | Who::HostPod(_, Some(node)), Who::Pod(_, Some(of))) if node == of => both(
                "a node always reaches its own pods (probes of the kubelet; pods in the host network are the node)",
            ),
            _ => None,
        }
    }

    fn direction(&self, direction: Direction, way: &Way, protocol: Protocol) -> Judgement {
        let (subject, peer) = match direction {
            Direction::Egress => (&way.from, &way.to),
            Direction::Ingress => (&way.to, way.sender()),
        };
        let not_judged = |why: &str| self.say(Outcome::NotJudged, &subject.who, why);
        match &subject.who {
            Who::Pod(..) => self.pod(direction, subject, peer, way.port, protocol),
            Who::HostPod(..) => not_judged("policies do not judge pods in the host network"),
            Who::Node(_) => not_judged("policies do not judge a node's own traffic"),
            Who::NoPod(_) => self.say(
                Outcome::Refused,
                &subject.who,
                "an address of the pod network that no pod has, has no verdict: its node drops it",
            ),
            Who::Outside => Judgement::new(
                Outcome::NotJudged,
                None,
                false,
                "it is outside of the cluster, where no policy is in force",
            ),
        }
    }

    fn pod(
        &self,
        direction: Direction,
        subject: &Party,
        peer: &Party,
        port: u16,
        protocol: Protocol,
    ) -> Judgement {
        let Who::Pod(name, node) = &subject.who else {
            return self.say(Outcome::NotJudged, &subject.who, "it is no pod");
        };
        let here = node.as_deref() == Some(self.here);
        let packet = Packet {
            direction,
            pod: name.clone(),
            own: subject.address,
            peer: peer.address,
            port,
            protocol,
            node: node.clone(),
            here,
        };
        judge(&packet, if here { self.ours } else { self.others })
    }

    fn say(&self, outcome: Outcome, who: &Who, why: &str) -> Judgement {
        let node = who.node().map(str::to_owned);
        let here = node.as_deref() == Some(self.here);
        Judgement::new(outcome, node, here, why)
    }
}
