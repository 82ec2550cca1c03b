//! Every input that a fuzzer began with or once ended badly with, and some neighbours of it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cni_plugin::fuzzing::TARGETS;

fn seeds(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds").join(target);
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn every_target_has_a_program_and_seeds() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    let programs: BTreeSet<&str> = manifest
        .lines()
        .filter_map(|line| line.strip_prefix("path = \"fuzz_targets/")?.strip_suffix(".rs\""))
        .collect();
    // Those of the installer and of the BGP speaker are in their crates, with tests of their own of this kind.
    let of_others = ["install", "bgp_open", "bgp_stream", "bgp_update"];
    assert_eq!(programs, TARGETS.iter().map(|(name, _)| *name).chain(of_others).collect());
}

#[test]
fn every_seed_and_what_is_left_of_it_when_it_is_cut_or_damaged_is_judged() {
    for (name, target) in TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "{name}");
        for seed in seeds {
            let whole = fs::read(&seed).unwrap();
            target(&whole);
            for at in 0..whole.len() {
                target(&whole[..at]);
                for replacement in [0, b'"', b'9', 0xff] {
                    let mut damaged = whole.clone();
                    damaged[at] = replacement;
                    target(&damaged);
                }
            }
        }
    }
}
