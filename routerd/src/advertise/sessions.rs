//! What is said of sessions that are not up, as problems of this node and so as Events of it: pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use bgp::{PeerStatus, SpeakerStatus};

use crate::runner::Problem;

/// What problems of a session are told under, before the peer's address. `cluster::events` makes Events of this node of them.
pub(crate) const ITEM: &str = "BGP session ";
/// How long a lost session is told of at least, so that one that came back at once is not overlooked.
const SHOWN: Duration = Duration::from_secs(5);
/// A session that never was up may take that long.
const PATIENCE: Duration = Duration::from_secs(15);

/// What was seen of the sessions last.
#[derive(Debug, Clone, Default)]
pub(super) struct Sessions {
    /// How often each was lost.
    lost: BTreeMap<IpAddr, u64>,
    problems: BTreeMap<IpAddr, String>,
}

impl Sessions {
    /// Takes in how they are now. `outside` are external peers, whose loss is told of at once; another node may be away for
    /// `patience`, as when its daemon is replaced. The items whose problem is another one now, if any.
    pub(super) fn look(
        &mut self,
        status: &SpeakerStatus,
        outside: &BTreeSet<IpAddr>,
        patience: Duration,
    ) -> Option<BTreeSet<String>> {
        let mut problems = BTreeMap::new();
        for peer in &status.peers {
            let before = self.lost.insert(peer.address, peer.lost).unwrap_or(peer.lost);
            let patience = if outside.contains(&peer.address) { Duration::ZERO } else { patience };
            let kept = self.problems.get(&peer.address);
            if let Some(problem) = of(peer, peer.lost > before, patience, kept) {
                problems.insert(peer.address, problem);
            }
        }
        self.lost.retain(|address, _| status.peers.iter().any(|peer| peer.address == *address));
        let other = |address: &&IpAddr| self.problems.get(*address) != problems.get(*address);
        let judged: BTreeSet<String> =
            self.problems.keys().chain(problems.keys()).filter(other).map(item).collect();
        self.problems = problems;
        (!judged.is_empty()).then_some(judged)
    }

    /// What is wrong with them.
    pub(super) fn problems(&self) -> impl Iterator<Item = Problem> {
        let problem = |(address, message): (&IpAddr, &String)| Problem {
            item: item(address),
            message: message.clone(),
            retry: false,
        };
        self.problems.iter().map(problem)
    }
}

fn item(address: &IpAddr) -> String {
    format!("{ITEM}{address}")
}

/// What is wrong with the session of a peer, which was lost since the last look or not. `kept` is what was said last.
fn of(peer: &PeerStatus, lost: bool, patience: Duration, kept: Option<&String>) -> Option<String> {
    let (address, asn) = (peer.address, peer.asn);
    let why = peer.last_error.as_deref().unwrap_or("nothing is known of the reason");
    // How often is in the status and the metrics: a number here would make each loss another problem.
    let was_lost = || format!("the session with {address} (AS {asn}) was lost: {why}");
    if peer.state == bgp::fsm::State::Established {
        return match (patience.is_zero(), lost) {
            (true, true) => Some(was_lost()),
            // Up again a moment ago.
            (true, false) if peer.lost > 0 && peer.since < SHOWN => kept.cloned(),
            _ => None,
        };
    }
    if peer.established > 0 {
        return (peer.since >= patience).then(was_lost);
    }
    let advice = "are its address, AS and password right, and is it told of this node?";
    (peer.since >= patience.max(PATIENCE))
        .then(|| format!("the session with {address} (AS {asn}) does not come up: {why}; {advice}"))
}

#[cfg(test)]
mod tests {
    use bgp::rib::Count;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn peer(established: u64, lost: u64, since: Duration) -> PeerStatus {
        PeerStatus {
            state: if established > lost { bgp::fsm::State::Established } else { bgp::fsm::State::Idle },
            established,
            lost,
            since,
            last_error: Some("hold time over".to_owned()),
            address: "192.0.2.9".parse().unwrap(),
            asn: 65001,
            router_id: None,
            hold_time: None,
            families: BTreeSet::new(),
            complete: BTreeSet::new(),
            received: Count::default(),
            accepted: Count::default(),
            sent: Count::default(),
            updates: 0,
            last_update: None,
            stale: false,
        }
    }

    fn speaker(peers: Vec<PeerStatus>) -> SpeakerStatus {
        SpeakerStatus {
            asn: 64512,
            router_id: "192.0.2.1".parse().unwrap(),
            listeners: Vec::new(),
            refused_connections: 0,
            last_refused: None,
            peers,
            originated: 0,
            prefixes: 0,
        }
    }

    /// What is said after each of these looks.
    fn said(patience: Duration, looks: &[(u64, u64, u64)]) -> Vec<Option<String>> {
        let mut sessions = Sessions::default();
        let outside =
            if patience.is_zero() { ["192.0.2.9".parse().unwrap()].into() } else { BTreeSet::new() };
        let look = |(established, lost, since): &(u64, u64, u64)| {
            let peers = vec![peer(*established, *lost, SECOND * u32::try_from(*since).unwrap())];
            sessions.look(&speaker(peers), &outside, patience);
            sessions.problems().next().map(|problem| problem.message)
        };
        looks.iter().map(look).collect()
    }

    #[test]
    fn the_loss_of_an_external_session_is_told_at_once_and_until_it_has_been_up_for_a_while() {
        let said = said(Duration::ZERO, &[(1, 0, 30), (1, 1, 0), (2, 1, 0), (2, 1, 4), (2, 1, 5)]);
        let lost = "the session with 192.0.2.9 (AS 65001) was lost: hold time over";
        assert_eq!(said[0], None);
        assert!(said[1..4].iter().all(|one| one.as_deref() == Some(lost)), "{said:?}");
        assert_eq!(said[4], None);
    }

    #[test]
    fn a_session_that_came_back_between_two_looks_is_told_of_too() {
        let said = said(Duration::ZERO, &[(1, 0, 30), (3, 2, 0), (3, 2, 6)]);
        assert!(
            said[1].as_ref().is_some_and(|said| said.contains("was lost")) && said[2].is_none(),
            "{said:?}"
        );
    }

    #[test]
    fn one_that_never_came_up_is_told_of_after_a_while() {
        let said = said(Duration::ZERO, &[(0, 0, 14), (0, 0, 15), (1, 0, 1)]);
        assert!(said[0].is_none() && said[1].as_ref().unwrap().contains("password") && said[2].is_none());
    }

    #[test]
    fn another_node_may_be_away_for_as_long_as_its_daemon_takes_to_come_back() {
        let said = said(90 * SECOND, &[(1, 0, 30), (1, 1, 0), (1, 1, 89), (1, 1, 90), (2, 1, 0)]);
        let told: Vec<bool> = said.iter().map(Option::is_some).collect();
        assert_eq!(told, [false, false, false, true, false], "{said:?}");
    }
}
