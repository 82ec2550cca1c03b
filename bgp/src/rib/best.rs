//! The choice among paths to one prefix (RFC 4271 §9.1.2), as a pure function.

use std::cmp::{Ordering, Reverse};

use super::{LOCAL_PREF, Path, Source};
use crate::policy::Verdict;

/// The places in `paths` of the best path and, behind it, of all that are as good as it up to the point where only
/// the identity of speakers is left to decide: these may share the traffic. Empty if there are none, or none that the
/// import rules have taken.
///
/// The cost to reach the next hop (§9.1.2.2 e) is not compared: a node reaches all of its peers over one link.
pub fn select(paths: &[Path]) -> Vec<usize> {
    let mut left: Vec<usize> = (0..paths.len()).collect();
    left.retain(|at| paths[*at].verdict == Verdict::Taken);
    if left.len() < 2 {
        return left;
    }
    // What we originate is never left to others.
    keep_least(&mut left, |at| paths[at].common.source != Source::Local);
    keep_least(&mut left, |at| paths[at].is_last_resort());
    keep_least(&mut left, |at| Reverse(paths[at].common.attributes.local_pref.unwrap_or(LOCAL_PREF)));
    keep_least(&mut left, |at| paths[at].common.attributes.as_path.length());
    keep_least(&mut left, |at| paths[at].common.attributes.origin);
    drop_higher_med(&mut left, paths);
    keep_least(&mut left, |at| matches!(paths[at].common.source, Source::Internal(_)));
    left.sort_by(|a, b| tie_break(&paths[*a], &paths[*b]));
    left
}

fn keep_least<K: Ord>(left: &mut Vec<usize>, key: impl Fn(usize) -> K) {
    if let Some(least) = left.iter().map(|at| key(*at)).min() {
        left.retain(|at| key(*at) == least);
    }
}

/// MEDs speak of links to one neighbouring AS and are compared within it only; without one it is 0, the best.
fn drop_higher_med(left: &mut Vec<usize>, paths: &[Path]) {
    let group = |at: usize| paths[at].common.attributes.as_path.neighbour();
    let med = |at: usize| paths[at].common.attributes.med.unwrap_or(0);
    let all = left.clone();
    left.retain(|at| !all.iter().any(|other| group(*other) == group(*at) && med(*other) < med(*at)));
}

/// §9.1.2.2 f and g, with the identifier and the length of the way through reflectors of RFC 4456 §9. A path that is
/// kept for an absent peer comes after living ones.
fn tie_break(a: &Path, b: &Path) -> Ordering {
    let key = |path: &Path| {
        let attributes = &path.common.attributes;
        (
            path.age,
            attributes.originator_id.unwrap_or(path.common.router_id),
            attributes.cluster_list.len(),
            path.common.source,
        )
    };
    key(a).cmp(&key(b))
}
