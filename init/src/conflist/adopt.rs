//! How a kube-router configuration becomes one of routerd: a pure function.

use serde_json::{Map, Value, json};

/// The type that wires pods in kube-router's configurations.
const THEIRS: &str = "bridge";
/// The type that does the same and waits for the pod's policy.
const OURS: &str = "routerd-cni";

/// Makes every plugin of type `bridge` with host-local addresses one of type `routerd-cni`, which takes the same keys;
/// `true` if one was found. All else stays: the name, which is the lease folder's, further plugins of the chain, and
/// every key.
pub(super) fn adopt(conf: &mut Map<String, Value>) -> bool {
    if !conf.contains_key("plugins") {
        return adopt_plugin(conf);
    }
    let plugins = conf.get_mut("plugins").and_then(Value::as_array_mut).into_iter().flatten();
    let adopted = plugins.filter_map(Value::as_object_mut).map(adopt_plugin);
    // Every one of them, so no short cut.
    adopted.fold(false, |any, one| any | one)
}

fn adopt_plugin(plugin: &mut Map<String, Value>) -> bool {
    let ipam = plugin.get("ipam").and_then(|ipam| ipam.get("type")).and_then(Value::as_str);
    if plugin.get("type").and_then(Value::as_str) != Some(THEIRS) || ipam != Some("host-local") {
        return false;
    }
    plugin.insert("type".to_owned(), OURS.into());
    if plugin.get("bridge").and_then(Value::as_str).is_none_or(str::is_empty) {
        // The two have different default bridges.
        plugin.insert("bridge".to_owned(), "cni0".into());
    }
    true
}

/// The list that stands for a single configuration, whose keys but version and name are those of its plugin.
pub(super) fn as_list(mut conf: Map<String, Value>) -> Map<String, Value> {
    let mut list = Map::new();
    for key in ["cniVersion", "name"] {
        list.extend(conf.shift_remove(key).map(|value| (key.to_owned(), value)));
    }
    list.insert("plugins".to_owned(), json!([conf]));
    list
}

/// The single configuration that stands for a list, if the list has one plugin.
pub(super) fn as_single(mut conf: Map<String, Value>) -> Result<Map<String, Value>, String> {
    let Some(Value::Array(plugins)) = conf.shift_remove("plugins") else { return Ok(conf) };
    let [Value::Object(plugin)] = plugins.as_slice() else {
        return Err(format!(
            "it has {} plugins, but a file that is not called .conflist takes one; give --cni-conf-file (KUBE_ROUTER_CNI_CONF_FILE) a name that ends with .conflist",
            plugins.len()
        ));
    };
    if plugin.contains_key("plugins") {
        return Err("its one plugin has a list \"plugins\" of its own, by which a runtime would take the file for a list; remove that key".to_owned());
    }
    // Only a list may name several versions.
    conf.shift_remove("cniVersions");
    // Name and version are the list's: a runtime writes them over what the plugin says of them, and leases lie under the name.
    let own = |key: &str| key != "name" && key != "cniVersion";
    conf.extend(plugin.clone().into_iter().filter(|(key, _)| own(key)));
    Ok(conf)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: &Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn only_the_type_of_what_wires_pods_changes() {
        let text = json!({"cniVersion": "0.3.0", "name": "mynet", "plugins": [
            {"name": "kubernetes", "type": "bridge", "bridge": "kube-bridge", "isDefaultGateway": true, "novel": 1,
             "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.1.0.0/24"}]]}},
            {"type": "portmap", "capabilities": {"snat": true, "portMappings": true}},
            {"type": "bridge", "bridge": "br1", "ipam": {"type": "dhcp"}}]});
        let mut conf = object(&text);
        assert!(adopt(&mut conf));
        let mut expected = text;
        expected["plugins"][0]["type"] = "routerd-cni".into();
        assert_eq!(Value::Object(conf.clone()), expected);
        assert!(!adopt(&mut conf), "a second time there is nothing to do");
    }

    #[test]
    fn a_bridge_that_was_not_named_keeps_its_name() {
        let mut conf = object(&json!({"name": "n", "type": "bridge", "ipam": {"type": "host-local"}}));
        assert!(adopt(&mut conf));
        assert_eq!(conf["bridge"], "cni0");
    }

    #[test]
    fn a_single_configuration_and_a_list_of_one_stand_for_each_other() {
        let single = object(&json!({"cniVersion": "0.3.0", "name": "n", "type": "bridge", "mtu": 1400}));
        let list = as_list(single.clone());
        assert_eq!(
            Value::Object(list.clone()),
            json!({"cniVersion": "0.3.0", "name": "n", "plugins": [{"type": "bridge", "mtu": 1400}]})
        );
        assert_eq!(as_single(list).unwrap(), single);
        let named = object(
            &json!({"name": "mynet", "plugins": [{"name": "kubernetes", "cniVersion": "9", "type": "a"}]}),
        );
        assert_eq!(Value::Object(as_single(named).unwrap()), json!({"name": "mynet", "type": "a"}));
        let two = object(&json!({"name": "n", "plugins": [{"type": "a"}, {"type": "b"}]}));
        assert!(as_single(two).unwrap_err().contains(".conflist"));
        let nested = object(&json!({"name": "n", "plugins": [{"type": "a", "plugins": [{"type": "b"}]}]}));
        assert!(as_single(nested).unwrap_err().contains("of its own"));
    }
}
