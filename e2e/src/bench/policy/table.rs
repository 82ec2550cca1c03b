//! The table of what packets cost.

use super::packets::{Clock, Costs, Figures};
use crate::bench::table::{line, percentile};

/// A line for each node: what a packet of an established flow costs there, and one that begins a flow.
pub(super) fn costs(title: &str, clock: Clock, labels: &[&str], figures: &[Figures]) -> String {
    let heads = ["established", "more than tracking", "new flow", "more than tracking"];
    let mut lines = vec![format!("\n{title}\n"), line("", heads.into_iter().map(str::to_owned))];
    let quartile = |costs: &Costs, percent| percentile(costs.by(clock), percent);
    for (label, of) in labels.iter().zip(figures) {
        // The second node is the one with connection tracking alone.
        let floor = figures.get(1).unwrap_or(of);
        let cells = [(&of.established, &floor.established), (&of.new, &floor.new)].map(|(costs, floor)| {
            let low = quartile(costs, 25);
            let spread = low.zip(quartile(costs, 75)).map(|(low, high)| format!("{low:.0} to {high:.0} ns"));
            let more = low.zip(quartile(floor, 25)).map(|(low, floor)| format!("{:+.0} ns", low - floor));
            [spread, more].map(|cell| cell.unwrap_or_else(|| "-".to_owned()))
        });
        lines.push(line(&format!("  {label}"), cells.into_iter().flatten()));
        lines.extend(of.failed.iter().map(|reason| format!("    failed: {reason}\n")));
    }
    lines.push(COSTS.to_owned());
    lines.concat()
}

const COSTS: &str = "  The quartiles of all rounds, lower to upper: what others do on the machine only ever adds. Differences are those of lower quartiles.\n";
