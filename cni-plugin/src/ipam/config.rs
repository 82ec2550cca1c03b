//! The key `ipam` of the role `host-local`.

use std::path::PathBuf;

use prefix::Family;

use super::range::{Range, RangeSet};
use crate::config::NetConf;
use crate::convert::route_from;
use crate::error::CniError;
use crate::json::Fields;
use crate::result::Route;
use crate::version::Version;
use serde_json::Value;

/// Where leases lie unless `ipam.dataDir` says otherwise.
pub const DEFAULT_DATA_DIR: &str = "/var/lib/cni/networks";

/// What addresses may be handed out, and what is told with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLocalConf {
    /// The pools; a pod gets one address of each.
    pub sets: Vec<RangeSet>,
    /// Routes for the pod.
    pub routes: Vec<Route>,
    /// A file with name service settings.
    pub resolv_conf: Option<PathBuf>,
    /// `ipam.statusChecksAddresses`: STATUS fails when a pool has no free address. Off by default, because runtimes
    /// take any error of STATUS as "the node is not ready", and its running pods would be evicted for that.
    pub status_checks_addresses: bool,
}

impl HostLocalConf {
    /// Reads `ipam` and `runtimeConfig.ipRanges`, whose pools come first.
    pub fn parse(conf: &NetConf) -> Result<Self, CniError> {
        let ipam = conf
            .fields()
            .object("ipam")?
            .ok_or_else(|| CniError::config("IPAM config missing 'ipam' key"))?;
        // `folder` bears a wrong one, so that a release works; to reserve in another place would be no service.
        ipam.path("dataDir")?;
        let mut sets = match conf.runtime()? {
            Some(runtime) => range_sets(&runtime, "ipRanges")?,
            None => Vec::new(),
        };
        if ipam.parsed::<crate::Cidr>("subnet")?.is_some() {
            sets.push(RangeSet::new(vec![Range::parse(&ipam)?])?);
        } else {
            // Without `subnet` they mean nothing, but nonsense is told.
            for key in ["rangeStart", "rangeEnd", "gateway"] {
                ipam.parsed::<std::net::IpAddr>(key)?;
            }
        }
        sets.extend(range_sets(&ipam, "ranges")?);
        validate(&sets, conf.version)?;
        Ok(Self {
            sets,
            routes: ipam.objects("routes")?.iter().map(route_from).collect::<Result<_, _>>()?,
            resolv_conf: ipam.path("resolvConf")?,
            status_checks_addresses: ipam.flag("statusChecksAddresses")?,
        })
    }

    /// True if the configuration says anything of ranges, right or wrong.
    pub fn has_ranges(conf: &NetConf) -> Result<bool, CniError> {
        let runtime = match conf.runtime()? {
            Some(runtime) => !runtime.list("ipRanges")?.is_empty(),
            None => false,
        };
        let Some(ipam) = conf.fields().object("ipam")? else { return Ok(runtime) };
        Ok(runtime || !ipam.list("ranges")?.is_empty() || !ipam.text_or_empty("subnet")?.is_empty())
    }

    /// The folder of the network's leases. It is read apart from the rest, because a release must work when the rest
    /// cannot be read.
    pub fn folder(conf: &NetConf) -> PathBuf {
        let data_dir = conf.fields().object("ipam").ok().flatten().and_then(|ipam| {
            let path = ipam.text("dataDir").ok().flatten()?;
            Some(path.to_owned()).filter(|path| !path.is_empty())
        });
        PathBuf::from(data_dir.as_deref().unwrap_or(DEFAULT_DATA_DIR)).join(&conf.name)
    }
}

/// Reads a list of pools. containerd sends a flat list of ranges where the convention has a list of lists; each of
/// its ranges is a pool then, as a dual-stack list means it.
fn range_sets(fields: &Fields<'_>, key: &str) -> Result<Vec<RangeSet>, CniError> {
    let mut sets = Vec::new();
    for (index, value) in fields.list(key)?.iter().enumerate() {
        let path = format!("{}[{index}]", fields.path_of(key));
        let ranges = match value {
            Value::Array(ranges) => {
                let range = |(inner, value)| Range::parse(&Fields::of(value, format!("{path}[{inner}]"))?);
                ranges.iter().enumerate().map(range).collect::<Result<Vec<Range>, CniError>>()?
            }
            flat => vec![Range::parse(&Fields::of(flat, &path)?)?],
        };
        sets.push(RangeSet::new(ranges).map_err(|error| error.context(path))?);
    }
    Ok(sets)
}

fn validate(sets: &[RangeSet], version: Version) -> Result<(), CniError> {
    if sets.is_empty() {
        return Err(CniError::config("no IP ranges specified").with_details("set ipam.ranges or ipam.subnet"));
    }
    for (index, set) in sets.iter().enumerate() {
        if let Some(other) = sets[index + 1..].iter().position(|other| set.overlaps(other)) {
            let other = index + 1 + other;
            return Err(CniError::config(format!("ipam.ranges: range set {index} overlaps with {other}"))
                .with_details("counted from 0, those of runtimeConfig.ipRanges first, then ipam.subnet"));
        }
    }
    for family in Family::BOTH {
        let count = sets.iter().filter(|set| set.family() == family).count();
        if version.has_legacy_result() && count > 1 {
            return Err(CniError::config(format!(
                "CNI version {version} does not support more than 1 address per family"
            ))
            .with_details("use cniVersion 0.3.0 or newer, or fewer sets in ipam.ranges"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(version: &str, body: &str) -> Result<HostLocalConf, CniError> {
        let text = format!(r#"{{"name":"n","cniVersion":"{version}",{body}}}"#);
        HostLocalConf::parse(&NetConf::parse(text.as_bytes()).unwrap())
    }

    fn sets(conf: &HostLocalConf) -> Vec<String> {
        conf.sets.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_old_subnet_is_a_set_and_what_the_runtime_says_comes_first() {
        let conf = parse(
            "1.0.0",
            r#""ipam":{"subnet":"10.1.0.0/30","ranges":[[{"subnet":"10.2.0.0/30"},{"subnet":"10.3.0.0/30"}]]},
               "runtimeConfig":{"ipRanges":[[{"subnet":"10.4.0.0/30"}]]}"#,
        );
        assert_eq!(
            sets(&conf.unwrap()),
            ["10.4.0.1-10.4.0.2", "10.1.0.1-10.1.0.2", "10.2.0.1-10.2.0.2,10.3.0.1-10.3.0.2"]
        );
    }

    #[test]
    fn containerds_flat_go_cased_ranges_are_one_set_each() {
        let conf = parse(
            "1.0.0",
            r#""ipam":{},"runtimeConfig":{"ipRanges":[{"Subnet":"10.4.0.0/30","RangeStart":"","Gateway":""},{"Subnet":"fd00::/64"}]}"#,
        );
        assert_eq!(sets(&conf.unwrap()).len(), 2);
    }

    #[test]
    fn wrong_sets_are_refused_with_the_texts_people_know() {
        for (body, text) in [
            (r#""x":1"#, "IPAM config missing 'ipam' key"),
            (r#""ipam":{"type":"host-local"}"#, "no IP ranges specified"),
            (r#""ipam":{"ranges":[]}"#, "no IP ranges specified"),
            (r#""ipam":{"ranges":[[]]}"#, "empty range set"),
            (
                r#""ipam":{"ranges":[[{"subnet":"10.1.0.0/24"}],[{"subnet":"10.1.0.0/25"}]]}"#,
                "range set 0 overlaps with 1",
            ),
            (r#""ipam":{"ranges":{"subnet":"10.1.0.0/24"}}"#, "ipam.ranges must be a list"),
            (r#""ipam":{"ranges":[["x"]]}"#, "ipam.ranges[0][0] must be an object"),
            (
                r#""ipam":{"subnet":"10.1.0.0/24","routes":[{"gw":"10.1.0.1"}]}"#,
                "ipam.routes[0].dst is missing",
            ),
        ] {
            let error = parse("1.0.0", body).unwrap_err();
            assert!(error.msg.contains(text), "{body}: {error}");
        }
    }

    #[test]
    fn old_versions_know_one_address_of_each_family() {
        let two = r#""ipam":{"ranges":[[{"subnet":"10.1.0.0/24"}],[{"subnet":"10.2.0.0/24"}]]}"#;
        assert!(parse("0.2.0", two).unwrap_err().msg.contains("more than 1 address per family"));
        assert!(parse("0.3.0", two).is_ok());
    }
}
