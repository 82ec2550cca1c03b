//! The target `bgp_update` of `bgp::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| routerd_fuzz::run("bgp_update", data));
