//! Every configuration that a fuzzer began with or once ended badly with, and some neighbours of it.

use std::fs;
use std::path::Path;

use init::conflist::fuzzing::install;

#[test]
fn every_seed_and_what_is_left_of_it_when_it_is_cut_or_damaged_is_judged() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds/install");
    let mut number = 0;
    for seed in fs::read_dir(seeds).unwrap() {
        let whole = fs::read(seed.unwrap().path()).unwrap();
        install(&whole);
        for at in 0..whole.len() {
            install(&whole[..at]);
            for replacement in [0, b'"', b'9', 0xff] {
                let mut damaged = whole.clone();
                damaged[at] = replacement;
                install(&damaged);
            }
        }
        number += 1;
    }
    assert!(number > 0);
}
