//! routerd.
fn main() {}
