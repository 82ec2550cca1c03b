//! The one table of flags: the command line, `--help` and `docs/flags.md` all come from it.

mod bgp;
mod node;
mod observe;
mod pods;
mod policy;
mod services;

use super::kind::Kind;

/// What a flag does today.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// It does what its help says.
    Works,
    /// It is read and checked and has no effect yet; set to another value than its default it is warned about.
    NotYet,
    /// It is read and has no effect by design; the text says why.
    Never(&'static str),
}

/// One flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag {
    /// Its name without the dashes.
    pub name: &'static str,
    /// The values it takes.
    pub kind: Kind,
    /// Its default, as it would be typed.
    pub default: &'static str,
    /// What it does today.
    pub effect: Effect,
    /// What it is for, in one sentence.
    pub help: &'static str,
    /// True if kube-router 2.11 has it; ours otherwise.
    pub of_kube_router: bool,
}

/// Flags that belong together.
#[derive(Debug, Clone, Copy)]
pub struct Group {
    /// The heading.
    pub title: &'static str,
    /// The flags, in the order in which they are listed.
    pub flags: &'static [Flag],
}

/// Every flag there is, in the order in which `--help` shows them.
pub const GROUPS: [Group; 6] =
    [node::GROUP, pods::GROUP, bgp::GROUP, services::GROUP, policy::GROUP, observe::GROUP];

/// Every flag there is.
pub fn flags() -> impl Iterator<Item = &'static Flag> {
    GROUPS.iter().flat_map(|group| group.flags)
}

/// The flag called `name`.
pub fn find(name: &str) -> Option<&'static Flag> {
    flags().find(|flag| flag.name == name)
}

const fn flag(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    effect: Effect,
    help: &'static str,
) -> Flag {
    Flag { name, kind, default, effect, help, of_kube_router: true }
}

const fn own(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Flag {
    Flag { name, kind, default, effect: Effect::Works, help, of_kube_router: false }
}

/// Milliseconds of a day, more than any period makes sense with.
const DAY: u64 = 86_400_000;
