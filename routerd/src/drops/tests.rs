//! Placeholder until the tests are there.
