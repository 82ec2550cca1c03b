//! What reads bytes of others, as functions for a fuzzer (`fuzz/`, `cargo lab fuzz`). They read and judge; nothing of
//! the kernel or the node is touched, whatever the bytes say.
//!
//! A target ends badly if something panics, or if what was read breaks a promise that the rest relies on.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::args::{Args, UnknownKeys};
use crate::bandwidth::Limits;
use crate::config::{BridgeConf, NetConf, RouterdConf};
use crate::conflist::{Edited, with_node};
use crate::convert::{addresses_from_json, from_json, to_json};
use crate::env::{Environment, is_identifier};
use crate::error::CniError;
use crate::ipam::{self, HostLocalConf, RangeSet};
use crate::json::Fields;
use crate::plugin::{Role, valid_attachments};
use crate::portmap::{PortMapConf, entries, pod_addresses};
use crate::socket::{FrameError, Reply, Request, decode, encode, read_frame};
use crate::tag::Tag;
use crate::tuning::TuningConf;
use crate::version::Version;

/// A function that takes any bytes.
pub type Target = fn(&[u8]);

/// All of them by name. What the bytes are: a configuration, lines `NAME=value`, a result, a list of attachments, a
/// file of a lease folder (the first byte says which), a frame, a list of plugins (the first byte chooses what goes in).
pub const TARGETS: [(&str, Target); 7] = [
    ("stdin", stdin),
    ("environment", environment),
    ("prev_result", prev_result),
    ("gc", gc),
    ("lease", ipam::fuzz_files),
    ("socket", socket),
    ("conflist", conflist),
];

/// What a runtime would be shown: one line that says something.
fn judge<T>(outcome: Result<T, CniError>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(error) => {
            let shown = error.to_json(Version::NEWEST.as_str());
            let is_line = |msg: &str| !msg.trim().is_empty() && !msg.contains(char::is_control);
            assert!(shown["msg"].as_str().is_some_and(is_line), "{error:?}");
            None
        }
    }
}

fn stdin(data: &[u8]) {
    let Some(conf) = judge(NetConf::parse(data)) else { return };
    assert!(is_identifier(&conf.name));
    judge(Role::of("renamed", &conf.plugin_type));
    let args = Args::default();
    judge(BridgeConf::parse(&conf, &args, "cni0"));
    judge(RouterdConf::parse(&conf, true));
    judge(PortMapConf::parse(&conf));
    judge(Limits::parse(&conf));
    judge(TuningConf::parse(&conf, &args, "eth0"));
    judge(conf.requested_mac(&args));
    judge(conf.requested_ips(&args));
    assert!(HostLocalConf::folder(&conf).ends_with(&conf.name));
    judge(HostLocalConf::has_ranges(&conf));
    if let Some(host_local) = judge(HostLocalConf::parse(&conf)) {
        host_local.sets.iter().for_each(pool);
    }
}

/// A pool hands out what lies in it, and never a gateway.
fn pool(set: &RangeSet) {
    assert!(!set.to_string().is_empty());
    let mut first = None;
    for (address, range) in set.candidates(None).take(3) {
        assert!(set.hands_out(address) && range.contains(address), "{set}: {address}");
        assert!(range.with_length(address).is_some());
        first.get_or_insert(address);
    }
    // The one handed out last is tried last, so another one comes first wherever there is another.
    let next = set.candidates(first).next().map(|(address, _)| address);
    assert_eq!(next == first, set.size() <= 1, "{set}");
}

fn environment(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let variables: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
    let get = |name: &str| variables.get(name).map(|value| (*value).to_owned());
    let Some(Some(env)) = judge(Environment::read(get)) else { return };
    if !env.container_id.is_empty() && !env.ifname.is_empty() {
        let tag = Tag::new("n", &env.container_id, &env.ifname);
        assert_eq!(tag.to_string().parse().as_ref(), Ok(&tag));
    }
    for unknown in [UnknownKeys::Refuse, UnknownKeys::RefuseButPod, UnknownKeys::Ignore] {
        judge(Args::parse(&env.args, unknown));
    }
}

/// The first byte chooses the version of the configuration.
fn prev_result(data: &[u8]) {
    let Some((first, data)) = data.split_first() else { return };
    let version = Version::ALL[usize::from(*first) % Version::ALL.len()];
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return };
    let Some(fields) = judge(Fields::of(&value, "prevResult")) else { return };
    judge(addresses_from_json(&fields, version));
    let Some(result) = judge(from_json(&fields, version)) else { return };
    for ip in &result.ips {
        assert!(ip.interface.is_none_or(|index| index < result.interfaces.len()), "{result:?}");
    }
    entries(&PortMapConf::default(), &pod_addresses(&result, "eth0"));
    for version in Version::ALL {
        judge(to_json(&result, version));
    }
    // Nothing is lost in the newest form.
    let Some(newest) = judge(to_json(&result, Version::NEWEST)) else { return };
    let again = Fields::of(&newest, "prevResult").and_then(|fields| from_json(&fields, version));
    assert_eq!(again.as_ref(), Ok(&result));
}

fn gc(data: &[u8]) {
    let Some(conf) = judge(NetConf::parse(data)) else { return };
    let Some(Some(valid)) = judge(valid_attachments(&conf)) else { return };
    for owner in valid {
        assert!(!owner.container_id.is_empty());
        assert!(Tag::of(&conf.name, &owner).is_of(&conf.name, &owner));
    }
}

fn socket(data: &[u8]) {
    frames::<Request>(data);
    frames::<Reply>(data);
}

/// What one side takes, the other could have sent.
fn frames<T: Serialize + DeserializeOwned + PartialEq + Debug>(data: &[u8]) {
    if let Ok(message) = decode::<T>(data) {
        match encode(&message) {
            Ok(frame) => assert_eq!(read_frame::<T>(&mut frame.as_slice()).ok().as_ref(), Some(&message)),
            Err(error) => assert!(matches!(error, FrameError::TooLong { .. }), "{error}"),
        }
    }
    drop(read_frame::<T>(&mut &*data));
}

/// What routerd writes into a configuration, and what each plugin of the chain gets of it.
fn conflist(data: &[u8]) {
    let Some((choice, text)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let given = |bit: u8| choice & (1 << bit) != 0;
    let mtu = given(0).then_some(1400);
    let ranges = [(1, "10.1.0.0/24"), (2, "fd00::/64")].into_iter().filter(|(bit, _)| given(*bit));
    let ranges: Vec<prefix::Prefix> = ranges.filter_map(|(_, text)| text.parse().ok()).collect();
    let edited = match with_node(text, &ranges, mtu) {
        Ok(edited) => edited,
        Err(error) => {
            assert!(!error.to_string().contains(char::is_control), "{error:?}");
            return;
        }
    };
    assert!(!edited.bridge.is_empty());
    let new = edited.text.clone().unwrap_or_else(|| text.to_owned());
    // Written once, there is nothing more to write.
    assert_eq!(with_node(&new, &ranges, mtu), Ok(Edited { text: None, ..edited }), "{new}");
    // What it took it could read, and the text it wrote was just read again.
    let (Some(old), Some(new)) = (parsed(text), parsed(&new)) else { return };
    assert_eq!(others(&new), others(&old), "another key was touched");
    for plugin in chain(&new) {
        let ours = is_wired(&plugin) && !ranges.is_empty();
        let sets = plugin.pointer("/ipam/ranges").and_then(Value::as_array).map(Vec::len);
        assert!(!ours || sets == Some(ranges.len()), "{plugin}");
        stdin(plugin.to_string().as_bytes());
    }
}

fn parsed(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

/// The plugins as a runtime hands them over, with the list's name and version.
fn chain(list: &Value) -> Vec<Value> {
    let plugins = list.get("plugins").and_then(Value::as_array).cloned();
    let mut plugins = plugins.unwrap_or_else(|| vec![list.clone()]);
    for plugin in plugins.iter_mut().filter_map(Value::as_object_mut) {
        for key in ["name", "cniVersion"] {
            plugin.insert(key.into(), list.get(key).cloned().unwrap_or_default());
        }
    }
    plugins
}

/// A plugin of the kind that routerd writes into.
fn is_wired(plugin: &Value) -> bool {
    let text = |pointer| plugin.pointer(pointer).and_then(Value::as_str);
    matches!(text("/type"), Some("routerd-cni" | "bridge")) && text("/ipam/type") == Some("host-local")
}

/// The list without what routerd may write. A number that no integer holds is printed as near as can be.
fn others(list: &Value) -> Value {
    let mut list = list.clone();
    let alone = list.get("plugins").is_none();
    let plugins = if alone { Some(std::slice::from_mut(&mut list)) } else { members(&mut list) };
    for plugin in plugins.into_iter().flatten().filter(|plugin| is_wired(plugin)) {
        let Some(plugin) = plugin.as_object_mut() else { continue };
        for key in ["mtu", "routerd.autoMtu", "routerd.formerRanges"] {
            plugin.shift_remove(key);
        }
        if let Some(ipam) = plugin.get_mut("ipam").and_then(Value::as_object_mut) {
            for key in ["ranges", "subnet", "rangeStart", "rangeEnd", "gateway"] {
                ipam.shift_remove(key);
            }
        }
    }
    without_fractions(&mut list);
    list
}

fn members(list: &mut Value) -> Option<&mut [Value]> {
    list.get_mut("plugins").and_then(Value::as_array_mut).map(Vec::as_mut_slice)
}

fn without_fractions(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => *value = Value::Null,
        Value::Array(items) => items.iter_mut().for_each(without_fractions),
        Value::Object(object) => object.values_mut().for_each(without_fractions),
        _ => {}
    }
}
