//! The target `bgp_stream` of `bgp::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| routerd_fuzz::run("bgp_stream", data));
