//! `CNI_ARGS`: what a runtime says of the pod besides the configuration, as `K=V;K2=V2`.

use std::net::IpAddr;

use crate::address::{Cidr, Mac, why_unusable};
use crate::error::{CniError, Code};

/// What `CNI_ARGS` says. Keys match exactly, as in the reference plugins.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Args {
    /// `IP`: a requested address; a prefix length in it is ignored.
    pub ip: Option<IpAddr>,
    /// `MAC`: the interface's link address.
    pub mac: Option<Mac>,
    /// `K8S_POD_NAMESPACE`, `K8S_POD_NAME`, `K8S_POD_UID`, `K8S_POD_INFRA_CONTAINER_ID`.
    pub pod: PodIdentity,
}

/// The pod an attachment belongs to, as a Kubernetes runtime names it. Empty texts outside Kubernetes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodIdentity {
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// The pod object's uid.
    pub uid: String,
    /// The sandbox's id, which is also `CNI_CONTAINERID`.
    pub infra_container_id: String,
}

/// How keys that are none of ours are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownKeys {
    /// As the reference plugins do: an error unless `IgnoreUnknown` is set, wherever it stands.
    Refuse,
    /// As [`Self::Refuse`], but the keys of Kubernetes are known: the role `routerd-cni` reads them.
    RefuseButPod,
    /// Ignored. DEL does so: refusing there would only leak what ADD made.
    Ignore,
}

impl Args {
    /// Reads `text`. The order of pairs does not matter, because Kubernetes runtimes send them in random order.
    pub fn parse(text: &str, unknown: UnknownKeys) -> Result<Self, CniError> {
        let mut args = Args::default();
        let mut strangers = Vec::new();
        let mut ignore = unknown == UnknownKeys::Ignore;
        for pair in text.split(';').filter(|_| !text.is_empty()) {
            let Some((key, value)) = pair.split_once('=').filter(|(_, value)| !value.contains('=')) else {
                if unknown == UnknownKeys::Ignore {
                    continue;
                }
                return Err(error(format!("ARGS: invalid pair {pair:?}")));
            };
            match key {
                "IgnoreUnknown" => ignore |= parse_bool(value)?,
                "IP" => args.ip = parse_ip(value)?,
                "MAC" => args.mac = parse_mac(value)?,
                "K8S_POD_NAMESPACE" => value.clone_into(&mut args.pod.namespace),
                "K8S_POD_NAME" => value.clone_into(&mut args.pod.name),
                "K8S_POD_UID" => value.clone_into(&mut args.pod.uid),
                "K8S_POD_INFRA_CONTAINER_ID" => value.clone_into(&mut args.pod.infra_container_id),
                _ => strangers.push(pair),
            }
            if key.starts_with("K8S_POD_") && unknown == UnknownKeys::Refuse {
                strangers.push(pair);
            }
        }
        if ignore || strangers.is_empty() {
            return Ok(args);
        }
        strangers.dedup();
        Err(error(format!("ARGS: unknown args {strangers:?}"))
            .with_details("add IgnoreUnknown=1 to CNI_ARGS to allow them"))
    }
}

fn error(msg: String) -> CniError {
    CniError::new(Code::ENVIRONMENT, msg)
}

fn parse_bool(value: &str) -> Result<bool, CniError> {
    match value.to_ascii_lowercase().as_str() {
        "1" | "true" => Ok(true),
        "0" | "false" => Ok(false),
        _ => Err(error(format!("ARGS: IgnoreUnknown={value} is neither true nor false"))),
    }
}

fn parse_ip(value: &str) -> Result<Option<IpAddr>, CniError> {
    if value.is_empty() {
        return Ok(None);
    }
    parse_requested_ip(value).map(Some).ok_or_else(|| error(format!("ARGS: IP={value} is no address")))
}

/// A requested address, with or without a prefix length; IPv4 also as `::ffff:10.1.2.3`, as Go reads it.
pub fn parse_requested_ip(value: &str) -> Option<IpAddr> {
    let value = value.trim();
    let address = value.parse::<Cidr>().map(|cidr| cidr.address).ok().or_else(|| value.parse().ok());
    address.map(|address| address.to_canonical())
}

fn parse_mac(value: &str) -> Result<Option<Mac>, CniError> {
    if value.is_empty() {
        return Ok(None);
    }
    let mac = value.parse().map_err(|reason| error(format!("ARGS: MAC: {reason}")))?;
    why_unusable(mac).map_or(Ok(Some(mac)), |reason| Err(error(format!("ARGS: MAC: {reason}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBERNETES: &str = "K8S_POD_UID=u1;K8S_POD_NAME=web-0;K8S_POD_NAMESPACE=shop;\
        K8S_POD_INFRA_CONTAINER_ID=c1;IgnoreUnknown=1";

    #[test]
    fn a_runtimes_pairs_are_read_in_any_order() {
        let args = Args::parse(KUBERNETES, UnknownKeys::Refuse).unwrap();
        assert_eq!((args.pod.namespace.as_str(), args.pod.name.as_str()), ("shop", "web-0"));
        assert_eq!((args.pod.uid.as_str(), args.pod.infra_container_id.as_str()), ("u1", "c1"));
    }

    #[test]
    fn unknown_keys_need_ignore_unknown_wherever_it_stands() {
        let error = Args::parse("K8S_POD_NAME=x", UnknownKeys::Refuse).unwrap_err();
        assert_eq!(error.code, Code::ENVIRONMENT);
        assert_eq!(error.msg, "ARGS: unknown args [\"K8S_POD_NAME=x\"]");
        assert!(Args::parse("FOO=x;IgnoreUnknown=true", UnknownKeys::Refuse).is_ok());
        assert!(Args::parse("IgnoreUnknown=1;FOO=x", UnknownKeys::Refuse).is_ok());
        assert!(Args::parse("FOO=x;broken", UnknownKeys::Ignore).is_ok());
    }

    #[test]
    fn a_broken_pair_is_named() {
        for text in ["IP", "IP=1=2", ";", "IgnoreUnknown=1;"] {
            let error = Args::parse(text, UnknownKeys::Refuse).unwrap_err();
            assert!(error.msg.starts_with("ARGS: invalid pair"), "{text}: {error}");
        }
        assert!(Args::parse("", UnknownKeys::Refuse).is_ok());
    }

    #[test]
    fn address_and_mac_are_read_and_nonsense_is_refused() {
        let args = Args::parse("IP=10.1.2.7/24;MAC=c2:11:22:33:44:55", UnknownKeys::Refuse).unwrap();
        assert_eq!(args.ip, Some("10.1.2.7".parse().unwrap()));
        assert_eq!(args.mac.unwrap().to_string(), "c2:11:22:33:44:55");
        let mapped = Args::parse("IP=::ffff:10.1.2.7", UnknownKeys::Refuse).unwrap();
        assert_eq!(mapped.ip, args.ip);
        assert!(Args::parse("IP=x", UnknownKeys::Refuse).is_err());
        for mac in ["x", "01:00:5e:00:00:01", "00:00:00:00:00:00"] {
            let error = Args::parse(&format!("MAC={mac}"), UnknownKeys::Refuse).unwrap_err();
            assert!(error.msg.contains("MAC"), "{error}");
        }
    }
}
