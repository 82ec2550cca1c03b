//! The command line: every flag of kube-router 2.11 with its type, default and syntax, and what is said of a wrong one.

use std::path::PathBuf;
use std::time::Duration;

use routerd::config::table::{Effect, flags};
use routerd::config::{ClusterSource, Config, Environment, Invocation, RouterId, command, docs, parse};

/// Every flag of kube-router 2.11 with its default, written down apart from the table.
const KUBE_ROUTER: [(&str, &str); 79] = [
    ("advertise-cluster-ip", "false"),
    ("advertise-external-ip", "false"),
    ("advertise-loadbalancer-ip", "false"),
    ("advertise-pod-cidr", "true"),
    ("auto-mtu", "true"),
    ("bfd-desired-min-tx-interval", "1000"),
    ("bfd-detection-multiplier", "3"),
    ("bfd-port", "3784"),
    ("bfd-required-min-rx-interval", "1000"),
    ("bgp-graceful-restart", "false"),
    ("bgp-graceful-restart-deferral-time", "6m0s"),
    ("bgp-graceful-restart-time", "1m30s"),
    ("bgp-holdtime", "1m30s"),
    ("bgp-port", "179"),
    ("cache-sync-timeout", "1m0s"),
    ("cleanup-config", "false"),
    ("cluster-asn", "0"),
    ("disable-source-dest-check", "true"),
    ("enable-bfd", "false"),
    ("enable-cni", "true"),
    ("enable-ibgp", "true"),
    ("enable-ipv4", "true"),
    ("enable-ipv6", "false"),
    ("enable-overlay", "true"),
    ("enable-pod-egress", "true"),
    ("enable-pprof", "false"),
    ("excluded-cidrs", ""),
    ("gobgp-admin-address", "127.0.0.1"),
    ("gobgp-admin-port", "50051"),
    ("hairpin-mode", "false"),
    ("health-addr", ""),
    ("health-port", "20244"),
    ("help", "false"),
    ("hostname-override", ""),
    ("injected-routes-sync-period", "1m0s"),
    ("iptables-sync-period", "5m0s"),
    ("ipvs-graceful-period", "30s"),
    ("ipvs-graceful-termination", "false"),
    ("ipvs-permit-all", "true"),
    ("ipvs-sync-period", "5m0s"),
    ("kubeconfig", ""),
    ("loadbalancer-default-class", "true"),
    ("loadbalancer-ip-range", ""),
    ("loadbalancer-sync-period", "1m0s"),
    ("masquerade-all", "false"),
    ("master", ""),
    ("metrics-addr", ""),
    ("metrics-path", "/metrics"),
    ("metrics-port", "0"),
    ("netpol-default-deny", "false"),
    ("nodeport-bindon-all-ip", "false"),
    ("nodes-full-mesh", "true"),
    ("overlay-encap", "ipip"),
    ("overlay-encap-port", "5555"),
    ("overlay-type", "subnet"),
    ("override-nexthop", "false"),
    ("peer-router-asns", ""),
    ("peer-router-ips", ""),
    ("peer-router-multihop-ttl", "0"),
    ("peer-router-passwords", ""),
    ("peer-router-passwords-file", ""),
    ("peer-router-ports", ""),
    ("router-id", ""),
    ("routes-sync-period", "5m0s"),
    ("run-firewall", "true"),
    ("run-loadbalancer", "false"),
    ("run-router", "true"),
    ("run-service-proxy", "true"),
    ("runtime-endpoint", ""),
    ("service-cluster-ip-range", "10.96.0.0/12"),
    ("service-external-ip-range", ""),
    ("service-node-port-range", "30000-32767"),
    ("service-tcp-timeout", "0s"),
    ("service-tcpfin-timeout", "0s"),
    ("service-udp-timeout", "0s"),
    ("strict-external-ip-validation", "true"),
    ("use-nftables-for-netpol", "false"),
    ("v", "0"),
    ("version", "false"),
];

fn environment() -> Environment {
    Environment { host_name: Some("Host-A".to_owned()), ..Environment::default() }
}

fn config(arguments: &[&str]) -> Result<Config, String> {
    let words = std::iter::once("routerd").chain(arguments.iter().copied());
    match parse(words).map_err(|errors| errors.to_string())? {
        Invocation::Run(values) => Config::new(&values, &environment()).map_err(|errors| errors.to_string()),
        other => Err(format!("not a run: {other:?}")),
    }
}

/// Defaults that differ on purpose, and what kube-router has: there a restart without the flag cuts every external route, and
/// with it nothing is announced for six minutes, which is why it is off.
const OTHER_DEFAULTS: [(&str, &str); 1] = [("bgp-graceful-restart", "false")];

#[test]
fn the_table_holds_every_flag_of_kube_router_with_its_default() {
    let mut table: Vec<(&str, &str)> =
        flags().filter(|flag| flag.of_kube_router).map(|flag| (flag.name, flag.default)).collect();
    for (name, theirs) in OTHER_DEFAULTS {
        let ours = table.iter_mut().find(|(flag, _)| *flag == name).unwrap();
        assert_ne!(ours.1, theirs, "--{name} is no difference");
        ours.1 = theirs;
    }
    table.sort_unstable();
    assert_eq!(table, KUBE_ROUTER);
}

#[test]
fn the_command_made_from_the_table_is_sound() {
    command().debug_assert();
    config(&[]).unwrap();
}

#[test]
fn defaults_give_the_settings_of_kube_router() {
    let config = config(&[]).unwrap();
    assert_eq!(config.node_name, "host-a");
    assert_eq!(config.source, ClusterSource::Api { kubeconfig: None, master: None });
    assert!(
        config.ipv4 && !config.ipv6 && config.run_router && config.run_firewall && config.run_service_proxy
    );
    assert_eq!(config.bgp.asn, 64_512);
    assert_eq!(config.bgp.port, 179);
    assert_eq!(config.bgp.hold_time, Duration::from_secs(90));
    assert_eq!(config.bgp.router_id, RouterId::NodeAddress);
    assert_eq!(config.services.node_ports, (30_000, 32_767));
    assert_eq!(config.periods.routes, Duration::from_mins(1));
    assert_eq!(config.admin.health.unwrap().port(), 20_244);
    assert_eq!(config.admin.metrics, None);
}

#[test]
fn booleans_lists_and_values_are_written_as_for_kube_router() {
    let config = config(&[
        "--run-router=false",
        "--run-firewall=F",
        "--enable-ipv6",
        "--masquerade-all=true",
        "--excluded-cidrs=10.9.0.0/16,10.8.0.0/16",
        "--excluded-cidrs",
        "fd00::/64",
        "--service-node-port-range=31000:31999",
        "--bgp-holdtime",
        "30s",
        "--cluster-asn=4200000001",
        "--router-id=generate",
        "-v=2",
        "--ipvs-sync-period=5m0s",
        "--ipvs-sync-period=1m30s",
        "--health-port=0",
    ])
    .unwrap();
    assert!(!config.run_router && !config.run_firewall && config.ipv6 && config.services.masquerade_all);
    assert_eq!(config.services.excluded.len(), 3);
    assert_eq!(config.services.node_ports, (31_000, 31_999));
    assert_eq!(config.bgp.hold_time, Duration::from_secs(30));
    assert_eq!(config.bgp.asn, 4_200_000_001);
    assert_eq!(config.bgp.router_id, RouterId::Generate);
    assert_eq!(config.log.verbosity, 2);
    assert_eq!(config.periods.services, Duration::from_secs(90), "of a repeated value the last counts");
    assert_eq!(config.admin.health, None);
}

#[test]
fn verbosity_has_the_spellings_of_pflag() {
    for arguments in [&["-v", "3"][..], &["-v3"], &["-v=3"], &["--v=3"], &["--v", "3"]] {
        assert_eq!(config(arguments).unwrap().log.verbosity, 3, "{arguments:?}");
    }
    // kube-router hands it to klog, which has no highest level.
    for arguments in ["--v=10", "-v100000"] {
        assert!(config(&[arguments]).unwrap().log.verbosity > 9, "{arguments}");
    }
}

#[test]
fn the_version_has_the_spellings_of_pflag() {
    for argument in ["-V", "--version", "-V=true", "--version=true"] {
        let printed = parse(["routerd", argument]);
        assert!(
            matches!(&printed, Ok(Invocation::Print(text)) if text.starts_with("routerd ")),
            "{argument}: {printed:?}"
        );
    }
    config(&["-V=false"]).unwrap();
}

#[test]
fn the_node_is_named_by_flag_then_environment_then_host() {
    let values = |arguments: &[&str]| match parse(arguments).unwrap() {
        Invocation::Run(values) => values,
        other => panic!("{other:?}"),
    };
    let both = Environment {
        node_name: Some("by-env".into()),
        conflist: Some("/x.conflist".into()),
        ..environment()
    };
    let plain = Config::new(&values(&["routerd"]), &both).unwrap();
    assert_eq!(plain.node_name, "by-env");
    assert_eq!(plain.pods.conflist, PathBuf::from("/x.conflist"));
    let flag = Config::new(&values(&["routerd", "--hostname-override=by-flag"]), &both).unwrap();
    assert_eq!(flag.node_name, "by-flag");
}

#[test]
fn the_allocator_stands_for_election_as_the_pod_or_else_as_the_node() {
    let given = |arguments: &[&str], environment: &Environment| match parse(arguments).unwrap() {
        Invocation::Run(values) => Config::new(&values, environment).map(|config| config.allocator),
        other => panic!("{other:?}"),
    };
    assert_eq!(given(&["routerd"], &environment()), Ok(None));
    let wanted = ["routerd", "--run-loadbalancer", "--loadbalancer-ip-range=198.51.100.0/24"];
    let allocator = given(&wanted, &environment()).unwrap().unwrap();
    assert_eq!((allocator.namespace.as_str(), allocator.identity.as_str()), ("kube-system", "host-a"));
    assert!(allocator.default_class && allocator.period == Duration::from_mins(1));
    let pod = Environment {
        pod_name: Some("routerd-x7".into()),
        pod_namespace: Some("net".into()),
        ..environment()
    };
    let more = ["--loadbalancer-default-class=false", "--loadbalancer-sync-period=5s"];
    let allocator = given(&[&wanted[..], &more[..]].concat(), &pod).unwrap().unwrap();
    assert_eq!((allocator.namespace.as_str(), allocator.identity.as_str()), ("net", "routerd-x7"));
    assert!(!allocator.default_class && allocator.period == Duration::from_secs(5));
    let without_range = given(&["routerd", "--run-loadbalancer"], &environment()).unwrap_err().to_string();
    assert!(without_range.contains("--loadbalancer-ip-range"), "{without_range}");
    let folder = [&wanted[..], &["--manifests=/etc/objects"]].concat();
    let folder = given(&folder, &environment()).unwrap_err().to_string();
    assert!(folder.contains("a folder cannot be written to"), "{folder}");
}

#[test]
fn health_for_load_balancers_is_where_kube_proxy_has_it_or_nowhere() {
    let at = |arguments: &[&str]| config(arguments).unwrap().services.node_health.map(|at| at.to_string());
    assert_eq!(at(&[]).as_deref(), Some("[::]:10256"));
    assert_eq!(at(&["--healthz-bind-address=127.0.0.1:1"]).as_deref(), Some("127.0.0.1:1"));
    assert_eq!(at(&["--healthz-bind-address="]), None);
    assert!(config(&["--healthz-bind-address=10256"]).unwrap_err().contains("is not an address with a port"));
}

#[test]
fn a_wrong_command_line_is_refused_with_flag_value_and_what_is_allowed() {
    for (arguments, parts) in [
        (&["--no-such-flag"][..], &["--no-such-flag"][..]),
        (&["--no-such-flag=3"], &["--no-such-flag"]),
        (&["stray"], &["\"stray\"", "only flags"]),
        (&["--enable-ipv6", "false"], &["\"false\"", "--flag=false"]),
        (&["--enable-ipv6=maybe"], &["--enable-ipv6=maybe", "true or false"]),
        (&["--bgp-port=0"], &["--bgp-port=0", "out of range", "1 to 65535"]),
        (&["--bgp-port=-1"], &["--bgp-port=-1", "1 to 65535"]),
        (&["--bgp-port=x"], &["--bgp-port=x", "not a whole number"]),
        (&["--bgp-port"], &["--bgp-port", "value is required"]),
        (&["--cluster-asn=64511"], &["--cluster-asn=64511", "64512 to 65535"]),
        (&["--bgp-holdtime=2s"], &["--bgp-holdtime=2s", "from 3s"]),
        (&["--bgp-holdtime=90"], &["--bgp-holdtime=90", "90s"]),
        (&["--bgp-graceful-restart-time=0s"], &["--bgp-graceful-restart-time=0s", "out of range"]),
        (&["--overlay-encap=gre"], &["--overlay-encap=gre", "ipip or fou"]),
        (&["--overlay-encap-port=1023"], &["1023", "1024 to 65535"]),
        (&["--excluded-cidrs=10.0.0.0/8,x"], &["--excluded-cidrs=x", "not a prefix"]),
        (&["--excluded-cidrs=10.0.0.0/8,,10.1.0.0/16"], &["--excluded-cidrs=", "not a prefix"]),
        (&["--service-node-port-range=5-4"], &["--service-node-port-range=5-4", "below"]),
        (&["--service-cluster-ip-range="], &["--service-cluster-ip-range=", "one or two"]),
        (&["--service-cluster-ip-range=10.0.0.0/16,10.1.0.0/16"], &["different families"]),
        (&["--enable-ipv4=false", "--enable-ipv6"], &["10.96.0.0/12", "--enable-ipv4=true"]),
        (&["--enable-ipv4=false"], &["at least one family"]),
        (&["--router-id=abc"], &["--router-id=abc", "generate"]),
        (&["--peer-router-ips=192.0.2.1"], &["--peer-router-asns", "0 items for 1 peers"]),
        (
            &["--peer-router-ips=192.0.2.1", "--peer-router-asns=1", "--peer-router-passwords=?"],
            &["item 1 is not base64"],
        ),
        (&["--runtime-endpoint=/run/x"], &["--runtime-endpoint=/run/x", "unix://"]),
        (&["--health-addr=localhost"], &["--health-addr=localhost", "IP address"]),
        (&["--metrics-port=20244"], &["different ports"]),
        (&["--manifests=/x", "--master=https://y"], &["--manifests=/x", "not from both"]),
        (&["-v=much"], &["--v=much", "not a whole number"]),
        (&["--overlay-type=none"], &["--overlay-type=none", "subnet or full"]),
    ] {
        let message = config(arguments).expect_err(&arguments.join(" "));
        for part in parts {
            assert!(message.contains(part), "{arguments:?}: {message:?} lacks {part:?}");
        }
    }
}

#[test]
fn everything_that_is_wrong_is_said_at_once_and_a_password_never() {
    let message = config(&["--bgp-port=0", "--health-port=x", "--peer-router-ips=192.0.2.1,y"]).unwrap_err();
    assert_eq!(message.lines().count(), 3, "{message}");
    let secret =
        config(&["--peer-router-ips=192.0.2.1", "--peer-router-asns=1", "--peer-router-passwords=se.cret"]);
    assert!(!secret.unwrap_err().contains("se.cret"));
}

#[test]
fn flags_without_effect_are_known_so_that_they_can_be_warned_about() {
    let not_yet = flags().find(|flag| flag.effect == Effect::NotYet && flag.default == "false");
    let Some(flag) = not_yet else { return };
    let argument = format!("--{}", flag.name);
    let Invocation::Run(values) = parse(["routerd", &argument]).unwrap() else { panic!("a run") };
    assert_eq!(values.without_effect(), [flag]);
    let default = format!("--{}={}", flag.name, flag.default);
    let Invocation::Run(values) = parse(["routerd", &default]).unwrap() else { panic!("a run") };
    assert!(values.without_effect().is_empty());
}

#[test]
fn status_is_a_command_with_its_own_flags() {
    match parse(["routerd", "--run-dir=/tmp/x", "status", "--json"]).unwrap() {
        Invocation::Status { json, run_dir } => assert_eq!((json, run_dir.as_str()), (true, "/tmp/x")),
        other => panic!("{other:?}"),
    }
    match parse(["routerd", "status", "--run-dir", "/tmp/y"]).unwrap() {
        Invocation::Status { json, run_dir } => assert_eq!((json, run_dir.as_str()), (false, "/tmp/y")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn drops_is_a_command_with_its_own_flags() {
    let read = |arguments: &[&str]| {
        let arguments = ["routerd", "drops", "--run-dir=/tmp/x"].iter().chain(arguments);
        match parse(arguments).unwrap() {
            Invocation::Drops { last, follow, json, run_dir } => {
                assert_eq!(run_dir, "/tmp/x");
                (last, follow, json)
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(read(&[]), (100, false, false));
    assert_eq!(read(&["-f", "-n", "5", "-o", "json"]), (5, true, true));
    assert_eq!(read(&["--follow", "--last=0", "--output=text"]), (0, true, false));
    for wrong in ["--last=many", "--output=xml", "web"] {
        assert!(parse(["routerd", "drops", wrong]).is_err(), "{wrong}");
    }
}

#[test]
fn help_lists_every_flag_with_its_default() {
    let Invocation::Print(help) = parse(["routerd", "--help"]).unwrap() else { panic!("help") };
    for flag in flags() {
        assert!(help.contains(&format!("--{}", flag.name)), "{}", flag.name);
    }
    assert!(help.contains("[default: 20244]"));
}

/// `ROUTERD_WRITE_DOCS=1` writes the document instead of comparing.
#[test]
fn the_document_of_flags_is_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/flags.md");
    if std::env::var_os("ROUTERD_WRITE_DOCS").is_some() {
        std::fs::write(path, docs::markdown()).unwrap();
    }
    assert_eq!(
        std::fs::read_to_string(path).unwrap(),
        docs::markdown(),
        "see the first lines of docs/flags.md"
    );
}
