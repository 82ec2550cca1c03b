//! The keys of the role `portmap` (reference plugin, v1.9.1).

use std::net::{IpAddr, Ipv6Addr};

use crate::config::NetConf;
use crate::error::{CniError, Code};
use crate::json::Fields;
use crate::netfilter::Transport;

/// `runtimeConfig.portMappings` and the options beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PortMapConf {
    /// The mappings, in order, each key of the node once.
    pub mappings: Vec<Mapping>,
    /// Who is masqueraded: `snat` and `masqAll`.
    pub source: Source,
}

/// Whose source address is hidden from the pod.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Source {
    /// That of those who would get no answer otherwise: the pod itself, its subnet, the node's loopback addresses.
    #[default]
    Near,
    /// Everybody's (`masqAll`).
    All,
    /// Nobody's (`snat: false`).
    None,
}

/// One mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mapping {
    /// `hostPort`, 1 to 65535.
    pub host_port: u16,
    /// `containerPort`, 1 to 65535.
    pub container_port: u16,
    /// `protocol`.
    pub transport: Transport,
    /// `hostIP`; `None` if empty. `0.0.0.0` and `::` mean any address of their family.
    pub host_ip: Option<IpAddr>,
}

impl PortMapConf {
    /// Reads the keys. Every mapping is checked before anything is made of one.
    pub fn parse(conf: &NetConf) -> Result<Self, CniError> {
        let fields = conf.fields();
        check_backend(&fields)?;
        refuse_program_text(&fields)?;
        let snat = if fields.get("snat").is_some() { fields.flag("snat")? } else { true };
        let source = match (snat, fields.flag("masqAll")?) {
            (false, _) => Source::None,
            (true, true) => Source::All,
            (true, false) => Source::Near,
        };
        let mut mappings: Vec<Mapping> = Vec::new();
        let listed = conf.runtime()?.map(|runtime| runtime.objects("portMappings")).transpose()?;
        for entry in listed.unwrap_or_default() {
            let mapping = Mapping::parse(&entry)?;
            if mappings.iter().any(|earlier| earlier.contradicts(&mapping)) {
                return Err(twice(&entry, &mapping));
            }
            if !mappings.contains(&mapping) {
                mappings.push(mapping);
            }
        }
        Ok(Self { mappings, source })
    }
}

fn twice(entry: &Fields<'_>, mapping: &Mapping) -> CniError {
    let Mapping { host_port, transport, .. } = mapping;
    let place = entry.path_of("hostPort");
    CniError::config(format!(
        "{place}: {transport} port {host_port} is mapped to another containerPort before"
    ))
    .with_details("a port of the node leads to one port of the pod")
}

/// All rules are our own nf_tables ones, whatever is asked for; but what cannot be meant is an error.
fn check_backend(fields: &Fields<'_>) -> Result<(), CniError> {
    match fields.text_or_empty("backend")? {
        "" | "iptables" | "nftables" => Ok(()),
        other => Err(CniError::config(format!("backend: unrecognized backend {other:?}"))
            .with_details("known are iptables and nftables; both give the same rules here")),
    }
}

/// Keys whose values are pieces of another program's rules. To leave a condition out would open more than was meant.
fn refuse_program_text(fields: &Fields<'_>) -> Result<(), CniError> {
    let external = fields.text_or_empty("externalSetMarkChain")?;
    if fields.get("markMasqBit").is_some() {
        fields.number("markMasqBit", 31)?;
        if !external.is_empty() {
            return Err(CniError::config("Cannot specify externalSetMarkChain and markMasqBit"));
        }
    }
    let mut asked = (!external.is_empty()).then(|| ("externalSetMarkChain", format!("{external:?}")));
    for key in ["conditionsV4", "conditionsV6"] {
        let conditions = fields.texts(key)?;
        if !conditions.is_empty() {
            asked = asked.or(Some((key, format!("{conditions:?}"))));
        }
    }
    let Some((key, value)) = asked else { return Ok(()) };
    Err(CniError::new(Code::UNSUPPORTED, format!("{key} is not supported: {value} is iptables or nft text"))
        .with_details(format!(
            "take {key} out of the network configuration, or use the reference portmap plugin"
        )))
}

impl Mapping {
    fn parse(fields: &Fields<'_>) -> Result<Self, CniError> {
        Ok(Self {
            host_port: port(fields, "hostPort", "host")?,
            container_port: port(fields, "containerPort", "container")?,
            transport: transport(fields)?,
            host_ip: host_ip(fields)?,
        })
    }

    /// True if a packet could be meant by both, and they lead it to different places. An address of the node goes before
    /// "any address", so these two stand side by side.
    fn contradicts(&self, other: &Self) -> bool {
        let same_port = (self.host_port, self.transport) == (other.host_port, other.transport);
        let any = |one: &Self| one.host_ip.is_none_or(|ip| ip.is_unspecified());
        let both_families = self.host_ip.is_none() || other.host_ip.is_none();
        let overlap = self.host_ip == other.host_ip || (both_families && any(self) && any(other));
        same_port && overlap && self.container_port != other.container_port
    }
}

fn host_ip(fields: &Fields<'_>) -> Result<Option<IpAddr>, CniError> {
    let address = fields.parsed::<IpAddr>("hostIP")?.map(|address| address.to_canonical());
    if address == Some(Ipv6Addr::LOCALHOST.into()) {
        let msg = format!("{}: ::1 cannot lead to a pod", fields.path_of("hostIP"));
        return Err(CniError::new(Code::UNSUPPORTED, msg).with_details(
            "the kernel delivers no answer to ::1 from a device; use 127.0.0.1 or an address of the node",
        ));
    }
    Ok(address)
}

fn port(fields: &Fields<'_>, key: &str, whose: &str) -> Result<u16, CniError> {
    let place = fields.path_of(key);
    let wrong = |number: u32| {
        CniError::config(format!("{place}: Invalid {whose} port number: {number}"))
            .with_details("a port is a number from 1 to 65535")
    };
    let number = fields.number(key, u32::MAX)?.unwrap_or(0);
    u16::try_from(number).ok().filter(|port| *port != 0).ok_or_else(|| wrong(number))
}

fn transport(fields: &Fields<'_>) -> Result<Transport, CniError> {
    let text = fields.text_or_empty("protocol")?;
    let known = Transport::ALL.into_iter().find(|known| known.to_string() == text.to_ascii_lowercase());
    known.ok_or_else(|| {
        let place = fields.path_of("protocol");
        CniError::config(format!("{place}: unknown protocol {text:?}"))
            .with_details("known are tcp, udp and sctp")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(body: &str) -> Result<PortMapConf, CniError> {
        PortMapConf::parse(&NetConf::parse(format!(r#"{{"name":"n"{body}}}"#).as_bytes()).unwrap())
    }

    fn mappings(list: &str) -> Result<PortMapConf, CniError> {
        parse(&format!(r#","runtimeConfig":{{"portMappings":[{list}]}}"#))
    }

    #[test]
    fn containerd_and_the_specification_write_the_same_mapping() {
        let ours = mappings(r#"{"hostPort":8080,"containerPort":80,"protocol":"tcp"}"#).unwrap();
        let theirs = parse(
            r#","RuntimeConfig":{"PortMappings":[{"HostPort":8080,"ContainerPort":80,"Protocol":"TCP","HostIP":""}]}"#,
        );
        assert_eq!(theirs.unwrap(), ours);
        assert_eq!(ours.mappings[0].host_ip, None);
        let mapped =
            mappings(r#"{"hostPort":1,"containerPort":1,"protocol":"sctp","hostIP":"::ffff:192.0.2.1"}"#)
                .unwrap();
        assert_eq!(mapped.mappings[0].host_ip, Some("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn what_cannot_be_a_port_or_protocol_is_named_with_its_place() {
        for (entry, words) in [
            (r#""hostPort":0,"containerPort":80,"protocol":"tcp""#, "Invalid host port number: 0"),
            (r#""hostPort":80,"protocol":"tcp""#, "Invalid container port number: 0"),
            (r#""hostPort":65536,"containerPort":80,"protocol":"tcp""#, "Invalid host port number: 65536"),
            (r#""hostPort":80,"containerPort":-1,"protocol":"tcp""#, "containerPort"),
            (r#""hostPort":80,"containerPort":80,"protocol":"icmp""#, "unknown protocol \"icmp\""),
            (r#""hostPort":80,"containerPort":80"#, "unknown protocol \"\""),
            (r#""hostPort":80,"containerPort":80,"protocol":"udp","hostIP":"x""#, "hostIP"),
            (r#""hostPort":80,"containerPort":80,"protocol":"udp","hostIP":"::1""#, "::1"),
        ] {
            let good = r#"{"hostPort":1,"containerPort":1,"protocol":"tcp"}"#;
            let error = mappings(&format!("{good},{{{entry}}}")).unwrap_err();
            assert!(matches!(error.code, Code::CONFIG | Code::UNSUPPORTED));
            assert!(
                error.msg.contains(words) && error.msg.contains("runtimeConfig.portMappings[1]"),
                "{error}"
            );
        }
    }

    #[test]
    fn one_port_leads_to_one_place() {
        let entry = |port: u16, ip: &str| {
            format!(r#"{{"hostPort":80,"containerPort":{port},"protocol":"tcp","hostIP":"{ip}"}}"#)
        };
        assert_eq!(mappings(&[entry(1, ""), entry(1, "")].join(",")).unwrap().mappings.len(), 1);
        let error = mappings(&[entry(1, ""), entry(2, "")].join(",")).unwrap_err();
        assert!(error.msg.contains("portMappings[1].hostPort") && error.msg.contains("80"), "{error}");
        for any in ["0.0.0.0", "::"] {
            let error = mappings(&[entry(1, any), entry(2, "")].join(",")).unwrap_err();
            assert!(error.msg.contains("portMappings[1].hostPort"), "{error}");
            assert_eq!(mappings(&[entry(1, any), entry(1, "")].join(",")).unwrap().mappings.len(), 2);
        }
        for [one, other] in [["", "192.0.2.1"], ["0.0.0.0", "192.0.2.1"], ["0.0.0.0", "::"]] {
            let both = mappings(&[entry(1, one), entry(2, other)].join(",")).unwrap();
            assert_eq!(both.mappings.len(), 2, "{one} {other}");
        }
    }

    #[test]
    fn options_of_other_programs_are_refused_or_have_no_say() {
        let harmless = r#","backend":"iptables","markMasqBit":7,"conditionsV4":[],"externalSetMarkChain":"""#;
        assert_eq!(parse(harmless).unwrap(), PortMapConf::default());
        for (body, code, words) in [
            (r#","backend":"x""#, Code::CONFIG, "unrecognized backend \"x\""),
            (r#","markMasqBit":32"#, Code::CONFIG, "markMasqBit"),
            (r#","markMasqBit":1,"externalSetMarkChain":"C""#, Code::CONFIG, "Cannot specify"),
            (r#","externalSetMarkChain":"KUBE-MARK-MASQ""#, Code::UNSUPPORTED, "KUBE-MARK-MASQ"),
            (r#","conditionsV6":["!","-d","fd00::/8"]"#, Code::UNSUPPORTED, "conditionsV6"),
        ] {
            let error = parse(body).unwrap_err();
            assert!(error.code == code && error.msg.contains(words), "{error}");
        }
    }

    #[test]
    fn snat_says_who_is_hidden() {
        assert_eq!(parse(r#","snat":false,"masqAll":true"#).unwrap().source, Source::None);
        assert_eq!(parse(r#","masqAll":true"#).unwrap().source, Source::All);
        assert_eq!(parse(r#","snat":true"#).unwrap().source, Source::Near);
    }
}
