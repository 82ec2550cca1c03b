//! Programs that run inside pods: a server that says its name and who asks, and clients that count.
//! They are part of the lab's own program, so a pod needs nothing else.

use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;

mod ask;
mod flood;
mod pulse;
mod serve;
mod stream;

pub use pulse::Pulse;
pub use stream::gap;

/// The tools.
#[derive(Debug, Subcommand)]
pub enum Tool {
    /// Answer every TCP connection and UDP datagram with `NAME CLIENT-ADDRESS`, and its number if the datagram is one.
    Serve {
        /// TCP ports.
        #[arg(long, value_delimiter = ',')]
        tcp: Vec<u16>,
        /// UDP ports.
        #[arg(long, value_delimiter = ',')]
        udp: Vec<u16>,
        /// The name to answer with.
        #[arg(long)]
        name: String,
    },
    /// Ask a server a number of times and print each answer on a line with its microseconds.
    Ask {
        /// Address and port.
        server: String,
        /// Ask by UDP.
        #[arg(long)]
        udp: bool,
        /// How often.
        #[arg(long, default_value_t = 1)]
        count: u32,
        /// How long an answer may take, in ms.
        #[arg(long, default_value_t = 1000)]
        timeout: u64,
        /// How many letters more than it needs a question by TCP has.
        #[arg(long, default_value_t = 0)]
        bytes: usize,
    },
    /// Send a numbered datagram every 10 ms and count those that nobody answers.
    Pulse {
        /// Address and port.
        server: std::net::SocketAddr,
    },
    /// Ask by TCP all the time and print a line whenever asking begins or ceases to be answered.
    Flood {
        /// Address and port.
        server: String,
        /// How long to wait for one answer, in ms.
        #[arg(long, default_value_t = 20)]
        timeout: u64,
    },
    /// Ask an HTTP server for a path and print the body.
    Fetch {
        /// Address and port.
        server: std::net::SocketAddr,
        /// The path.
        path: String,
    },
    /// Hold one TCP connection, send a line every 10 ms and print gaps and the end.
    Stream {
        /// Address and port.
        server: String,
        /// Ask an HTTP server for its name instead.
        #[arg(long)]
        http: bool,
    },
}

/// Runs a tool.
pub fn run(tool: &Tool) -> Result<()> {
    match tool {
        Tool::Serve { tcp, udp, name } => serve::serve(tcp, udp, name),
        Tool::Ask { server, udp, count, timeout, bytes } => {
            let (timeout, bytes) = (Duration::from_millis(*timeout), *bytes);
            ask::ask(server, ask::Manner { udp: *udp, count: *count, timeout, bytes })
        }
        Tool::Pulse { server } => pulse::pulse(*server),
        Tool::Flood { server, timeout } => flood::flood(server, Duration::from_millis(*timeout)),
        Tool::Fetch { server, path } => {
            println!("{}", crate::cluster::http::get(*server, path, Duration::from_secs(30))?);
            Ok(())
        }
        Tool::Stream { server, http } => stream::stream(server, *http),
    }
}

/// A question on a connection of its own, asked from this process's own network; the first line of the answer.
///
/// # Errors
/// What came in place of an answer.
pub fn answer(server: std::net::SocketAddr, timeout: Duration) -> Result<String> {
    ask::by_tcp(server, timeout, 0)
}

/// Asks from this process's own network; the microseconds and answers of those that came.
pub fn ask_here(server: std::net::SocketAddr, count: u32) -> Vec<(u64, String)> {
    let mut answers = Vec::new();
    for _ in 0..count {
        let begin = std::time::Instant::now();
        if let Ok(answer) = ask::by_tcp(server, Duration::from_millis(300), 0) {
            let micros = u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX);
            answers.push((micros, answer.trim().to_owned()));
        }
    }
    answers
}
