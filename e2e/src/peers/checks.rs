//! What is shown.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use super::driver::{Attachment, Driver, Pod, output};
use super::lists::{self, Form, NAMES, VERSIONS, since};
use crate::demo::report::{Report, Shown};

/// Everything, a line each.
pub(super) fn all(driver: &Driver, report: &mut Report) {
    report.check("VERSION is answered by every name", || versions(driver));
    for version in VERSIONS {
        for (form, what) in [(Form::Chain, "a chain"), (Form::One, "routerd-cni alone")] {
            let claim = format!("cnitool, {version}, {what}: add, check, status, del, gc");
            report.check(&claim, || life(driver, form, version));
        }
    }
    report.check("libcni reads the same from the results of all versions", || conversions(driver));
    for form in [Form::Chain, Form::One] {
        let claim = format!(
            "libcni, {form:?}: GC keeps the one attachment that is listed of three, one without a pod"
        );
        report.check(&claim, || collection(driver, form));
    }
    report.check("libcni: a pod that is gone is deleted by the result it kept", || gone(driver));
    report.check("the reference plugins check and delete what ours made, and the other way", || swap(driver));
    report.check("libcni: containerd's loopback list", || loopback(driver));
    report.check("libcni refuses bandwidth before 0.3.0, by our answer to VERSION", || refused(driver));
}

fn versions(driver: &Driver) -> Result<Shown> {
    let mut told = 0;
    for name in NAMES.into_iter().chain(["routerd-cni"]) {
        let answer = driver.libcni("versions", &lists::single(name, "1.1.0"), None, None)?;
        let oldest = if name == "bandwidth" { "0.3.0" } else { "0.1.0" };
        let wanted: Vec<&str> = VERSIONS.into_iter().filter(|version| since(version, oldest)).collect();
        ensure!(answer["Versions"][name] == json!(wanted), "{name}: {answer}");
        told += 1;
    }
    Ok(Shown::Good(format!("{told} names")))
}

/// One pod from add to del, with a damage that check must find.
fn life(driver: &Driver, form: Form, version: &str) -> Result<Shown> {
    let pod = Pod::new("pod")?;
    let list = lists::list(form, version, "peers", &driver.folder);
    driver.libcni("validate", &list, None, None)?;
    driver.cnitool("status", &list, &pod)?;
    let begin = Instant::now();
    let result = driver.cnitool("add", &list, &pod)?;
    let took = begin.elapsed();
    let lived = alive(driver, form, version, &list, &pod, &result);
    driver.cnitool("del", &list, &pod)?;
    lived?;
    driver.cnitool("del", &list, &pod).context("a second del")?;
    nothing_left(driver)?;
    // cnitool's GC says of no attachment that it is valid: libcni deletes all it remembers.
    driver.cnitool("add", &list, &pod).context("a second add")?;
    driver.cnitool("gc", &list, &pod)?;
    nothing_left(driver).context("after gc")?;
    Ok(Shown::Good(format!("add in {} ms with cnitool's own start", took.as_millis())))
}

fn alive(driver: &Driver, form: Form, version: &str, list: &Value, pod: &Pod, result: &Value) -> Result<()> {
    ensure!(result["cniVersion"] == version, "the result is {result}");
    let addresses = if since(version, "0.3.0") {
        [&result["ips"][0]["address"], &result["ips"][1]["address"]]
    } else {
        [&result["ip4"]["ip"], &result["ip6"]["ip"]]
    };
    let seen = pod.output(&["ip", "addr", "show", "dev", "eth0"])?;
    for address in addresses {
        let address = address.as_str().with_context(|| format!("the result is {result}"))?;
        ensure!(seen.contains(address), "{address} is not in the pod: {seen}");
    }
    if form == Form::Chain {
        ensure!(seen.contains(lists::MAC), "tuning changed nothing: {seen}");
    }
    let rules = output(&["nft", "list", "ruleset"])?;
    ensure!(rules.contains("8080"), "no port mapping: {rules}");
    let shaped = output(&["tc", "qdisc"])?.contains("tbf");
    ensure!(shaped == (form == Form::One || since(version, "0.3.0")), "shaped: {shaped}");
    check(driver, version, list, pod)
}

fn check(driver: &Driver, version: &str, list: &Value, pod: &Pod) -> Result<()> {
    if !since(version, "0.4.0") {
        // libcni itself knows that these versions have none.
        return Ok(());
    }
    driver.cnitool("check", list, pod).context("check")?;
    pod.output(&["ip", "route", "del", "default"])?;
    ensure!(driver.cnitool("check", list, pod).is_err(), "check does not see that the default route is gone");
    pod.output(&["ip", "route", "add", "default", "via", "10.44.0.1"]).map(drop)
}

fn nothing_left(driver: &Driver) -> Result<()> {
    for kind in ["veth", "ifb"] {
        let left = output(&["ip", "link", "show", "type", kind])?;
        ensure!(left.is_empty(), "left: {left}");
    }
    let rules = output(&["nft", "list", "ruleset"])?;
    // Chains and rules that all pods share stay; what is of one pod has its name.
    let of_pods: Vec<&str> = rules.lines().filter(|line| line.contains("routerd-cni:")).collect();
    ensure!(of_pods.is_empty() && !rules.contains("8080"), "left: {of_pods:?}");
    let (leases, settings) = (driver.leases("peers"), driver.settings());
    ensure!(leases.is_empty() && settings.is_empty(), "left: {leases:?} {settings:?}");
    Ok(())
}

/// The newest form that libcni makes of a result must be the same whatever form it came in.
fn conversions(driver: &Driver) -> Result<Shown> {
    let mut first: Option<Value> = None;
    for version in VERSIONS {
        let pod = Pod::new("pod")?;
        let one = Attachment::new("conversion", &pod);
        let list = lists::list(Form::One, version, "peers", &driver.folder);
        let answer = driver.libcni("add", &list, Some(&one), None);
        driver.libcni("del", &list, Some(&one), None)?;
        let newest = &answer?["Newest"];
        let ips: Vec<Value> = newest["ips"].as_array().into_iter().flatten().map(network_of).collect();
        ensure!(ips.len() == 2, "{version}: {newest}");
        let facts = json!([ips, newest["routes"]]);
        let wanted = first.get_or_insert_with(|| facts.clone());
        ensure!(*wanted == facts, "{version}: {facts} instead of {wanted}");
    }
    nothing_left(driver)?;
    Ok(Shown::Good(format!("{} versions", VERSIONS.len())))
}

/// Gateway and length; the address is another one each time.
fn network_of(ip: &Value) -> Value {
    let length = ip["address"].as_str().and_then(|address| address.split_once('/')).map(|(_, length)| length);
    json!([ip["gateway"], length])
}

fn collection(driver: &Driver, form: Form) -> Result<Shown> {
    let list = lists::list(form, "1.1.0", "peers", &driver.folder);
    let (first, second, third) = (Pod::new("pod")?, Pod::new("pod2")?, Pod::new("pod3")?);
    let mut without_ports = list.clone();
    // One host port cannot be of two pods.
    for plugin in without_ports["plugins"].as_array_mut().into_iter().flatten() {
        plugin["capabilities"]["portMappings"] = json!(false);
    }
    let valid = Attachment::new("valid", &first);
    driver.libcni("add", &list, Some(&valid), None)?;
    for (name, pod) in [("stale", &second), ("lost", &third)] {
        driver.libcni("add", &without_ports, Some(&Attachment::new(name, pod)), None)?;
    }
    // Of one its pod is gone, and of it libcni remembers nothing either: only GC can know.
    std::fs::remove_file(driver.folder.join("results/results/peers-lost-eth0"))?;
    drop(third);
    let before = driver.leases("peers").len();
    driver.libcni("gc", &list, None, Some(&json!([{"containerID": "valid", "ifname": "eth0"}])))?;
    let after = driver.leases("peers").len();
    ensure!((before, after) == (6, 2), "{before} leases before, {after} after");
    let pairs = output(&["ip", "-o", "link", "show", "type", "veth"])?.lines().count();
    let blocks = output(&["ip", "-o", "link", "show", "type", "ifb"])?.lines().count();
    ensure!((pairs, blocks) == (1, 1), "{pairs} pairs and {blocks} blocks are left");
    let settings = driver.settings().len();
    ensure!(settings == usize::from(form == Form::Chain), "{settings} files of tuning are left");
    driver.libcni("check", &list, Some(&valid), None)?;
    driver.libcni("del", &list, Some(&valid), None)?;
    nothing_left(driver)?;
    Ok(Shown::Good("2 of 6 addresses, 1 of 3 pairs and blocks stay, and CHECK is content with them".into()))
}

fn gone(driver: &Driver) -> Result<Shown> {
    for form in [Form::Chain, Form::One] {
        for version in ["0.3.1", "0.4.0", "1.0.0", "1.1.0"] {
            let list = lists::list(form, version, "peers", &driver.folder);
            let pod = Pod::new("pod")?;
            let one = Attachment::new("gone", &pod);
            driver.libcni("add", &list, Some(&one), None)?;
            drop(pod);
            // As containerd does when it knows that the name space is gone.
            let unnamed = Attachment { namespace: String::new(), ..one };
            driver.libcni("del", &list, Some(&unnamed), None)?;
            nothing_left(driver).with_context(|| format!("{version} {form:?}"))?;
        }
    }
    Ok(Shown::Good("chain and one plugin, 0.3.1 to 1.1.0, nothing left".into()))
}

/// A node's plugins are replaced under a running pod.
fn swap(driver: &Driver) -> Result<Shown> {
    let (ours, theirs) = (driver.plugins.as_path(), driver.reference.as_path());
    let versions: Vec<&str> = VERSIONS.into_iter().filter(|version| since(version, "0.3.1")).collect();
    for version in &versions {
        let list = lists::unfiltered(version, "peers", &driver.folder);
        for (made_by, judge) in [(ours, theirs), (theirs, ours)] {
            let pod = Pod::new("pod")?;
            let one = Attachment::new("swapped", &pod);
            let call = |plugins, operation| {
                driver.libcni_with(plugins, operation, &list, Some(&one), None).map(drop)
            };
            call(made_by, "add").with_context(|| format!("{version}: {}", made_by.display()))?;
            let checked = if since(version, "0.4.0") { call(judge, "check") } else { Ok(()) };
            let deleted = call(judge, "del");
            checked.and(deleted).with_context(|| format!("{version}: {}", judge.display()))?;
            nothing_left(driver).with_context(|| format!("{version}: deleted by {}", judge.display()))?;
        }
    }
    Ok(Shown::Good(format!("bridge, host-local, tuning, bandwidth; {}", versions.join(", "))))
}

fn loopback(driver: &Driver) -> Result<Shown> {
    let pod = Pod::new("pod")?;
    let list = json!({"cniVersion": "0.3.1", "name": "cni-loopback", "plugins": [{"type": "loopback"}]});
    let one = Attachment::new("loopback", &pod);
    let answer = driver.libcni("add", &list, Some(&one), None)?;
    ensure!(answer["Result"]["interfaces"][0]["name"] == "lo", "{answer}");
    ensure!(pod.output(&["ip", "link", "show", "dev", "lo"])?.contains("UP"), "lo is down");
    driver.libcni("del", &list, Some(&one), None)?;
    Ok(Shown::Good(answer["Result"]["ips"][0]["address"].as_str().unwrap_or_default().to_owned()))
}

fn refused(driver: &Driver) -> Result<Shown> {
    match driver.libcni("validate", &lists::single("bandwidth", "0.2.0"), None, None) {
        Err(error) => Ok(Shown::Good(format!("{error:#}"))),
        Ok(_) => bail!("it was taken"),
    }
}
