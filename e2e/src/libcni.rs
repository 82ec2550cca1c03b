//! What a container runtime hands to a plugin, as libcni derives it from a network configuration
//! list (CNI specification 1.1, sections 3 and 4; `libcni/api.go`: `buildOneConfig`, `injectRuntimeConfig`).

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};

/// A network configuration list.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    name: Value,
    version: Value,
    /// The plugins' entries, in order.
    pub plugins: Vec<Map<String, Value>>,
}

impl List {
    /// Reads a `.conflist` file.
    pub fn parse(text: &str) -> Result<Self> {
        let all: Value = serde_json::from_str(text).context("the network configuration is no JSON")?;
        let Some(entries) =
            all.get("plugins").and_then(Value::as_array).filter(|entries| !entries.is_empty())
        else {
            bail!("the network configuration has no plugins");
        };
        let plugins = entries.iter().map(|entry| entry.as_object().cloned()).collect::<Option<Vec<_>>>();
        Ok(Self {
            name: all.get("name").cloned().context("the network configuration has no name")?,
            version: all.get("cniVersion").cloned().unwrap_or_else(|| json!("0.1.0")),
            plugins: plugins.context("a plugin's entry is no JSON object")?,
        })
    }

    /// The program of a plugin's entry.
    pub fn program(plugin: &Map<String, Value>) -> Result<&str> {
        plugin.get("type").and_then(Value::as_str).context("a plugin's entry has no type")
    }

    /// The configuration a plugin reads: its entry, with the list's name and version, what it can use of the
    /// runtime's values, and the result so far.
    pub fn config(
        &self,
        plugin: &Map<String, Value>,
        runtime: &Map<String, Value>,
        previous: Option<&Value>,
    ) -> Value {
        let mut config = plugin.clone();
        config.insert("name".into(), self.name.clone());
        config.insert("cniVersion".into(), self.version.clone());
        let usable = usable(plugin, runtime);
        if !usable.is_empty() {
            config.insert("runtimeConfig".into(), Value::Object(usable));
        }
        config.remove("capabilities");
        if let Some(result) = previous {
            config.insert("prevResult".into(), result.clone());
        }
        Value::Object(config)
    }
}

fn usable(plugin: &Map<String, Value>, runtime: &Map<String, Value>) -> Map<String, Value> {
    let declared = plugin.get("capabilities").and_then(Value::as_object);
    let wants = |key: &str| declared.and_then(|all| all.get(key)).and_then(Value::as_bool).unwrap_or(false);
    runtime.iter().filter(|(key, _)| wants(key)).map(|(key, value)| (key.clone(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{"cniVersion":"1.1.0","name":"net","disableCheck":false,"plugins":[
        {"type":"first","capabilities":{"portMappings":true,"bandwidth":false},"mtu":1400},{"type":"second"}]}"#;

    #[test]
    fn a_plugin_gets_name_version_and_the_runtime_values_it_declares() {
        let list = List::parse(LIST).unwrap();
        let runtime = json!({"portMappings": [{"hostPort": 80}], "bandwidth": {}, "ips": []});
        let config = list.config(&list.plugins[0], runtime.as_object().unwrap(), None);
        let wanted = json!({"type": "first", "mtu": 1400, "name": "net", "cniVersion": "1.1.0",
            "runtimeConfig": {"portMappings": [{"hostPort": 80}]}});
        assert_eq!(config, wanted);
    }

    #[test]
    fn the_result_of_the_plugin_before_is_handed_on() {
        let list = List::parse(LIST).unwrap();
        let config = list.config(&list.plugins[1], &Map::new(), Some(&json!({"ips": []})));
        assert_eq!(config["prevResult"], json!({"ips": []}));
        assert!(config.get("runtimeConfig").is_none());
    }

    #[test]
    fn a_list_that_a_runtime_would_refuse_is_refused() {
        for text in
            ["", "[]", r#"{"name":"a"}"#, r#"{"name":"a","plugins":[]}"#, r#"{"plugins":[{"type":"x"}]}"#]
        {
            assert!(List::parse(text).is_err(), "{text}");
        }
    }
}
