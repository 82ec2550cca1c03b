//! BIRD 2.

use super::router::{Router, Seen, Setup};
use super::{ASN, v4, v6, wait_for};

fn session(setup: &Setup, number: u8) -> String {
    let last = setup.kind.last();
    let mut options = String::new();
    let mut channel = String::new();
    if let Some(password) = setup.password {
        options += &format!("password \"{password}\"; ");
    }
    if setup.ttl_security {
        options += "ttl security on; ";
    }
    match setup.graceful {
        Some(time) => options += &format!("graceful restart on; graceful restart time {time}; "),
        None => options += "graceful restart off; ",
    }
    if let Some(time) = setup.long_lived {
        options += &format!("long lived graceful restart on; long lived stale time {time}; ");
    }
    if setup.reflector {
        options += "rr client; rr cluster id 192.0.2.250; ";
    }
    if setup.over_v6 {
        channel += "extended next hop on; ";
    }
    format!(
        "protocol bgp n{number} {{
            local {local} as {asn};
            neighbor {neighbour} as {ASN};
            strict bind yes; hold time 9; error wait time 1, 2; connect delay time 1; connect retry time 2; {options}
            ipv4 {{ {channel} import all; export all; next hop address {v4}; }};
            ipv6 {{ import all; export all; next hop address {v6}; }};
        }}\n",
        local = setup.address(),
        asn = setup.asn,
        neighbour = setup.side(number),
        v4 = if setup.reflector { "keep".to_owned() } else { v4(last).to_string() },
        v6 = if setup.reflector { "keep".to_owned() } else { v6(last).to_string() },
    )
    .replace("next hop address keep", "next hop keep")
}

fn config(setup: &Setup) -> String {
    let [p4, p6] = setup.prefixes();
    let last = setup.kind.last();
    let marks = format!(
        "bgp_community.add(({ASN},5)); bgp_large_community.add(({ASN},1,2)); bgp_ext_community.add((rt,{ASN},77));"
    );
    let hop =
        |address: String| if setup.reflector { format!("bgp_next_hop = {address};") } else { String::new() };
    let mut text = format!(
        "log stderr all;
        router id {id};
        protocol device {{}}
        protocol static s4 {{ ipv4; route {p4} blackhole {{ {marks} {h4} }}; }}
        protocol static s6 {{ ipv6; route {p6} blackhole {{ {marks} {h6} }}; }}\n",
        id = v4(last),
        h4 = hop(v4(last).to_string()),
        h6 = hop(v6(last).to_string()),
    );
    for number in &setup.neighbours {
        text += &session(setup, *number);
    }
    text
}

pub fn run(router: &mut Router) {
    std::fs::write(router.folder.path().join("bird.conf"), config(&router.setup)).unwrap();
    let _ = std::fs::remove_file(router.folder.path().join("log"));
    router.spawn("/usr/sbin/bird", &["-f", "-c", "bird.conf", "-s", "bird.ctl", "-P", "bird.pid"]);
    wait_for("BIRD's start", || {
        let log = router.log();
        assert!(!log.contains("syntax error"), "{log}");
        log.contains("Started")
    });
}

pub fn ask(router: &Router, words: &str) -> String {
    let mut arguments = vec!["-s", "bird.ctl"];
    arguments.extend(words.split(' '));
    router.command("/usr/sbin/birdc", &arguments)
}

fn numbers(text: &str) -> Vec<u32> {
    text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect()
}

pub fn seen(router: &Router, prefix: &str) -> Option<Seen> {
    let question = format!("show route all {prefix}");
    let known = ["Network not found", "Table "];
    let shown = router.answer(|| ask(router, &question), |said| known.iter().any(|one| said.contains(one)));
    let field = |name: &str| {
        let line = shown.lines().find_map(|line| line.trim().strip_prefix(&format!("BGP.{name}:")));
        line.map(|value| value.trim().to_owned())
    };
    let number = |name: &str| field(name).and_then(|value| value.parse().ok());
    let joined = |name: &str, length: usize| -> Vec<String> {
        let all = field(name).map(|value| numbers(&value)).unwrap_or_default();
        all.chunks(length).map(|one| one.iter().map(u32::to_string).collect::<Vec<_>>().join(":")).collect()
    };
    Some(Seen {
        next_hop: field("next_hop")?.split(' ').next().unwrap_or_default().to_owned(),
        as_path: field("as_path").map(|value| numbers(&value)).unwrap_or_default(),
        communities: joined("community", 2),
        large: joined("large_community", 3),
        extended: field("ext_community").and_then(|value| numbers(&value).last().copied()),
        local_pref: number("local_pref"),
        med: number("med"),
        originator: field("originator_id"),
        clusters: field("cluster_list")
            .map(|value| value.split(' ').map(str::to_owned).collect())
            .unwrap_or_default(),
    })
}
