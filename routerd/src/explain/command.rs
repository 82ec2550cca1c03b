//! The commands `routerd explain` and `routerd policy verify`.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::answer::Answer;
use super::question::Question;
use super::text;
use super::verify::{self, Comparison};
use crate::admin::client;

/// The exit status of "no": refused, or different.
const NO: u8 = 1;
/// The exit status if there is no answer.
const NO_ANSWER: u8 = 2;

/// Asks the daemon at the socket and prints its answer: 0 admitted, 1 refused, 2 no answer.
pub fn explain(socket: &Path, question: &Question, json: bool) -> ExitCode {
    let asked = serde_json::to_string(question).map_err(|error| error.to_string());
    let answer = asked.and_then(|asked| ask::<Answer>(socket, &format!("explain {asked}")));
    print(answer, json, |answer| answer.admitted, text::render)
}

/// Asks the daemon at the socket to compare and prints the outcome: 0 equal, 1 different, 2 no answer.
pub fn verify(socket: &Path, json: bool) -> ExitCode {
    print(ask::<Comparison>(socket, "verify"), json, |comparison| comparison.equal, verify::render)
}

fn ask<T: DeserializeOwned>(socket: &Path, question: &str) -> Result<T, String> {
    let answer = client::question(socket, question).map_err(|error| error.to_string())?;
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        return Err(error.to_owned());
    }
    serde_json::from_value(answer).map_err(|error| {
        format!("the answer is not understood: {error}; do client and daemon have the same version?")
    })
}

fn print<T: Serialize>(
    answer: Result<T, String>,
    json: bool,
    is_yes: impl Fn(&T) -> bool,
    render: impl Fn(&T) -> String,
) -> ExitCode {
    let written = answer.and_then(|answer| {
        let text = if json {
            serde_json::to_string_pretty(&answer).map_err(|error| error.to_string())? + "\n"
        } else {
            render(&answer)
        };
        // A reader that has seen enough, as `head`, does not change the answer.
        let _ = std::io::stdout().write_all(text.as_bytes());
        Ok(is_yes(&answer))
    });
    match written {
        Ok(yes) => ExitCode::from(if yes { 0 } else { NO }),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(NO_ANSWER)
        }
    }
}
