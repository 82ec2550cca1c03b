//! Results as JSON, in the form of every version of the specification.
//!
//! 0.1.0 and 0.2.0 know one address of each family (`ip4`, `ip6`), 0.3.0 to 0.4.0 want `version` at each address, 1.0.0
//! dropped it, and 1.1.0 added fields to interfaces and routes.

use serde_json::{Map, Value, json};

use prefix::Family;

use crate::error::{CniError, Code};
use crate::json::Fields;
use crate::result::{AddResult, Dns, Interface, IpConfig, Route};
use crate::version::Version;

/// `result` in the form of `version`.
pub fn to_json(result: &AddResult, version: Version) -> Result<Value, CniError> {
    let mut object = Map::new();
    object.insert("cniVersion".into(), version.as_str().into());
    if version.has_legacy_result() {
        legacy_families(result, &mut object)?;
    } else {
        put_list(&mut object, "interfaces", result.interfaces.iter().map(|i| interface_json(i, version)));
        put_list(&mut object, "ips", result.ips.iter().map(|ip| ip_json(ip, version)));
        put_list(&mut object, "routes", result.routes.iter().map(|route| route_json(route, version)));
    }
    if version < Version::V100 || !result.dns.is_empty() {
        object.insert("dns".into(), dns_json(&result.dns));
    }
    Ok(Value::Object(object))
}

fn put_list(object: &mut Map<String, Value>, key: &str, items: impl Iterator<Item = Value>) {
    let items: Vec<Value> = items.collect();
    if !items.is_empty() {
        object.insert(key.into(), items.into());
    }
}

fn put_text(object: &mut Map<String, Value>, key: &str, text: &str) {
    if !text.is_empty() {
        object.insert(key.into(), text.into());
    }
}

fn put_number(object: &mut Map<String, Value>, key: &str, number: Option<u32>) {
    if let Some(number) = number {
        object.insert(key.into(), number.into());
    }
}

fn legacy_families(result: &AddResult, object: &mut Map<String, Value>) -> Result<(), CniError> {
    for (family, key) in [(Family::V4, "ip4"), (Family::V6, "ip6")] {
        let Some(ip) = result.ips.iter().find(|ip| ip.address.family() == family) else { continue };
        let mut entry = Map::new();
        entry.insert("ip".into(), ip.address.to_string().into());
        if let Some(gateway) = ip.gateway {
            entry.insert("gateway".into(), gateway.to_string().into());
        }
        let routes = result.routes.iter().filter(|route| route.dst.family() == family);
        put_list(&mut entry, "routes", routes.map(|route| route_json(route, Version::V020)));
        object.insert(key.into(), entry.into());
    }
    if object.contains_key("ip4") || object.contains_key("ip6") {
        return Ok(());
    }
    Err(CniError::new(Code::VERSION, "cannot convert: no valid IP addresses")
        .with_details("a result of CNI 0.1.0 and 0.2.0 needs an address; use cniVersion 0.3.0 or newer"))
}

fn interface_json(interface: &Interface, version: Version) -> Value {
    let mut object = Map::new();
    object.insert("name".into(), interface.name.clone().into());
    put_text(&mut object, "mac", &interface.mac);
    put_text(&mut object, "sandbox", &interface.sandbox);
    if version >= Version::V110 {
        put_number(&mut object, "mtu", interface.mtu);
        put_text(&mut object, "socketPath", &interface.socket_path);
        put_text(&mut object, "pciID", &interface.pci_id);
    }
    object.into()
}

fn ip_json(ip: &IpConfig, version: Version) -> Value {
    let mut object = Map::new();
    if version < Version::V100 {
        let number = if ip.address.family() == Family::V4 { "4" } else { "6" };
        object.insert("version".into(), number.into());
    }
    if let Some(index) = ip.interface {
        object.insert("interface".into(), index.into());
    }
    object.insert("address".into(), ip.address.to_string().into());
    if let Some(gateway) = ip.gateway {
        object.insert("gateway".into(), gateway.to_string().into());
    }
    object.into()
}

fn route_json(route: &Route, version: Version) -> Value {
    let mut object = Map::new();
    object.insert("dst".into(), route.dst.to_string().into());
    if let Some(gw) = route.gw {
        object.insert("gw".into(), gw.to_string().into());
    }
    if version >= Version::V110 {
        put_number(&mut object, "mtu", route.mtu);
        put_number(&mut object, "advmss", route.advmss);
        put_number(&mut object, "priority", route.priority);
        put_number(&mut object, "table", route.table);
        put_number(&mut object, "scope", route.scope);
    }
    object.into()
}

fn dns_json(dns: &Dns) -> Value {
    let mut object = Map::new();
    put_list(&mut object, "nameservers", dns.nameservers.iter().map(|text| json!(text)));
    put_text(&mut object, "domain", &dns.domain);
    put_list(&mut object, "search", dns.search.iter().map(|text| json!(text)));
    put_list(&mut object, "options", dns.options.iter().map(|text| json!(text)));
    object.into()
}

/// Reads a result (a `prevResult`). Its own `cniVersion` says the form; without one it is that of `config`.
pub fn from_json(fields: &Fields<'_>, config: Version) -> Result<AddResult, CniError> {
    let interfaces = fields.objects("interfaces")?.len();
    result_from(fields, config, interfaces)
}

/// Reads the result of an IPAM plugin. Interfaces are not its affair: what it says of them is left out.
pub fn addresses_from_json(fields: &Fields<'_>, config: Version) -> Result<AddResult, CniError> {
    let mut result = result_from(fields, config, usize::MAX)?;
    result.interfaces.clear();
    for ip in &mut result.ips {
        ip.interface = None;
    }
    Ok(result)
}

/// `known` is the number of interfaces that an address may name.
fn result_from(fields: &Fields<'_>, config: Version, known: usize) -> Result<AddResult, CniError> {
    let version = match fields.text_or_empty("cniVersion")? {
        "" => config,
        text => Version::parse(text)?,
    };
    let dns = match fields.object("dns")? {
        Some(dns) => dns_from(&dns)?,
        None => Dns::default(),
    };
    if version.has_legacy_result() {
        return legacy_from(fields, dns);
    }
    let interfaces: Vec<Interface> =
        fields.objects("interfaces")?.iter().map(interface_from).collect::<Result<_, _>>()?;
    let ips = fields.objects("ips")?.iter().map(|ip| ip_from(ip, known)).collect::<Result<_, _>>()?;
    let routes = fields.objects("routes")?.iter().map(route_from).collect::<Result<_, _>>()?;
    Ok(AddResult { interfaces, ips, routes, dns })
}

fn legacy_from(fields: &Fields<'_>, dns: Dns) -> Result<AddResult, CniError> {
    let mut result = AddResult { dns, ..AddResult::default() };
    for key in ["ip4", "ip6"] {
        let Some(entry) = fields.object(key)? else { continue };
        let address = required(&entry, "ip")?;
        result.ips.push(IpConfig { address, gateway: entry.parsed("gateway")?, interface: None });
        for route in entry.objects("routes")? {
            result.routes.push(route_from(&route)?);
        }
    }
    Ok(result)
}

fn required<T>(fields: &Fields<'_>, key: &str) -> Result<T, CniError>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    fields.parsed(key)?.ok_or_else(|| CniError::config(format!("{} is missing", fields.path_of(key))))
}

fn interface_from(fields: &Fields<'_>) -> Result<Interface, CniError> {
    Ok(Interface {
        name: fields.text_or_empty("name")?.to_owned(),
        mac: fields.text_or_empty("mac")?.to_owned(),
        mtu: fields.number("mtu", u32::MAX)?,
        sandbox: fields.text_or_empty("sandbox")?.to_owned(),
        socket_path: fields.text_or_empty("socketPath")?.to_owned(),
        pci_id: fields.text_or_empty("pciID")?.to_owned(),
    })
}

fn ip_from(fields: &Fields<'_>, interfaces: usize) -> Result<IpConfig, CniError> {
    let interface = fields.number("interface", u32::MAX)?.map(|index| index as usize);
    if let Some(index) = interface.filter(|index| *index >= interfaces) {
        let place = fields.path_of("interface");
        return Err(CniError::config(format!("{place} is {index}, but there are {interfaces} interfaces")));
    }
    Ok(IpConfig { address: required(fields, "address")?, gateway: fields.parsed("gateway")?, interface })
}

/// Reads one route, of a result or of an IPAM configuration.
pub fn route_from(fields: &Fields<'_>) -> Result<Route, CniError> {
    Ok(Route {
        dst: required(fields, "dst")?,
        gw: fields.parsed("gw")?,
        mtu: fields.number("mtu", u32::MAX)?,
        advmss: fields.number("advmss", u32::MAX)?,
        priority: fields.number("priority", u32::MAX)?,
        table: fields.number("table", u32::MAX)?,
        scope: fields.number("scope", 255)?,
    })
}

/// Reads name service settings, of a result or of a configuration.
pub fn dns_from(fields: &Fields<'_>) -> Result<Dns, CniError> {
    Ok(Dns {
        nameservers: fields.texts("nameservers")?,
        domain: fields.text_or_empty("domain")?.to_owned(),
        search: fields.texts("search")?,
        options: fields.texts("options")?,
    })
}
