//! The speaker against routers that many networks trust: BIRD 2, FRR 8 and GoBGP 3, each in a namespace of its own.
//!
//! What is shown with whom. Routes of both families go over each session; 4 and 6 say what the session itself runs over. A
//! `-` is what the router of Debian 12 (BIRD 2.0.12, FRR 8.4.4, GoBGP 3.10) does not have.
//!
//! | | BIRD | FRR | GoBGP | where |
//! | --- | --- | --- | --- | --- |
//! | both families, refresh, communities of all kinds, withdrawal, death and return | 4, 6 | 4, 6 | 4, 6 | `exchange` |
//! | IPv4 with IPv6 next hops (RFC 8950) | 6 | 6 | - (only over interfaces without an address) | `exchange` |
//! | rules for what goes out and comes in, changed live | 4 | 4, 6 | 4 | `borders` |
//! | equal routes of two routers | 4 | | 4 | `borders` |
//! | reflection (RFC 4456): they are our clients | 4 | 4 | 4 | `reflection` |
//! | reflection: we are theirs | | 4 | 4 | `reflection` |
//! | passwords (RFC 2385), GTSM (RFC 5082) | 4, 6 | 6 | 4 | `protected` |
//! | eBGP multihop | 4 | 4 | | `protected` |
//! | graceful restart (RFC 4724): we restart | 4 | 6 | 4 | `graceful` |
//! | graceful restart: they restart | 6 | 4 | 4 | `graceful` |
//! | long-lived (RFC 9494), both roles | 4 | 4 | 4 | `graceful` |
//! | N bit and Hard Reset (RFC 8538) | - | 4 | 4 | `graceful` |
//! | their shutdown text (RFC 9003) | 6 | 4 | 4 | `ends` |
//! | ours, and the end by BFD | 4 | 4 | | `ends` |
//! | maximum prefixes, half-open TCP, junk | 4 | 4 | 4 | `ends` |
//! | a router that hangs, a cut cable: hold time | 4 | 6 | 4 | `ends` |
//! | BFD (RFC 5880) | 4, 6 | 4, 6 | - | `../bfd` |
#![expect(clippy::disallowed_methods, reason = "other routers are the other end of the sessions")]
#![expect(clippy::unwrap_used, clippy::panic, reason = "a panic is how a test fails")]
#![expect(clippy::format_push_string, reason = "configurations of routers are text")]
#![expect(unreachable_pub, reason = "tests are for no other crate")]

mod borders;
mod ends;
mod exchange;
mod graceful;
mod kit;
mod protected;
mod recorded;
mod reflection;
mod signed;
