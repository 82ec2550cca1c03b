//! How long one waits for many things on a machine that may have other things to do.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often one looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Waits until `done` counts `all`. A slow machine has as long as it needs, while it gets on: it fails only when nothing more
/// was done for `quiet`.
pub(super) fn until_all(
    what: &str,
    all: usize,
    quiet: Duration,
    mut done: impl FnMut() -> Result<usize>,
) -> Result<()> {
    let (mut most, mut moved) = (0, Instant::now());
    loop {
        let counted = done();
        match counted {
            Ok(count) if count >= all => return Ok(()),
            Ok(count) if count > most => (most, moved) = (count, Instant::now()),
            _ => {}
        }
        if moved.elapsed() >= quiet {
            let error = counted.err().map(|error| format!(": {error:#}")).unwrap_or_default();
            bail!("{what}: {most} of {all}, and no more for {} s{error}", quiet.as_secs());
        }
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_gets_on_is_waited_for_and_what_stands_still_is_not() {
        let mut count = 0;
        let quiet = Duration::from_mins(1);
        until_all("x", 3, quiet, || {
            count += 1;
            Ok(count)
        })
        .unwrap();
        let error = until_all("x", 3, Duration::ZERO, || bail!("it is away")).unwrap_err().to_string();
        assert!(error.contains("0 of 3") && error.contains("it is away"), "{error}");
    }
}
