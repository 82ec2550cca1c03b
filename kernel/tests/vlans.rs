//! VLANs of bridge ports as `bridge` sees them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use kernel::rtnl::{BridgeOptions, NewLink, PortVlans, Rtnl, VethPeer, VlanFlags};
use kernel::testing::TestNs;

/// A bridge and a port of it.
fn bridge(namespace: &TestNs, filtering: Option<bool>) -> (Rtnl, u32) {
    let mut rtnl = Rtnl::open_in(namespace.namespace()).unwrap();
    rtnl.create_link(&NewLink::bridge("br", BridgeOptions { vlan_filtering: filtering })).unwrap();
    let master = rtnl.link_by_name("br").unwrap().map(|link| link.index);
    let peer = VethPeer { name: "far", ..VethPeer::default() };
    rtnl.create_link(&NewLink { master, ..NewLink::veth("port", peer) }).unwrap();
    let port = rtnl.link_by_name("port").unwrap().unwrap().index;
    (rtnl, port)
}

#[test]
#[ignore = "needs a kernel with VLAN filtering: run in a lab guest by cargo verify"]
fn vlans_of_a_port_are_added_taken_away_and_read_back() {
    let namespace = TestNs::new("vlans");
    let (mut rtnl, port) = bridge(&namespace, Some(true));
    let access = VlanFlags { pvid: true, untagged: true };
    assert_eq!(rtnl.port_vlans(port).unwrap().into_iter().collect::<Vec<_>>(), [(1, access)]);
    rtnl.delete_port_vlans(port, &[PortVlans::tagged(1, 4094)]).unwrap();
    rtnl.add_port_vlans(port, &[PortVlans::tagged(100, 102), PortVlans::access(101)]).unwrap();
    let tagged = VlanFlags::default();
    let wanted = [(100, tagged), (101, access), (102, tagged)];
    assert_eq!(rtnl.port_vlans(port).unwrap().into_iter().collect::<Vec<_>>(), wanted);
    let seen = namespace.run("bridge", &["vlan", "show", "dev", "port"]);
    assert!(seen.contains("101 PVID Egress Untagged") && !seen.contains(" 1 "), "{seen}");
    rtnl.delete_port_vlans(port, &[PortVlans::tagged(100, 102)]).unwrap();
    rtnl.delete_port_vlans(port, &[PortVlans::tagged(100, 100)]).unwrap();
    assert!(rtnl.port_vlans(port).unwrap().is_empty());
}

#[test]
fn a_device_that_is_no_port_has_no_vlans_and_gets_none() {
    let namespace = TestNs::new("vlans");
    let (mut rtnl, _) = bridge(&namespace, None);
    let far = rtnl.link_by_name("far").unwrap().unwrap().index;
    assert!(rtnl.port_vlans(far).unwrap().is_empty());
    let error = rtnl.add_port_vlans(far, &[PortVlans::access(7)]).unwrap_err();
    assert!(error.to_string().contains("add VLANs 7 to bridge port"), "{error}");
    assert!(error.is_unsupported(), "{error}");
}
