//! Routes and policy rules.

use std::collections::BTreeSet;

use kernel::rtnl::{Route, RouteFilter, RouteKind, Rtnl, Rule, RuleAction, table};
use prefix::Family;

use super::report::Report;
use crate::routing::{KUBE_ROUTER_PROTOCOL, POD_TABLE, PROTOCOL};

/// kube-router's table for direct server return.
const DSR_TABLE: u32 = 78;
/// kube-router's table of external addresses, empty since its release 2.6.
const EXTERNAL_TABLE: u32 = 79;
/// The loopback device has the first number of every namespace.
const LOOPBACK: u32 = 1;

/// Removes the routes of our protocol in every table, those that kube-router has learnt, and the rules and routes of
/// kube-router's tables.
pub(super) fn remove(rtnl: &mut Rtnl, report: &mut Report) {
    let ours = RouteFilter { protocol: Some(PROTOCOL), ..RouteFilter::default() };
    let main = Some(table::MAIN);
    let learnt = RouteFilter { protocol: Some(KUBE_ROUTER_PROTOCOL), table: main, ..RouteFilter::default() };
    for filter in [ours, learnt] {
        for route in report.value(rtnl.routes(&filter)).unwrap_or_default() {
            report.gone(format!("route {route}"), rtnl.delete_route(&route));
        }
    }
    for family in Family::BOTH {
        for rule in report.value(rtnl.rules(family)).unwrap_or_default() {
            let RuleAction::Table(table @ POD_TABLE..=EXTERNAL_TABLE) = rule.action else { continue };
            if is_kube_routers(&rule, table) {
                report.gone(&rule, rtnl.delete_rule(&rule));
            } else {
                report
                    .kept
                    .push(format!("left {rule}: kube-router's rules for table {table} look otherwise"));
            }
        }
    }
    let dsr = RouteFilter { table: Some(DSR_TABLE), ..RouteFilter::default() };
    for route in report.value(rtnl.routes(&dsr)).unwrap_or_default() {
        if is_dsr(&route) {
            report.gone(format!("route {route}"), rtnl.delete_route(&route));
        }
    }
}

/// The marks whose packets kube-router (or routerd) leads to the table for direct server return.
pub(super) fn direct_marks(rtnl: &mut Rtnl, report: &mut Report) -> BTreeSet<u32> {
    let rules =
        Family::BOTH.into_iter().flat_map(|family| report.value(rtnl.rules(family)).unwrap_or_default());
    let direct =
        rules.filter(|rule| rule.action == RuleAction::Table(DSR_TABLE) && is_kube_routers(rule, DSR_TABLE));
    direct.filter_map(|rule| rule.mark.map(|(mark, _)| mark)).collect()
}

/// True for a rule as kube-router (2.0 to 2.11) or routerd makes it: pods by source, direct return by mark, external
/// addresses for all.
fn is_kube_routers(rule: &Rule, table: u32) -> bool {
    let bound = rule.inverted || rule.input.is_some() || rule.output.is_some() || rule.to.is_some();
    let (source, mark) = (rule.from.is_some(), rule.mark.is_some());
    let as_made = match table {
        POD_TABLE => source && !mark,
        DSR_TABLE => mark && !source,
        _ => !source && !mark,
    };
    rule.protocol == PROTOCOL || (as_made && !bound)
}

/// `local default dev lo`.
fn is_dsr(route: &Route) -> bool {
    let local = route.next_hops.iter().any(|hop| hop.link == Some(LOOPBACK) && hop.gateway.is_none());
    local && route.kind == RouteKind::Local && route.destination.length() == 0
}
