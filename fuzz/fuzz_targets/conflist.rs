//! The target `conflist` of `cni_plugin::fuzzing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| routerd_fuzz::run("conflist", data));
