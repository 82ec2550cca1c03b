//! Which of Kubernetes' tests belong together, and which of them are run.

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use regex_lite::Regex;
use serde::{Deserialize, Serialize};

/// A group of tests, by the name on the command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// NetworkPolicy: `Netpol` of the network tests.
    Netpol,
    /// Services: all conformance tests of the network, and those of Services that need no cloud.
    Services,
    /// Pods and Services of two families, in a cluster that has both.
    DualStack,
}

/// What is known of a group.
struct Traits {
    /// Its name on the command line, and of its folder.
    name: &'static str,
    /// What the full names of its tests have in common.
    focus: &'static str,
    /// Tests that a cluster of the lab cannot run whatever its network is: what their names have in common, and why.
    cannot: &'static [(&'static str, &'static str)],
    /// What an operator says to routerd for them.
    flags: &'static [&'static str],
    /// Whether pods must resolve names of the cluster.
    names: bool,
    /// Whether nodes, pods and Services have addresses of both families.
    dual_stack: bool,
}

const NETPOL: Traits = Traits {
    name: "netpol",
    focus: r"^\[sig-network\] Netpol ",
    cannot: &[],
    flags: &[],
    names: false,
    dual_stack: false,
};

const SERVICES: Traits = Traits {
    name: "services",
    focus: concat!(
        r"^\[sig-network\] (?:.*\[Conformance\]|Services |Service CIDRs |Networking Granular Checks: Services |",
        r"Traffic Distribution |Topology Hints |Conntrack |Connectivity Pod Lifecycle |LoadBalancers |KubeProxy |",
        r"NoSNAT |\[Feature:IPv6DualStack\] )"
    ),
    cannot: &[
        (r"^\[sig-network\] LoadBalancers ", "needs a cloud that makes load balancers"),
        (r"\[Disruptive\]", "restarts kube-proxy or the API server on nodes by SSH"),
        (r"^\[sig-network\] KubeProxy ", "looks into kube-proxy itself"),
        (r"\[Feature:IPv6DualStack\]", "this cluster has one family: `cargo lab conformance dual-stack`"),
    ],
    // Addresses from outside that a Service names are served where the operator has named their range.
    flags: &["--service-external-ip-range=203.0.113.0/24"],
    names: true,
    dual_stack: false,
};

const DUAL_STACK: Traits = Traits {
    name: "dual-stack",
    focus: r"^\[sig-network\] \[Feature:IPv6DualStack\] ",
    cannot: &[],
    flags: &[],
    names: true,
    dual_stack: true,
};

/// A test of the group, and what is done with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Case {
    /// Its full name.
    pub(super) name: String,
    /// Why it is not run, if it is not.
    pub(super) left_out: Option<String>,
}

impl Group {
    /// Its name on the command line.
    pub(super) fn name(self) -> &'static str {
        self.traits().name
    }

    /// Does a run need the cluster's DNS and other programs of the tests of Services?
    pub(super) const fn needs_names(self) -> bool {
        self.traits().names
    }

    /// Does its cluster have addresses of both families?
    pub(super) const fn is_dual_stack(self) -> bool {
        self.traits().dual_stack
    }

    /// What routerd is told beside what the manifest says.
    pub(super) fn flags(self) -> Vec<String> {
        self.traits().flags.iter().map(|flag| (*flag).to_owned()).collect()
    }

    const fn traits(self) -> &'static Traits {
        match self {
            Self::Netpol => &NETPOL,
            Self::Services => &SERVICES,
            Self::DualStack => &DUAL_STACK,
        }
    }

    /// The group's tests among all, narrowed by what the user asked for.
    pub(super) fn choose(self, all: &[String], focus: Option<&str>, skip: Option<&str>) -> Result<Vec<Case>> {
        choose(self.traits(), all, focus, skip)
    }
}

fn choose(group: &Traits, all: &[String], focus: Option<&str>, skip: Option<&str>) -> Result<Vec<Case>> {
    let belongs = compile(group.focus)?;
    let (focus, skip) = (focus.map(compile).transpose()?, skip.map(compile).transpose()?);
    let cannot: Vec<(Regex, &str)> =
        group.cannot.iter().map(|(text, why)| Ok((compile(text)?, *why))).collect::<Result<_>>()?;
    let wanted = |name: &&String| belongs.is_match(name) && focus.as_ref().is_none_or(|re| re.is_match(name));
    let case = |name: &String| {
        let asked =
            skip.as_ref().filter(|re| re.is_match(name)).map(|re| format!("asked for by --skip {re}"));
        let known = || cannot.iter().find(|(re, _)| re.is_match(name)).map(|(_, why)| (*why).to_owned());
        Case { name: name.clone(), left_out: asked.or_else(known) }
    };
    let mut cases: Vec<Case> = all.iter().filter(wanted).map(case).collect();
    cases.sort_by(|one, other| one.name.cmp(&other.name));
    if cases.is_empty() {
        bail!("no test of the group {} has a name that --focus matches", group.name);
    }
    Ok(cases)
}

fn compile(text: &str) -> Result<Regex> {
    Regex::new(text).with_context(|| format!("{text:?} is no regular expression"))
}

/// What matches these names and no other, for ginkgo: it looks at the suite's description and a test's name together.
pub(super) fn exactly(suite: &str, names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| regex_lite::escape(name)).collect();
    format!("^{} (?:{})$", regex_lite::escape(suite), names.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Traits = Traits {
        name: "g",
        focus: r"^\[sig-a\] ",
        cannot: &[("cloud", "no cloud")],
        flags: &[],
        names: false,
        dual_stack: false,
    };

    fn names(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn a_test_that_is_left_out_says_why_and_one_of_another_group_is_not_shown() {
        let all = names(&["[sig-a] two", "[sig-a] one (slow)", "[sig-b] one", "[sig-a] in the cloud"]);
        let cases = choose(&GROUP, &all, None, Some("slow")).unwrap();
        let told: Vec<(&str, Option<&str>)> =
            cases.iter().map(|case| (case.name.as_str(), case.left_out.as_deref())).collect();
        assert_eq!(
            told,
            [
                ("[sig-a] in the cloud", Some("no cloud")),
                ("[sig-a] one (slow)", Some("asked for by --skip slow")),
                ("[sig-a] two", None)
            ]
        );
    }

    #[test]
    fn a_focus_narrows_and_one_that_matches_nothing_is_an_error() {
        let all = names(&["[sig-a] two", "[sig-a] one", "[sig-b] one"]);
        assert_eq!(choose(&GROUP, &all, Some("one"), None).unwrap().len(), 1);
        assert!(choose(&GROUP, &all, Some("three"), None).unwrap_err().to_string().contains("--focus"));
        assert!(choose(&GROUP, &all, Some("("), None).is_err());
    }

    #[test]
    fn the_pattern_for_ginkgo_matches_the_names_alone() {
        let pattern = Regex::new(&exactly("A suite", &["[sig-a] one.", "two"])).unwrap();
        assert!(pattern.is_match("A suite [sig-a] one.") && pattern.is_match("A suite two"));
        assert!(!pattern.is_match("A suite [sig-a] one. more") && !pattern.is_match("A suite [sig-a] onex"));
    }
}
