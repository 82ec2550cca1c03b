//! What policies do to real packets, compared with an oracle that was written from the API's documentation alone.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests: a panic is how a test fails")]

mod bite;
mod cases;
mod cluster;
mod flows;
mod icmp;
mod life;
mod net;
mod oracle;
mod packet;
mod plane;
mod probe;
mod random;
mod scene;
mod services;
mod truth;
