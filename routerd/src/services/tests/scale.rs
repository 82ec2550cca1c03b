//! What many Services take of memory, and what one change of them costs: figures to read, no test. Run in a release build, as
//! `cargo test --release -p routerd --lib services::tests::scale -- --ignored --nocapture`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use kernel::KernelError;
use kernel::ipvs::{Command, Destination, Service};
use serde_json::json;

use super::super::Settings;
use super::super::apply::{Applier, Headings, Hindrance, Kernel};
use super::super::desired::{Key, Services, Value};
use super::super::plan::{PacketChange, StaleFlows, VipStep};
use super::super::state::{State, Tuple};
use super::super::wanted::LocalAddresses;
use super::fixture::{name, node};
use crate::cluster::wire::{Wire, WireService, WireSlice};
use crate::cluster::{Index, Kind, Object};
use crate::runner::{Apply, Plane, Scope};

const SERVICES: u32 = 20_000;

/// A kernel that takes everything and remembers nothing.
#[derive(Debug)]
struct Willing;

impl Kernel for Willing {
    fn prepare(&mut self, _: &Settings) -> Result<(u64, Vec<Hindrance>), KernelError> {
        Ok((0, Vec::new()))
    }

    fn observe(&mut self) -> Result<State, KernelError> {
        Ok(State::default())
    }

    fn local_addresses(&mut self) -> Result<LocalAddresses, KernelError> {
        Ok(LocalAddresses::default())
    }

    fn services(&mut self) -> Result<Vec<Service>, KernelError> {
        Ok(Vec::new())
    }

    fn headings(&mut self, _: &mut Headings<'_>) -> Result<(), KernelError> {
        Ok(())
    }

    fn backends(&mut self, _: &Tuple) -> Result<Vec<(Destination, u32)>, KernelError> {
        Ok(Vec::new())
    }

    fn balance(&mut self, commands: &[Command]) -> Vec<Result<(), KernelError>> {
        commands.iter().map(|_| Ok(())).collect()
    }

    fn vips(&mut self, steps: &[VipStep]) -> Vec<Result<(), KernelError>> {
        steps.iter().map(|_| Ok(())).collect()
    }

    fn packets(&mut self, _: &PacketChange) -> Result<(), KernelError> {
        Ok(())
    }

    fn forget(&mut self, _: &[StaleFlows]) -> Result<u64, KernelError> {
        Ok(0)
    }
}

fn address(first: [u8; 4], number: u32) -> IpAddr {
    Ipv4Addr::from(u32::from(Ipv4Addr::from(first)) + number).into()
}

/// As the API server writes them.
fn service(number: u32) -> Object {
    let text = json!({
        "metadata": {"name": format!("s{number}"), "namespace": "default", "uid": format!("u{number}")},
        "spec": {
            "type": "ClusterIP", "clusterIPs": [address([10, 97, 0, 0], number)],
            "ports": [{"name": "http", "protocol": "TCP", "port": 80}],
        },
    });
    converted::<WireService>(&text.to_string())
}

fn slice(number: u32) -> Object {
    let endpoint = |number| {
        json!({
            "addresses": [address([10, 244, 0, 0], number)], "nodeName": "node2", "conditions": {"ready": true, "serving": true},
        })
    };
    let text = json!({
        "metadata": {
            "name": format!("s{number}-abcde"), "namespace": "default",
            "labels": {"kubernetes.io/service-name": format!("s{number}")},
        },
        "addressType": "IPv4", "ports": [{"name": "http", "protocol": "TCP", "port": 8080}],
        "endpoints": [endpoint(2 * number), endpoint(2 * number + 1)],
    });
    converted::<WireSlice>(&text.to_string())
}

fn converted<W: Wire + for<'de> serde::Deserialize<'de>>(text: &str) -> Object {
    serde_json::from_str::<W>(text).unwrap().convert().object.unwrap()
}

/// Says what has been taken since the last word.
struct Meter(usize);

impl Meter {
    fn say(&mut self, what: &str) {
        let now = kernel::memory::in_use();
        let more = now.saturating_sub(self.0);
        println!("{what:<40} {:>6} KiB {:>6} octets a Service", more / 1024, more / SERVICES as usize);
        self.0 = now;
    }
}

/// Anonymous memory of this process, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[test]
#[ignore = "a measurement"]
fn memory_of_20_000_services() {
    let (begin, resident_before) = (kernel::memory::in_use(), resident());
    let mut meter = Meter(begin);
    let mut index = Index::new("node1");
    index.replace(Kind::Node, vec![Object::Node(node())]);
    index.replace(Kind::Service, (0..SERVICES).map(service).collect());
    index.pack();
    meter.say("Services in the index");
    index.replace(Kind::EndpointSlice, (0..SERVICES).map(slice).collect());
    index.pack();
    meter.say("EndpointSlices in the index");
    let plane = Services::new(Settings::default());
    let desired: BTreeMap<Key, Value> = plane
        .keys(&index)
        .into_iter()
        .filter_map(|key| Some((key.clone(), plane.desired(&index, &key)?)))
        .collect();
    meter.say("wishes, as the plane's thread has them");
    let mut applier = Applier::new(Willing, Settings::default());
    applier.apply(&desired, &Scope::Everything);
    meter.say("the plane's states");
    kernel::memory::give_back();
    println!(
        "altogether {} KiB; resident {} KiB more than before",
        (meter.0 - begin) / 1024,
        resident() - resident_before
    );
    let scope = Scope::Keys(BTreeSet::from([Key::Service(name("s7"))]));
    assert!(applier.apply(&desired, &scope).problems.is_empty());
}
