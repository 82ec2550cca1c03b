//! Which networks are ours: those of the configuration that this daemon keeps.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use cni_plugin::NetConf;
use cni_plugin::ipam::{self, HostLocalConf, RangeSet};
use cni_plugin::tuning;
use prefix::Family;
use serde_json::Value;

use super::status::Pool;
use super::{free, inventory};

/// The types that wire pods.
const WIRING: [&str; 2] = ["routerd-cni", "bridge"];
/// The type that keeps files of pods' interfaces.
const TUNING: &str = "tuning";

/// A network, as far as it leaves things behind.
#[derive(Debug, Clone)]
pub(super) struct Network {
    /// Its name.
    pub(super) name: String,
    /// The folders of its leases.
    pub(super) leases: BTreeSet<PathBuf>,
    /// The bridges that its pods are on.
    pub(super) bridges: BTreeSet<String>,
    /// The folders of what `tuning` keeps of pods' interfaces.
    pub(super) kept: BTreeSet<PathBuf>,
    sets: Vec<(PathBuf, Vec<RangeSet>)>,
}

/// The networks of the configuration at `path`. None if there is no such file: nothing was ever installed.
pub(super) fn read(path: &Path) -> Result<Vec<Network>, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(format!("cannot read the network configuration {}: {error}", path.display()));
        }
    };
    parse(&bytes).map_err(|error| format!("the network configuration {}: {error}", path.display()))
}

/// The addresses that attachments of the networks of the configuration at `path` hold.
pub(crate) fn leased(path: &Path) -> Result<BTreeSet<IpAddr>, String> {
    let mut leased = BTreeSet::new();
    for network in read(path)? {
        for folder in &network.leases {
            let found = inventory::leases(&network.name, folder)
                .map_err(|error| format!("cannot read the leases in {}: {error}", folder.display()))?;
            leased.extend(found.iter().filter_map(|lease| Some(free::place(lease)?.0)));
        }
    }
    Ok(leased)
}

fn parse(bytes: &[u8]) -> Result<Vec<Network>, String> {
    let list: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let plugins = match list.get("plugins").and_then(Value::as_array) {
        Some(plugins) => plugins.clone(),
        None => vec![list.clone()],
    };
    let name = list.get("name").and_then(Value::as_str).unwrap_or_default();
    let mut network = Network {
        name: name.to_owned(),
        leases: BTreeSet::new(),
        bridges: BTreeSet::new(),
        kept: BTreeSet::new(),
        sets: Vec::new(),
    };
    for mut plugin in plugins {
        let Some(of) = plugin.get("type").and_then(Value::as_str).map(str::to_owned) else { continue };
        if !WIRING.contains(&of.as_str()) && of != TUNING {
            continue;
        }
        // As a runtime hands it to the plugin. The version of results does not matter here.
        plugin["name"] = name.into();
        plugin["cniVersion"] = "1.0.0".into();
        let conf = NetConf::parse(plugin.to_string().as_bytes()).map_err(|error| error.to_string())?;
        if of == TUNING {
            network.kept.insert(tuning::folder(&conf));
        } else {
            network.take(&conf, &of, &plugin);
        }
    }
    Ok(if network.bridges.is_empty() { Vec::new() } else { vec![network] })
}

impl Network {
    fn take(&mut self, conf: &NetConf, of: &str, plugin: &Value) {
        let default = if of == "bridge" { "cni0" } else { "kube-bridge" };
        let bridge = plugin.get("bridge").and_then(Value::as_str).filter(|name| !name.is_empty());
        self.bridges.insert(bridge.unwrap_or(default).to_owned());
        if plugin.pointer("/ipam/type").and_then(Value::as_str) == Some("host-local") {
            let folder = HostLocalConf::folder(conf);
            self.leases.insert(folder.clone());
            // Before the node has its ranges there are none to count.
            let sets = HostLocalConf::parse(conf).map(|conf| conf.sets).unwrap_or_default();
            self.sets.push((folder, sets));
        }
    }

    /// Its addresses, by family.
    pub(super) fn pools(&self) -> Vec<Pool> {
        let mut pools = Vec::new();
        for (folder, sets) in &self.sets {
            for family in Family::BOTH {
                let sets: Vec<RangeSet> = sets.iter().filter(|set| set.family() == family).cloned().collect();
                if sets.is_empty() {
                    continue;
                }
                // A folder that cannot be read is told by the look for leases.
                let Ok(usage) = ipam::usage(folder, &sets) else { continue };
                let number = |value: u128| i64::try_from(value).unwrap_or(i64::MAX).unsigned_abs();
                let family = if family == Family::V4 { "IPv4" } else { "IPv6" };
                let (free, used) = (number(usage.free()), number(usage.used));
                pools.push(Pool { network: self.name.clone(), family, free, used });
            }
        }
        pools
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_networks_folders_bridges_and_pools_are_those_of_the_plugins_that_wire_pods() {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            r#"{{"cniVersion":"9.9.9","name":"mynet","plugins":[
                {{"type":"routerd-cni","ipam":{{"type":"host-local","dataDir":"{}",
                  "ranges":[[{{"subnet":"10.1.0.0/29"}}],[{{"subnet":"fd00::/64"}}]]}}}},
                {{"type":"portmap"}}, {{"type":"tuning"}}]}}"#,
            folder.path().display()
        );
        fs::create_dir(folder.path().join("mynet")).unwrap();
        fs::write(folder.path().join("mynet/10.1.0.2"), "c1\r\neth0").unwrap();
        let networks = parse(text.as_bytes()).unwrap();
        let [network] = networks.as_slice() else { panic!("{networks:?}") };
        assert_eq!(
            (network.name.as_str(), network.bridges.first().unwrap().as_str()),
            ("mynet", "kube-bridge")
        );
        assert_eq!(network.leases, BTreeSet::from([folder.path().join("mynet")]));
        assert_eq!(network.kept, BTreeSet::from(["/run/cni/tuning".into()]));
        let pools = network.pools();
        assert_eq!((pools[0].free, pools[0].used, pools[0].family), (4, 1, "IPv4"));
        assert_eq!((pools[1].free, pools[1].family), (i64::MAX.unsigned_abs(), "IPv6"));
    }

    #[test]
    fn a_configuration_of_others_has_no_networks_of_ours_and_nonsense_is_said() {
        assert!(parse(br#"{"name":"n","plugins":[{"type":"flannel"}]}"#).unwrap().is_empty());
        assert!(parse(b"{").is_err() && parse(br#"{"plugins":[{"type":"bridge"}]}"#).is_err());
        assert!(read(Path::new("/nonexistent/x")).unwrap().is_empty());
    }
}
