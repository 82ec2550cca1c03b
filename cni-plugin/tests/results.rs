//! Results in the form of every version of the specification, and back.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use cni_plugin::convert::{from_json, to_json};
use cni_plugin::json::Fields;
use cni_plugin::{AddResult, Cidr, CniError, Dns, Interface, IpConfig, Route, Version};
use proptest::prelude::*;
use serde_json::{Value, json};

fn dual_stack() -> AddResult {
    let ip = |address: &str, gateway: &str| IpConfig {
        address: address.parse().unwrap(),
        gateway: Some(gateway.parse().unwrap()),
        interface: Some(0),
    };
    let mut route = Route::new("10.0.0.0/8".parse().unwrap(), None);
    route.mtu = Some(1400);
    AddResult {
        interfaces: vec![Interface {
            name: "eth0".into(),
            mac: "02:00:00:00:00:01".into(),
            mtu: Some(1450),
            sandbox: "/run/netns/p".into(),
            ..Interface::default()
        }],
        ips: vec![ip("10.1.0.2/24", "10.1.0.1"), ip("fd00::2/64", "fd00::1"), ip("10.2.0.2/24", "10.2.0.1")],
        routes: vec![route, Route::new("::/0".parse().unwrap(), Some("fd00::1".parse().unwrap()))],
        dns: Dns::default(),
    }
}

fn back(value: &Value, config: Version) -> Result<AddResult, CniError> {
    from_json(&Fields::of(value, "prevResult").unwrap(), config)
}

#[test]
fn addresses_have_a_version_up_to_0_4_0_and_none_later() {
    for (version, expected) in [
        (Version::V030, json!("4")),
        (Version::V031, json!("4")),
        (Version::V040, json!("4")),
        (Version::V100, Value::Null),
        (Version::V110, Value::Null),
    ] {
        let value = to_json(&dual_stack(), version).unwrap();
        assert_eq!(value["cniVersion"], version.as_str());
        assert_eq!(value["ips"][0]["version"], expected, "{version}");
        assert_eq!(value["ips"][1]["interface"], 0, "index 0 is printed");
    }
}

#[test]
fn the_oldest_form_has_the_first_address_of_each_family_with_its_own_routes() {
    let value = to_json(&dual_stack(), Version::V020).unwrap();
    assert_eq!(
        value,
        json!({
            "cniVersion": "0.2.0",
            "ip4": {"ip": "10.1.0.2/24", "gateway": "10.1.0.1", "routes": [{"dst": "10.0.0.0/8"}]},
            "ip6": {"ip": "fd00::2/64", "gateway": "fd00::1", "routes": [{"dst": "::/0", "gw": "fd00::1"}]},
            "dns": {},
        })
    );
}

#[test]
fn only_the_newest_form_has_the_newest_fields() {
    for version in Version::ALL {
        let text = to_json(&dual_stack(), version).unwrap().to_string();
        assert_eq!(text.contains("mtu"), version == Version::V110, "{version}");
        assert_eq!(text.contains("\"dns\""), version < Version::V100, "{version}");
    }
}

#[test]
fn a_result_without_addresses_cannot_be_said_in_the_oldest_form() {
    let error = to_json(&AddResult::default(), Version::V010).unwrap_err();
    assert_eq!(error.msg, "cannot convert: no valid IP addresses");
    assert_eq!(to_json(&AddResult::default(), Version::V110).unwrap(), json!({"cniVersion": "1.1.0"}));
}

#[test]
fn a_previous_result_without_a_version_has_the_configurations() {
    let old = json!({"ip4": {"ip": "10.1.0.2/24"}});
    assert_eq!(back(&old, Version::V020).unwrap().ips.len(), 1);
    assert_eq!(back(&old, Version::V100).unwrap().ips.len(), 0);
    let other = json!({"CNIVersion": "0.2.0", "ip4": {"IP": "10.1.0.2/24"}});
    assert_eq!(back(&other, Version::V100).unwrap().ips.len(), 1);
    assert_eq!(back(&json!({"cniVersion": ""}), Version::V040).unwrap(), AddResult::default());
}

#[test]
fn hostile_previous_results_are_an_error_and_never_a_panic() {
    for value in [
        json!({"ips": [{"address": "10.1.0.2/24", "interface": 1}], "interfaces": [{"name": "eth0"}]}),
        json!({"ips": [{"address": "10.1.0.2/24", "interface": -1}]}),
        json!({"ips": [{"address": "10.1.0.2"}]}),
        json!({"ips": [{}]}),
        json!({"ips": {"address": "10.1.0.2/24"}}),
        json!({"routes": [{"dst": "x"}]}),
        json!({"dns": []}),
        json!({"cniVersion": "7.0.0"}),
    ] {
        assert!(back(&value, Version::V100).is_err(), "{value}");
    }
}

fn cidr() -> impl Strategy<Value = Cidr> {
    let v4 = (any::<[u8; 4]>(), 0..=32u8).prop_map(|(a, l)| Cidr::new(a.into(), l).unwrap());
    let v6 = (any::<[u16; 8]>(), 0..=128u8).prop_map(|(a, l)| Cidr::new(a.into(), l).unwrap());
    prop_oneof![v4, v6]
}

fn route() -> impl Strategy<Value = Route> {
    let number = || prop::option::of(any::<u32>());
    (cidr(), prop::option::of(cidr()), number(), number(), number(), prop::option::of(0..=255u32)).prop_map(
        |(dst, gw, mtu, priority, table, scope)| Route {
            dst,
            gw: gw.map(|gw| gw.address),
            mtu,
            advmss: mtu,
            priority,
            table,
            scope,
        },
    )
}

fn result() -> impl Strategy<Value = AddResult> {
    let interface = ("[a-z]{1,5}", prop::option::of(any::<u32>()), "[a-z/]{0,9}")
        .prop_map(|(name, mtu, sandbox)| Interface { name, mtu, sandbox, ..Interface::default() });
    let ip = (cidr(), prop::option::of(cidr()), any::<bool>()).prop_map(|(address, gateway, known)| {
        IpConfig { address, gateway: gateway.map(|gateway| gateway.address), interface: known.then_some(0) }
    });
    let dns = (prop::collection::vec("[a-z.]{1,9}", 0..3), "[a-z.]{0,9}").prop_map(|(search, domain)| Dns {
        search,
        domain,
        ..Dns::default()
    });
    let lists = (
        prop::collection::vec(interface, 1..3),
        prop::collection::vec(ip, 0..4),
        prop::collection::vec(route(), 0..4),
        dns,
    );
    lists.prop_map(|(interfaces, ips, routes, dns)| AddResult { interfaces, ips, routes, dns })
}

proptest! {
    #[test]
    fn the_newest_form_loses_nothing(result in result()) {
        let value = to_json(&result, Version::V110).unwrap();
        prop_assert_eq!(back(&value, Version::V010).unwrap(), result);
    }

    /// Written in any form and read again it is written the same: what a chained plugin passes through is unchanged.
    #[test]
    fn passing_a_result_through_does_not_change_it(result in result(), index in 0..Version::ALL.len()) {
        let version = Version::ALL[index];
        if let Ok(value) = to_json(&result, version) {
            prop_assert_eq!(to_json(&back(&value, version).unwrap(), version).unwrap(), value);
        }
    }
}
