//! What routerd writes into a network configuration: a pure function of its text. It is here because the plugin reads what
//! comes of it, and because a fuzzer of it needs nothing of the daemon.

mod former;

use prefix::Prefix;
use serde_json::{Map, Value, json};

pub use former::forget;

/// Plugins whose addresses are the node's pod ranges: ours, and what kube-router's configurations name.
const WITH_RANGES: [&str; 2] = ["routerd-cni", "bridge"];
/// The IPAM plugin whose ranges are ours to write.
const IPAM: &str = "host-local";

/// The key whose value tells an `mtu` of ours from one of the user's: they are equal. Plugins ignore it.
const MARK: &str = "routerd.autoMtu";

/// Why a configuration cannot take the node's ranges.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// The text is no JSON.
    #[error("it is no JSON: {0}")]
    Json(String),
    /// The JSON is no network configuration.
    #[error("{0}")]
    Shape(&'static str),
    /// No plugin in it takes the node's ranges.
    #[error(
        "no plugin of type routerd-cni or bridge with \"ipam\": {{\"type\": \"host-local\"}} is in it, so the node's pod ranges have no place; use --enable-cni=false if another program manages it"
    )]
    NoPlugin,
}

/// A configuration with what it was to have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The new text; `None` if the old one has everything already.
    pub text: Option<String>,
    /// The MTU of pods that it names, in bytes: the smallest, if several plugins wire pods.
    pub mtu: Option<u32>,
    /// The bridge that it names for pods: the first one's.
    pub bridge: String,
    /// Ranges that the node had before and that are not [forgotten](forget).
    pub former: Vec<Prefix>,
    /// Every plugin in it that wires pods tells the daemon of them: the type `routerd-cni` does, and ours under the name
    /// `bridge` where the key `routerd` is there.
    pub tells_daemon: bool,
}

/// The text with the node's pod ranges `pod_cidrs` and, if given, the path's `mtu` in bytes.
///
/// Only `ipam.ranges`, `mtu`, the mark of an own `mtu` and the note of former ranges are touched, in the plugins that wire pods: every other key,
/// also one that is not known here, stays, in its order. An `mtu` that is neither the path's nor marked is the user's
/// and stays. A range set of a pod range that is there already stays as it is (it may have a
/// `rangeStart` of the user's); sets of other ranges go, because they are those of a node that was something else.
/// The old style `ipam.subnet` becomes a range set, as in kube-router.
pub fn with_node(text: &str, pod_cidrs: &[Prefix], mtu: Option<u32>) -> Result<Edited, EditError> {
    let old = parse(text)?;
    let mut new = old.clone();
    let (mut smallest, mut bridge, mut tells_daemon) = (None::<u32>, None, true);
    let mut former = Vec::new();
    for plugin in plugins(&mut new)?.into_iter().filter(|plugin| is_ours(plugin)) {
        edit(plugin, pod_cidrs, mtu)?;
        smallest = smallest.into_iter().chain(number(plugin, "mtu")).min();
        bridge.get_or_insert_with(|| bridge_of(plugin));
        former.extend(former::read(plugin));
        tells_daemon &= is_routerd(plugin) || plugin.contains_key("routerd");
    }
    let bridge = bridge.ok_or(EditError::NoPlugin)?;
    let text = (new != old).then(|| printed(&new));
    Ok(Edited { text, mtu: smallest, bridge, former, tells_daemon })
}

fn parse(text: &str) -> Result<Value, EditError> {
    serde_json::from_str(text).map_err(|error| EditError::Json(error.to_string()))
}

fn printed(conf: &Value) -> String {
    format!("{conf:#}\n")
}

/// The bridge of a plugin that wires pods; the two types have different ones by default.
fn bridge_of(plugin: &Map<String, Value>) -> String {
    let given = plugin.get("bridge").and_then(Value::as_str).filter(|name| !name.is_empty());
    given.unwrap_or(if is_routerd(plugin) { "kube-bridge" } else { "cni0" }).to_owned()
}

fn is_routerd(plugin: &Map<String, Value>) -> bool {
    plugin.get("type").and_then(Value::as_str) == Some("routerd-cni")
}

fn number(plugin: &Map<String, Value>, key: &str) -> Option<u32> {
    plugin.get(key).and_then(Value::as_u64).and_then(|number| number.try_into().ok())
}

/// Sets the MTU of the path, unless the user has set one.
fn set_mtu(plugin: &mut Map<String, Value>, mtu: u32) {
    let found = plugin.get("mtu").filter(|value| !value.is_null() && **value != 0);
    let own = number(plugin, "mtu").is_some_and(|found| found == mtu || number(plugin, MARK) == Some(found));
    if found.is_none() || own {
        plugin.insert("mtu".into(), mtu.into());
        plugin.insert(MARK.into(), mtu.into());
    } else {
        plugin.shift_remove(MARK);
    }
}

/// The plugins of a list, or the one of a single configuration.
fn plugins(conf: &mut Value) -> Result<Vec<&mut Map<String, Value>>, EditError> {
    let object = conf.as_object_mut().ok_or(EditError::Shape("it is no JSON object"))?;
    if !object.contains_key("plugins") {
        return Ok(vec![object]);
    }
    let list = object.get_mut("plugins").and_then(Value::as_array_mut);
    let list = list.ok_or(EditError::Shape("its key \"plugins\" is no list"))?;
    list.iter_mut()
        .map(|plugin| plugin.as_object_mut().ok_or(EditError::Shape("an entry of \"plugins\" is no object")))
        .collect()
}

fn is_ours(plugin: &Map<String, Value>) -> bool {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned).unwrap_or_default();
    let ipam = plugin.get("ipam").and_then(|ipam| ipam.get("type"));
    WITH_RANGES.contains(&text(plugin.get("type")).as_str()) && text(ipam) == IPAM
}

fn edit(plugin: &mut Map<String, Value>, pod_cidrs: &[Prefix], mtu: Option<u32>) -> Result<(), EditError> {
    if let Some(mtu) = mtu {
        set_mtu(plugin, mtu);
    }
    let ipam = plugin.get_mut("ipam").and_then(Value::as_object_mut);
    let ipam = ipam.ok_or(EditError::Shape("its key \"ipam\" is no object"))?;
    if pod_cidrs.is_empty() {
        return Ok(());
    }
    let old = match ipam.get("ranges") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(sets)) => sets.clone(),
        Some(_) => return Err(EditError::Shape("its key \"ipam.ranges\" is no list")),
    };
    let wanted = |cidr: &Prefix| {
        let there = old.iter().chain(legacy_set(ipam).as_ref()).find(|set| is_of(set, cidr)).cloned();
        there.unwrap_or_else(|| json!([{ "subnet": cidr.to_string() }]))
    };
    let ranges: Vec<Value> = pod_cidrs.iter().map(wanted).collect();
    let had: Vec<Prefix> = old.iter().chain(legacy_set(ipam).as_ref()).flat_map(subnets).collect();
    for key in ["subnet", "rangeStart", "rangeEnd", "gateway"] {
        ipam.shift_remove(key);
    }
    ipam.insert("ranges".into(), ranges.into());
    former::note(plugin, &had, pod_cidrs);
    Ok(())
}

/// The range set that the old style keys stand for.
fn legacy_set(ipam: &Map<String, Value>) -> Option<Value> {
    ipam.get("subnet")?;
    let keys = ["subnet", "rangeStart", "rangeEnd", "gateway"];
    let range: Map<String, Value> =
        keys.iter().filter_map(|key| Some(((*key).to_owned(), ipam.get(*key)?.clone()))).collect();
    Some(json!([range]))
}

/// True if the set is one range of exactly the subnet `cidr`.
fn is_of(set: &Value, cidr: &Prefix) -> bool {
    set.as_array().is_some_and(|ranges| ranges.len() == 1) && subnets(set).eq([*cidr])
}

/// The subnets of a range set.
fn subnets(set: &Value) -> impl Iterator<Item = Prefix> {
    let ranges = set.as_array().into_iter().flatten();
    ranges.filter_map(|range| range.get("subnet")?.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidrs(texts: &[&str]) -> Vec<Prefix> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    const TEMPLATE: &str = include_str!("../../cni/10-kuberouter.conflist");

    #[test]
    fn the_template_gets_a_range_set_for_each_family_and_the_mtu() {
        let text =
            with_node(TEMPLATE, &cidrs(&["10.244.1.0/24", "fd00:1::/64"]), Some(1480)).unwrap().text.unwrap();
        let conf = value(&text);
        assert_eq!(
            conf["plugins"][0]["ipam"]["ranges"],
            json!([[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:1::/64"}]])
        );
        assert_eq!(conf["plugins"][0]["mtu"], 1480);
        assert_eq!(
            with_node(&text, &cidrs(&["10.244.1.0/24", "fd00:1::/64"]), Some(1480)).unwrap().text,
            None
        );
    }

    #[test]
    fn an_mtu_of_the_user_stays_and_one_of_ours_follows_the_path() {
        let cidrs = cidrs(&["10.1.0.0/24"]);
        let conf =
            |mtu: &str| format!(r#"{{"name":"n","type":"routerd-cni",{mtu}"ipam":{{"type":"host-local"}}}}"#);
        let edit = |text: &str, path: u32| with_node(text, &cidrs, Some(path)).unwrap();
        // Without one, and with one that is what the path has, as kube-router leaves it: followed from then on.
        for start in ["", r#""mtu":0,"#, r#""mtu":1500,"#] {
            let first = edit(&conf(start), 1500);
            assert_eq!(first.mtu, Some(1500));
            let second = edit(&first.text.unwrap(), 1400);
            assert_eq!(second.mtu, Some(1400), "{start}");
            assert_eq!(edit(&second.text.unwrap(), 9000).mtu, Some(9000), "{start}");
        }
        // Set by the user, before we came or in our own file.
        let theirs = edit(&conf(r#""mtu":1300,"#), 1500);
        assert_eq!(theirs.mtu, Some(1300));
        let ours = edit(&conf(""), 1500).text.unwrap();
        let changed = edit(&ours.replace(r#""mtu": 1500"#, r#""mtu": 1200"#), 1500);
        assert_eq!(changed.mtu, Some(1200));
        assert!(!changed.text.unwrap().contains(MARK));
        // Without --auto-mtu it is not looked at.
        assert_eq!(
            with_node(&ours, &cidrs, None).unwrap(),
            Edited {
                text: None,
                mtu: Some(1500),
                bridge: "kube-bridge".into(),
                former: vec![],
                tells_daemon: true
            }
        );
    }

    #[test]
    fn a_node_that_got_other_ranges_loses_the_old_ones_and_keeps_a_users_own_limits() {
        let text = r#"{"name":"n","plugins":[{"type":"routerd-cni","ipam":{"type":"host-local",
            "ranges":[[{"subnet":"10.1.0.0/24"}],[{"subnet":"fd00::/64","rangeStart":"fd00::100"}]]}}]}"#;
        let conf =
            value(&with_node(text, &cidrs(&["10.2.0.0/24", "fd00::/64"]), None).unwrap().text.unwrap());
        assert_eq!(
            conf["plugins"][0]["ipam"]["ranges"],
            json!([[{"subnet": "10.2.0.0/24"}], [{"subnet": "fd00::/64", "rangeStart": "fd00::100"}]])
        );
    }

    #[test]
    fn everything_else_stays_in_its_order() {
        let text = r#"{"zeta":1,"cniVersion":"0.3.0","name":"mynet","plugins":[
            {"type":"portmap","capabilities":{"snat":true,"portMappings":true}},
            {"name":"kubernetes","type":"bridge","bridge":"kube-bridge","novel":[1],"ipam":{"type":"host-local","x":null}}],
            "alpha":2}"#;
        let new = with_node(text, &cidrs(&["10.1.0.0/24"]), None).unwrap().text.unwrap();
        let mut expected = value(text);
        expected["plugins"][1]["ipam"]["ranges"] = json!([[{"subnet": "10.1.0.0/24"}]]);
        assert_eq!(value(&new), expected);
        let place = |key: &str| new.find(key).unwrap();
        assert!(
            place("zeta") < place("cniVersion")
                && place("novel") < place("ipam")
                && place("ipam") < place("alpha")
        );
    }

    #[test]
    fn the_old_style_subnet_becomes_a_set_and_a_single_configuration_is_taken_too() {
        let text = r#"{"name":"n","type":"bridge","ipam":{"type":"host-local","subnet":"10.1.0.0/24","rangeStart":"10.1.0.9"}}"#;
        let conf = value(&with_node(text, &cidrs(&["10.1.0.0/24"]), None).unwrap().text.unwrap());
        assert_eq!(
            conf["ipam"],
            json!({"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9"}]]})
        );
    }

    #[test]
    fn a_node_without_ranges_takes_none_away() {
        let text = r#"{"name":"n","type":"bridge","ipam":{"type":"host-local","ranges":[[{"subnet":"10.1.0.0/24"}]]}}"#;
        assert_eq!(with_node(text, &[], None).unwrap().text, None);
    }

    #[test]
    fn what_cannot_take_ranges_is_refused_with_the_reason() {
        for (text, reason) in [
            ("{", "no JSON"),
            ("[]", "no JSON object"),
            (r#"{"plugins":{}}"#, "\"plugins\" is no list"),
            (r#"{"plugins":[7]}"#, "is no object"),
            (r#"{"plugins":[{"type":"flannel"}]}"#, "no plugin of type routerd-cni"),
            (r#"{"plugins":[{"type":"bridge","ipam":{"type":"dhcp"}}]}"#, "no plugin of type routerd-cni"),
            (r#"{"type":"bridge","ipam":{"type":"host-local","ranges":7}}"#, "\"ipam.ranges\" is no list"),
        ] {
            let error = with_node(text, &cidrs(&["10.1.0.0/24"]), None).unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
