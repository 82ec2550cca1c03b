//! The target `prev_result` of `cni_plugin::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| routerd_fuzz::run("prev_result", data));
