//! IPVS services. Ours are those whose tuple or mark is in our nft table; all others are somebody else's.

use kernel::ipvs::{Command, Ipvs, ServiceKey};
use kernel::nft::Nft;

use super::report::Report;
use crate::services::dsr::own_marks;
use crate::services::linux::own_tuples;
use crate::services::state::Tuple;

/// Removes the services of our tuples and marks with their destinations. `false` if one may be left: then the tuples have to stay.
pub(super) fn remove(nft: &mut Nft, report: &mut Report) -> bool {
    let Some(tuples) = report.value(own_tuples(nft)) else { return false };
    let Some(marks) = report.value(own_marks(nft)) else { return false };
    if tuples.is_empty() && marks.is_empty() {
        return true;
    }
    let mut ipvs = match Ipvs::open() {
        Ok(ipvs) => ipvs,
        // No IPVS, no services of it.
        Err(error) if error.is_not_found() => return true,
        Err(error) => {
            report.problems.push(error.to_string());
            return false;
        }
    };
    let Some(services) = report.value(ipvs.services()) else { return false };
    let keys = services.iter().map(|entry| entry.service.key);
    let is_ours = |key: &ServiceKey| match key {
        ServiceKey::Mark { mark, .. } => marks.contains(mark),
        ServiceKey::Address { .. } => Tuple::of(key).is_some_and(|tuple| tuples.contains(&tuple)),
    };
    let ours: Vec<_> = keys.filter(is_ours).collect();
    let commands: Vec<Command> = ours.iter().map(|key| Command::DeleteService(*key)).collect();
    let outcomes = ipvs.change_all(&commands);
    let gone =
        ours.iter().zip(outcomes).map(|(key, outcome)| report.gone(format!("IPVS service {key}"), outcome));
    // Every one of them, so no short cut.
    gone.fold(true, |all, one| all & one)
}
