//! The speaker against routers that many networks trust: BIRD 2, FRR 8 and GoBGP 3, each in a namespace of its own.
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
