//! The target `bgp_open` of `bgp::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| routerd_fuzz::run("bgp_open", data));
