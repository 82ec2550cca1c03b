//! The commands that ask the running daemon about policies and BGP.

use clap::{Arg, ArgMatches, Command};

use super::command::Invocation;
use super::{ConfigErrors, FlagError};
use crate::advertise::admin::Question as BgpQuestion;
use crate::explain::Question;

/// `routerd explain`.
pub(super) fn explain() -> Command {
    let argument = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    let about = "Say which policy admits packets, or why none does; ends with 0 if they are admitted, 1 if refused, 2 \
                 if it cannot be told";
    let to = "Who receives: namespace/pod, an address, or svc/namespace/name for every backend of a Service";
    with_output(Command::new("explain").about(about))
        .arg(argument("from", "WHO", "Who sends: namespace/pod or an address"))
        .arg(argument("to", "WHO", to))
        .arg(argument("port", "NUMBER", "The port that is dialled"))
        .arg(argument("protocol", "NAME", "tcp, udp or sctp").default_value("tcp"))
}

/// `routerd policy`.
pub(super) fn policy() -> Command {
    let about = "Compare the policies with the rules in the kernel; ends with 0 if they are equal, 1 if not, 2 if it \
                 cannot be told";
    let verify = with_output(Command::new("verify").about(about));
    Command::new("policy").about("Questions about policies").subcommand(verify)
}

/// `routerd bgp`.
pub(super) fn bgp() -> Command {
    let about = "Ask what BGP knows; ends with 0 if there is an answer";
    let question = |name: &'static str, about: &'static str| with_output(Command::new(name).about(about));
    Command::new("bgp")
        .about(about)
        .subcommand(question("neighbors", "The peers and their sessions"))
        .subcommand(question("rib", "All routes, with every path"))
        .subcommand(
            question("advertised", "What a peer has been told")
                .arg(Arg::new("WHICH").value_name("PEER").help("The peer's address")),
        )
        .subcommand(
            question("explain", "What becomes of a prefix, why, and who is told of it")
                .arg(Arg::new("WHICH").value_name("PREFIX").help("A prefix or an address")),
        )
}

fn bgp_question(asked: &ArgMatches) -> Result<(BgpQuestion, bool), String> {
    let (name, asked) =
        asked.subcommand().ok_or_else(|| BgpQuestion::parse(&[]).err().unwrap_or_default())?;
    let which = asked.try_get_one::<String>("WHICH").ok().flatten();
    let words: Vec<&str> = std::iter::once(name).chain(which.map(String::as_str)).collect();
    Ok((BgpQuestion::parse(&words)?, is_json(asked)))
}

fn with_output(command: Command) -> Command {
    let output = Arg::new("output").long("output").short('o').value_parser(["text", "json"]);
    command.arg(output.default_value("text").help("As text or as JSON"))
}

/// What one of them asks for; `None` if it is another command.
pub(super) fn read(matches: &ArgMatches, run_dir: &str) -> Option<Result<Invocation, ConfigErrors>> {
    let run_dir = run_dir.to_owned();
    let invocation = match matches.subcommand()? {
        ("explain", asked) => {
            question(asked).map(|question| Invocation::Explain { question, json: is_json(asked), run_dir })
        }
        ("bgp", asked) => {
            bgp_question(asked).map(|(question, json)| Invocation::Bgp { question, json, run_dir })
        }
        ("policy", asked) => match asked.subcommand() {
            Some((_, verify)) => Ok(Invocation::Verify { json: is_json(verify), run_dir }),
            None => Err("write `routerd policy verify`".to_owned()),
        },
        _ => return None,
    };
    Some(invocation.map_err(|wrong| ConfigErrors(vec![FlagError::Usage(wrong)])))
}

/// The question of `routerd explain`. Its flags are not marked as required, because `--help` needs none of them.
fn question(asked: &ArgMatches) -> Result<Question, String> {
    let value = |name: &str| {
        let given = asked.get_one::<String>(name).map(String::as_str);
        given.ok_or_else(|| format!("--{name} is missing: routerd explain --from WHO --to WHO --port NUMBER"))
    };
    Question::parse(value("from")?, value("to")?, value("port")?, value("protocol")?)
}

fn is_json(matches: &ArgMatches) -> bool {
    matches.get_one::<String>("output").is_some_and(|output| output == "json")
}
