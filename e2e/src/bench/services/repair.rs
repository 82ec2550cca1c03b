//! Somebody else deletes what a program has in IPVS.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::cold::Running;
use super::objects::{TARGET, endpoint, vip};
use crate::process::{capture, command};

/// A program that has not put it back by then will not.
const LIMIT: Duration = Duration::from_mins(1);
const PACE: Duration = Duration::from_millis(10);

/// Deletes a backend of a Service by its number with `ipvsadm`; how long it is gone.
pub(super) fn backend(running: &Running, service: usize) -> Result<Duration> {
    let (address, backend) = (vip(service).to_string(), format!("{}:{TARGET}", endpoint(2 * service)));
    running.world.inside(|| {
        capture(command("ipvsadm").args(["-d", "-t", &address, "-r", &backend]))?;
        let begin = Instant::now();
        while !capture(command("ipvsadm").args(["-L", "-n", "-t", &address]))?.contains(&backend) {
            ensure!(begin.elapsed() < LIMIT, "the backend {backend} of {address} does not come back");
            std::thread::sleep(PACE);
        }
        Ok(begin.elapsed())
    })
}
