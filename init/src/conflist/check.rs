//! What a network configuration must have: a pure function of its text.

use serde_json::{Map, Value};

/// Reads a configuration; the error says what is wrong in words of the file: line and column, or the key.
pub(super) fn parse(text: &str) -> Result<Map<String, Value>, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
    let Value::Object(conf) = value else { return Err("it is no JSON object".to_owned()) };
    check_name(conf.get("name"))?;
    match conf.get("cniVersion") {
        None | Some(Value::String(_)) => {}
        Some(other) => return Err(format!("the key \"cniVersion\" must be a text, but is {other}")),
    }
    // A single configuration (.conf) has its type at the top, a list has plugins.
    match conf.get("plugins") {
        None => check_plugin(&conf, "")?,
        Some(Value::Array(plugins)) if plugins.is_empty() => {
            return Err("the list \"plugins\" is empty".to_owned());
        }
        Some(Value::Array(plugins)) => {
            for (index, plugin) in plugins.iter().enumerate() {
                let object = plugin.as_object().ok_or(format!("plugins[{index}] is no object"))?;
                check_plugin(object, &format!("plugins[{index}]."))?;
            }
        }
        Some(_) => return Err("the key \"plugins\" is no list".to_owned()),
    }
    Ok(conf)
}

/// CNI 1.1, section 1: the name of the lease folder, so a name with `/` would leave its place.
fn check_name(name: Option<&Value>) -> Result<(), String> {
    let Some(name) = name.and_then(Value::as_str).filter(|name| !name.is_empty()) else {
        return Err("the key \"name\" is missing or no text".to_owned());
    };
    let (first, rest) = name.split_at(name.chars().next().map_or(0, char::len_utf8));
    let plain = |c: char| c.is_ascii_alphanumeric();
    if first.chars().all(plain) && rest.chars().all(|c| plain(c) || "_.-".contains(c)) {
        return Ok(());
    }
    Err(format!(
        "the key \"name\" must begin with a letter or digit and go on with letters, digits, '_', '.' or '-', but is {name:?}"
    ))
}

fn check_plugin(plugin: &Map<String, Value>, path: &str) -> Result<(), String> {
    if plugin.get("type").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(format!("the key \"{path}type\" is missing or no text"));
    }
    for key in ["ipam", "capabilities"] {
        if plugin.get(key).is_some_and(|value| !value.is_object() && !value.is_null()) {
            return Err(format!("the key \"{path}{key}\" is no object"));
        }
    }
    Ok(())
}

/// The plugins of a list, or the one of a single configuration.
pub(super) fn plugins(conf: &Map<String, Value>) -> Vec<&Map<String, Value>> {
    match conf.get("plugins") {
        Some(plugins) => plugins.as_array().into_iter().flatten().filter_map(Value::as_object).collect(),
        None => vec![conf],
    }
}

/// The names of the programs that the configuration needs, each once.
pub(super) fn programs(conf: &Map<String, Value>) -> Vec<String> {
    let mut programs: Vec<String> = Vec::new();
    for plugin in plugins(conf) {
        let ours = plugin.get("type").and_then(Value::as_str) == Some("routerd-cni");
        let ipam = plugin.get("ipam").and_then(|ipam| ipam.get("type")).and_then(Value::as_str);
        // Ours does host-local itself.
        let built_in = |name: &str| name.is_empty() || (ours && name == "host-local");
        let ipam = ipam.filter(|name| !built_in(name));
        for name in plugin.get("type").and_then(Value::as_str).into_iter().chain(ipam) {
            if !programs.iter().any(|known| known == name) {
                programs.push(name.to_owned());
            }
        }
    }
    programs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_place_or_key() {
        for (text, reason) in [
            ("{\n  \"name\": \"n\",\n  oops\n}", "line 3 column 3"),
            ("[]", "no JSON object"),
            (r#"{"plugins": [{"type": "x"}]}"#, "\"name\""),
            (r#"{"name": "../etc", "type": "x"}"#, "\"../etc\""),
            (r#"{"name": "n", "cniVersion": 1, "type": "x"}"#, "\"cniVersion\""),
            (r#"{"name": "n"}"#, "\"type\""),
            (r#"{"name": "n", "plugins": []}"#, "empty"),
            (r#"{"name": "n", "plugins": {}}"#, "no list"),
            (r#"{"name": "n", "plugins": [{"type": "x"}, 7]}"#, "plugins[1] is no object"),
            (r#"{"name": "n", "plugins": [{"type": 5}]}"#, "\"plugins[0].type\""),
            (r#"{"name": "n", "plugins": [{"type": "x", "ipam": "y"}]}"#, "\"plugins[0].ipam\""),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn programs_are_those_that_a_runtime_or_a_plugin_will_look_for() {
        let conf = parse(
            r#"{"name": "n", "plugins": [{"type": "routerd-cni", "ipam": {"type": "host-local"}},
            {"type": "bridge", "ipam": {"type": "dhcp"}}, {"type": "tuning"}, {"type": "tuning"}]}"#,
        );
        assert_eq!(programs(&conf.unwrap()), ["routerd-cni", "bridge", "dhcp", "tuning"]);
    }
}
