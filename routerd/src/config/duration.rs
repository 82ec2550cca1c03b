//! Durations as Go writes them: `300ms`, `1.5h`, `5m0s`.

use std::fmt::Write as _;
use std::time::Duration;

const UNITS: [(&str, f64); 8] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("μs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
];

/// Reads a duration: numbers, each with a unit; `0` needs none.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || "it is not a duration (numbers with a unit: ms, s, m, h)".to_owned();
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err(wrong());
    }
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        seconds += number * factor;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).map_err(|_| wrong())
}

/// Writes a duration as Go does: `1h30m0s`, `90s` as `1m30s`, `500ms`.
pub(crate) fn format(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds == 0 {
        let millis = duration.as_millis();
        return if millis == 0 { "0s".to_owned() } else { format!("{millis}ms") };
    }
    let mut text = String::new();
    let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    // Writing to a String does not fail.
    if hours > 0 {
        let _ = write!(text, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(text, "{minutes}m");
    }
    let _ = match duration.subsec_millis() {
        0 => write!(text, "{rest}s"),
        millis => write!(text, "{rest}.{millis:03}s"),
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go_are_read_and_written() {
        for (text, millis, written) in [
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("300ms", 300, "300ms"),
            ("90s", 90_000, "1m30s"),
            ("5m0s", 300_000, "5m0s"),
            ("1h", 3_600_000, "1h0m0s"),
            ("1.5h", 5_400_000, "1h30m0s"),
            ("1m30.250s", 90_250, "1m30.250s"),
        ] {
            let value = parse(text).unwrap();
            assert_eq!(value, Duration::from_millis(millis), "{text}");
            assert_eq!(format(value), written);
            assert_eq!(parse(&format(value)).unwrap(), value);
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "5", "5x", "s", "-5s", "1.2.3s", "5 s", "1e400h", "99999999999999999999999h"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
