//! The keys of the role `bridge` (reference plugin, v1.9.1), which `routerd-cni` shares.

use super::NetConf;
use crate::address::Mac;
use crate::args::Args;
use crate::convert::dns_from;
use crate::env::is_not_for_names;
use crate::error::CniError;
use crate::json::Fields;
use crate::result::Dns;

/// How the pod is wired to the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeConf {
    /// `bridge`: the bridge's name, at most 15 bytes.
    pub bridge: String,
    /// `isGateway`: the bridge gets the gateway's address. Implied by `isDefaultGateway`.
    pub is_gateway: bool,
    /// `isDefaultGateway`: the pod gets a default route through the gateway.
    pub is_default_gateway: bool,
    /// `forceAddress`: a conflicting address on the bridge is replaced.
    pub force_address: bool,
    /// Not a key: an IPv4 gateway of another network on the bridge is no conflict. The reference plugin takes it for one;
    /// a node of ours may have got other pod ranges while pods of the old ones go on.
    pub beside_others: bool,
    /// `ipMasq`: traffic that leaves the pod's subnet is masqueraded.
    pub ip_masq: bool,
    /// `ipMasqBackend`; `None` if not given.
    pub ip_masq_backend: Option<MasqueradeBackend>,
    /// `mtu` in bytes of bridge (when made) and veth; `None` leaves the kernel's default.
    pub mtu: Option<u32>,
    /// `hairpinMode` of the bridge port.
    pub hairpin_mode: bool,
    /// `promiscMode` of the bridge. Never together with `hairpinMode`.
    pub promisc_mode: bool,
    /// `vlan`: port VLAN, 0 for none, at most 4094.
    pub vlan: u16,
    /// `vlanTrunk`: tagged VLANs of the port.
    pub vlan_trunk: Vec<VlanRange>,
    /// `preserveDefaultVlan`: VLAN 1 stays on a port that has others.
    pub preserve_default_vlan: bool,
    /// `macspoofchk`: frames with a foreign source address are dropped.
    pub mac_spoof_check: bool,
    /// `enabledad`: the pod's IPv6 addresses wait for duplicate address detection.
    pub enable_dad: bool,
    /// `disableContainerInterface`: the pod's end stays down. Never together with IPAM.
    pub disable_container_interface: bool,
    /// `portIsolation` of the bridge port.
    pub port_isolation: bool,
    /// The pod interface's link address, if one was asked for.
    pub mac: Option<Mac>,
    /// `dns`: replaces what IPAM says if anything is set.
    pub dns: Dns,
}

/// Which of the reference plugin's masquerade layouts `ipMasqBackend` names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MasqueradeBackend {
    /// `iptables`.
    Iptables,
    /// `nftables`.
    Nftables,
}

/// Both ends of a range of VLAN ids, inclusive, 1 to 4094; equal for a single id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VlanRange {
    /// The first id.
    pub first: u16,
    /// The last id.
    pub last: u16,
}

impl BridgeConf {
    /// Reads the keys. `default_bridge` is the name when `bridge` is not given: `cni0` in the reference plugin.
    pub fn parse(conf: &NetConf, args: &Args, default_bridge: &str) -> Result<Self, CniError> {
        let fields = conf.fields();
        let bridge = Self {
            bridge: bridge_name(&fields, default_bridge)?,
            is_gateway: fields.flag("isGateway")? || fields.flag("isDefaultGateway")?,
            is_default_gateway: fields.flag("isDefaultGateway")?,
            force_address: fields.flag("forceAddress")?,
            beside_others: false,
            ip_masq: fields.flag("ipMasq")?,
            ip_masq_backend: masquerade_backend(&fields)?,
            mtu: mtu(&fields)?,
            hairpin_mode: fields.flag("hairpinMode")?,
            promisc_mode: fields.flag("promiscMode")?,
            vlan: vlan_id(&fields, "vlan", 0)?.unwrap_or(0),
            vlan_trunk: fields.objects("vlanTrunk")?.iter().map(vlan_range).collect::<Result<_, _>>()?,
            preserve_default_vlan: fields.flag("preserveDefaultVlan")?,
            mac_spoof_check: fields.flag("macspoofchk")?,
            enable_dad: fields.flag("enabledad")?,
            disable_container_interface: fields.flag("disableContainerInterface")?,
            port_isolation: fields.flag("portIsolation")?,
            mac: conf.requested_mac(args)?,
            dns: fields.object("dns")?.map(|dns| dns_from(&dns)).transpose()?.unwrap_or_default(),
        };
        bridge.validate(conf)?;
        Ok(bridge)
    }

    fn validate(&self, conf: &NetConf) -> Result<(), CniError> {
        if self.hairpin_mode && self.promisc_mode {
            return Err(CniError::config("cannot set hairpin mode and promiscuous mode at the same time")
                .with_details("set only one of hairpinMode and promiscMode"));
        }
        if self.disable_container_interface && has_ipam(conf)? {
            return Err(CniError::config("cannot use IPAM when DisableContainerInterface flag is set")
                .with_details("remove disableContainerInterface or ipam"));
        }
        let gateway = format!("{}.{}", self.bridge, self.vlan);
        if self.vlan != 0 && self.is_gateway && gateway.len() > 15 {
            return Err(CniError::config(format!(
                "bridge: {:?} is too long for a gateway in vlan {}",
                self.bridge, self.vlan
            ))
            .with_details(format!("its device would be called {gateway}, and a name has at most 15 bytes")));
        }
        Ok(())
    }
}

/// 0 is as if it were not there.
fn mtu(fields: &Fields<'_>) -> Result<Option<u32>, CniError> {
    match fields.number("mtu", 65535)? {
        // `ETH_MIN_MTU`, RFC 791.
        Some(mtu) if (1..68).contains(&mtu) => {
            Err(CniError::config(format!("mtu must be 0 (as the kernel likes) or 68 to 65535, but is {mtu}")))
        }
        mtu => Ok(mtu.filter(|mtu| *mtu != 0)),
    }
}

fn has_ipam(conf: &NetConf) -> Result<bool, CniError> {
    match conf.fields().object("ipam")? {
        Some(ipam) => Ok(!ipam.text_or_empty("type")?.is_empty()),
        None => Ok(false),
    }
}

fn bridge_name(fields: &Fields<'_>, default: &str) -> Result<String, CniError> {
    let name = match fields.text_or_empty("bridge")? {
        "" => default,
        name => name,
    };
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || is_not_for_names(c);
    if name.len() > 15 || name == "." || name == ".." || name.contains(bad) {
        return Err(CniError::config(format!(
            "bridge: {name:?} is no interface name (at most 15 bytes, no `/`, `:`, `%`, white space or control characters)"
        )));
    }
    Ok(name.to_owned())
}

fn masquerade_backend(fields: &Fields<'_>) -> Result<Option<MasqueradeBackend>, CniError> {
    match fields.text_or_empty("ipMasqBackend")? {
        "" => Ok(None),
        "iptables" => Ok(Some(MasqueradeBackend::Iptables)),
        "nftables" => Ok(Some(MasqueradeBackend::Nftables)),
        other => Err(CniError::config(format!(
            "ipMasqBackend: unrecognized backend {other:?} (known are iptables and nftables)"
        ))),
    }
}

fn vlan_id(fields: &Fields<'_>, key: &str, least: u32) -> Result<Option<u16>, CniError> {
    let Some(number) = fields.number(key, u32::MAX)? else { return Ok(None) };
    let id = u16::try_from(number).ok().filter(|id| (least..=4094).contains(&u32::from(*id)));
    let error = || {
        let place = fields.path_of(key);
        CniError::config(format!("invalid VLAN ID {number} (must be between {least} and 4094): {place}"))
    };
    id.map(Some).ok_or_else(error)
}

fn vlan_range(fields: &Fields<'_>) -> Result<VlanRange, CniError> {
    let (id, first, last) =
        (vlan_id(fields, "id", 1)?, vlan_id(fields, "minID", 1)?, vlan_id(fields, "maxID", 1)?);
    match (id, first, last) {
        (Some(id), None, None) => Ok(VlanRange { first: id, last: id }),
        (None, Some(first), Some(last)) if first <= last => Ok(VlanRange { first, last }),
        _ => Err(CniError::config(format!(
            "{} needs either id, or minID and maxID with minID not above maxID",
            fields.path_of("").trim_end_matches('.')
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<BridgeConf, CniError> {
        let text = format!(r#"{{"name":"n","cniVersion":"1.0.0",{body}}}"#);
        BridgeConf::parse(&NetConf::parse(text.as_bytes()).unwrap(), &Args::default(), "cni0")
    }

    #[test]
    fn defaults_are_those_of_the_reference() {
        let bridge = parse(r#""mtu":0"#).unwrap();
        assert_eq!((bridge.bridge.as_str(), bridge.mtu, bridge.vlan), ("cni0", None, 0));
        assert!(!bridge.is_gateway && !bridge.hairpin_mode && bridge.vlan_trunk.is_empty());
    }

    #[test]
    fn a_default_gateway_is_a_gateway() {
        let bridge = parse(r#""isDefaultGateway":true,"Bridge":"kube-bridge","HairpinMode":true"#).unwrap();
        assert!(bridge.is_gateway && bridge.is_default_gateway && bridge.hairpin_mode);
        assert_eq!(bridge.bridge, "kube-bridge");
    }

    #[test]
    fn what_the_kernel_would_refuse_is_refused_with_its_key() {
        for (body, key) in [
            (r#""mtu":67"#, "mtu"),
            (r#""mtu":-1"#, "mtu"),
            (r#""bridge":"kube-bridge","vlan":4094,"isGateway":true"#, "vlan 4094"),
            (r#""args":{"cni":{"mac":"01:00:5e:00:00:01"}}"#, "args.cni.mac"),
            (r#""runtimeConfig":{"mac":"00:00:00:00:00:00"}"#, "runtimeConfig.mac"),
        ] {
            let error = parse(body).unwrap_err();
            assert!(error.msg.contains(key), "{body}: {error}");
        }
        assert!(parse(r#""bridge":"kube-bridge","vlan":100,"isGateway":true,"mtu":68"#).is_ok());
    }

    #[test]
    fn keys_that_exclude_each_other_are_refused() {
        let error = parse(r#""hairpinMode":true,"promiscMode":true"#).unwrap_err();
        assert!(error.msg.contains("hairpin mode and promiscuous mode"));
        let error = parse(r#""disableContainerInterface":true,"ipam":{"type":"host-local"}"#).unwrap_err();
        assert!(error.msg.contains("cannot use IPAM"));
    }

    #[test]
    fn vlan_trunks_are_checked() {
        for bad in [
            r#"{"minID":1}"#,
            r#"{"maxID":1}"#,
            r#"{"id":0}"#,
            r#"{"id":4095}"#,
            r#"{"minID":5,"maxID":4}"#,
            r#"{"minID":0,"maxID":4}"#,
            r#"{"minID":1,"maxID":4095}"#,
            r#"{"id":5,"minID":1,"maxID":2}"#,
            "{}",
            "7",
        ] {
            assert!(parse(&format!(r#""vlanTrunk":[{bad}]"#)).is_err(), "{bad}");
        }
        let trunk = parse(r#""vlanTrunk":[{"id":7},{"minID":10,"maxID":12}]"#).unwrap().vlan_trunk;
        assert_eq!(trunk, [VlanRange { first: 7, last: 7 }, VlanRange { first: 10, last: 12 }]);
        assert!(parse(r#""vlan":4095"#).is_err() && parse(r#""vlanTrunk":[]"#).is_ok());
    }

    #[test]
    fn an_interface_name_that_the_kernel_would_refuse_is_refused_here() {
        // Of `br%d` the kernel would make br0.
        for name in ["a234567890123456", "a/b", "..", "a b", "br%d"] {
            assert!(parse(&format!(r#""bridge":"{name}""#)).is_err(), "{name}");
        }
    }
}
