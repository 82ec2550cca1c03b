//! The nft tables of the daemon and the plugin.

use kernel::nft::{Nft, TableFamily, TableName, Transaction};

use super::report::Report;
use crate::ruleset::table;

/// The plugin's tables: port mappings and masquerading, and what a pod may send by.
const PLUGINS: &str = "routerd-cni";

/// Removes our tables, each whole; the daemon's only if nothing of what its sets tell of is left (`balanced`).
pub(super) fn remove(nft: &mut Nft, balanced: bool, report: &mut Report) {
    let plugin = [TableFamily::Inet, TableFamily::Bridge].map(|family| TableName::new(family, PLUGINS));
    let Some(present) = report.value(nft.list_tables()) else { return };
    for name in [table()].into_iter().chain(plugin) {
        if !present.iter().any(|listed| listed.table.name == name) {
            continue;
        }
        if name == table() && !balanced {
            report.kept.push(format!(
                "left the nft table {name}: it tells which IPVS services are ours; run this again"
            ));
            continue;
        }
        let mut transaction = Transaction::new();
        transaction.delete_table(name.clone());
        report.gone(format!("nft table {name}"), nft.commit(&transaction).map_err(|error| error.error));
    }
}
