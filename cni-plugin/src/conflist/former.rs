//! Ranges that the node had before. Pods of them may go on for a while, and until then their gateway stays on the bridge;
//! routerd, which takes it away, may be restarted meanwhile, so they are noted in the configuration itself.

use prefix::Prefix;
use serde_json::{Map, Value};

use super::{EditError, is_ours, parse, plugins, printed};

/// A list of prefixes. Plugins ignore it.
pub(super) const KEY: &str = "routerd.formerRanges";

/// The former ranges that a plugin's configuration notes.
pub(super) fn read(plugin: &Map<String, Value>) -> Vec<Prefix> {
    let list = plugin.get(KEY).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|text| text.as_str()?.parse().ok()).collect()
}

/// Notes those of the ranges `had` that are none of `wanted`.
pub(super) fn note(plugin: &mut Map<String, Value>, had: &[Prefix], wanted: &[Prefix]) {
    change(plugin, |former| {
        former.extend(had);
        former.retain(|range| !wanted.contains(range));
    });
}

fn change(plugin: &mut Map<String, Value>, change: impl FnOnce(&mut Vec<Prefix>)) {
    let before = read(plugin);
    let mut former = before.clone();
    change(&mut former);
    former.sort();
    former.dedup();
    if former == before {
        return;
    }
    if former.is_empty() {
        plugin.shift_remove(KEY);
    } else {
        plugin.insert(KEY.into(), former.iter().map(Prefix::to_string).collect());
    }
}

/// The text without the former ranges `gone`; `None` if it notes none of them.
pub fn forget(text: &str, gone: &[Prefix]) -> Result<Option<String>, EditError> {
    let old = parse(text)?;
    let mut new = old.clone();
    for plugin in plugins(&mut new)?.into_iter().filter(|plugin| is_ours(plugin)) {
        change(plugin, |former| former.retain(|range| !gone.contains(range)));
    }
    Ok((new != old).then(|| printed(&new)))
}

#[cfg(test)]
mod tests {
    use super::super::with_node;
    use super::*;

    fn ranges(text: &str) -> Vec<Prefix> {
        text.split_whitespace().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn ranges_that_the_node_loses_are_noted_until_they_are_its_own_again_or_forgotten() {
        let mut text =
            r#"{"name":"n","type":"bridge","ipam":{"type":"host-local","subnet":"10.1.0.0/24"}}"#.to_owned();
        for (given, former) in [
            ("10.1.0.0/24", ""),
            ("10.2.0.0/24 fd00::/64", "10.1.0.0/24"),
            ("10.3.0.0/24 fd00::/64", "10.1.0.0/24 10.2.0.0/24"),
            ("10.1.0.0/24", "10.2.0.0/24 10.3.0.0/24 fd00::/64"),
            ("", "10.2.0.0/24 10.3.0.0/24 fd00::/64"),
        ] {
            let edited = with_node(&text, &ranges(given), None).unwrap();
            text = edited.text.unwrap_or(text);
            assert_eq!(edited.former, ranges(former), "{given}: {text}");
        }
        let text = forget(&text, &ranges("10.3.0.0/24 fd00::/64 10.9.0.0/24")).unwrap().unwrap();
        assert_eq!(with_node(&text, &[], None).unwrap().former, ranges("10.2.0.0/24"));
        assert_eq!(forget(&text, &ranges("10.3.0.0/24")).unwrap(), None);
        let text = forget(&text, &ranges("10.2.0.0/24")).unwrap().unwrap();
        assert!(!text.contains(KEY), "{text}");
    }
}
