//! The command line: made from the table, with the syntax of Go's pflag.

use std::ffi::OsString;

use clap::error::{ContextKind, ErrorKind};
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::kind::Kind;
use super::subcommands;
use super::table::{Effect, Flag, GROUPS, flags};
use super::values::Values;
use super::{ConfigErrors, FlagError};
use crate::explain::Question;

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Run the daemon.
    Run(Values),
    /// Remove everything this program made on the node.
    CleanUp {
        /// The folder of the daemon's sockets.
        run_dir: String,
        /// The first and the last node port.
        node_ports: (u16, u16),
    },
    /// Ask the running daemon for its status.
    Status {
        /// As JSON.
        json: bool,
        /// The folder of the daemon's sockets.
        run_dir: String,
    },
    /// Ask the running daemon for refused packets.
    Drops {
        /// How many of the last ones.
        last: usize,
        /// And all that come.
        follow: bool,
        /// As JSON, one each line.
        json: bool,
        /// The folder of the daemon's sockets.
        run_dir: String,
    },
    /// Ask the running daemon why a packet is admitted or refused.
    Explain {
        /// The question.
        question: Question,
        /// As JSON.
        json: bool,
        /// The folder of the daemon's sockets.
        run_dir: String,
    },
    /// Ask the running daemon if the kernel holds its policies.
    Verify {
        /// As JSON.
        json: bool,
        /// The folder of the daemon's sockets.
        run_dir: String,
    },
    /// Ask the running daemon about BGP.
    Bgp {
        /// The question.
        question: crate::advertise::admin::Question,
        /// As JSON.
        json: bool,
        /// The folder of the daemon's sockets.
        run_dir: String,
    },
    /// Print this text (help, version) and be done.
    Print(String),
}

/// The command, with every flag of the table.
pub fn command() -> Command {
    let status = Command::new("status")
        .about("Show the state of the running daemon")
        .arg(Arg::new("json").long("json").action(ArgAction::SetTrue).help("As JSON"));
    let mut command = Command::new("routerd")
        .about("The network of a Kubernetes node: pods, Services, NetworkPolicies, BGP")
        .disable_help_flag(true)
        .disable_help_subcommand(true)
        .disable_version_flag(true)
        .subcommand(status)
        .subcommand(drops())
        .subcommand(subcommands::bgp())
        .subcommand(subcommands::explain())
        .subcommand(subcommands::policy());
    for group in GROUPS {
        for flag in group.flags {
            command = command.arg(argument(flag).help_heading(group.title));
        }
    }
    command
}

fn drops() -> Command {
    let last = Arg::new("last").long("last").short('n').value_parser(clap::value_parser!(usize));
    let output = Arg::new("output").long("output").short('o').value_parser(["text", "json"]);
    let follow = Arg::new("follow").long("follow").short('f').action(ArgAction::SetTrue);
    Command::new("drops")
        .about("Show packets that policies refused: pod, direction, peer, port and why")
        .arg(follow.help("Go on with those that come"))
        .arg(last.default_value("100").help("So many of the last ones (the daemon keeps about a thousand)"))
        .arg(output.default_value("text").help("As text, or as JSON with one packet a line"))
}

fn argument(flag: &'static Flag) -> Arg {
    // Everything may be repeated: a list grows, of a single value the last one counts, as in pflag.
    let mut arg = Arg::new(flag.name)
        .long(flag.name)
        .action(ArgAction::Append)
        .allow_hyphen_values(true)
        .value_name(flag.kind.name())
        .help(help_text(flag));
    if flag.kind == Kind::Bool {
        arg = arg.num_args(0..=1).require_equals(true).default_missing_value("true");
    } else {
        arg = arg.num_args(1);
    }
    match flag.name {
        "v" => arg.short('v'),
        "help" => arg.short('h').global(true),
        "version" => arg.short('V'),
        "run-dir" => arg.global(true),
        _ => arg,
    }
}

fn help_text(flag: &Flag) -> String {
    let default = match flag.default {
        "" => String::new(),
        default => format!(" [default: {default}]"),
    };
    let effect = match flag.effect {
        Effect::Works => String::new(),
        Effect::NotYet => " [without effect yet]".to_owned(),
        Effect::Never(why) => format!(" [without effect: {why}]"),
    };
    format!("{}{default}{effect}", flag.help)
}

/// Reads a command line, the program's name first.
pub fn parse<I, T>(arguments: I) -> Result<Invocation, ConfigErrors>
where
    I: IntoIterator<Item = T>,
    T: Into<OsString> + Clone,
{
    let mut command = command();
    let matches = command.try_get_matches_from_mut(arguments).map_err(|error| usage_error(&error))?;
    let values = read(&matches)?;
    if values.bool("help")? {
        let asked = matches.subcommand_name().and_then(|name| command.find_subcommand_mut(name));
        let help = asked.map(|asked| asked.render_help().to_string());
        return Ok(Invocation::Print(help.unwrap_or_else(|| command.render_help().to_string())));
    }
    if values.bool("version")? {
        return Ok(Invocation::Print(format!("routerd {}\n", env!("CARGO_PKG_VERSION"))));
    }
    if let Some(asked) = subcommands::read(&matches, &values.text("run-dir")?) {
        return asked;
    }
    match matches.subcommand() {
        Some(("drops", drops)) => Ok(Invocation::Drops {
            last: drops.get_one("last").copied().unwrap_or_default(),
            follow: drops.get_flag("follow"),
            json: drops.get_one::<String>("output").is_some_and(|output| output == "json"),
            run_dir: values.text("run-dir")?,
        }),
        Some((_, status)) => {
            Ok(Invocation::Status { json: status.get_flag("json"), run_dir: values.text("run-dir")? })
        }
        None if values.bool("cleanup-config")? => {
            let node_ports = values.port_range("service-node-port-range")?;
            Ok(Invocation::CleanUp { run_dir: values.text("run-dir")?, node_ports })
        }
        None => Ok(Invocation::Run(values)),
    }
}

fn read(matches: &ArgMatches) -> Result<Values, ConfigErrors> {
    let mut values = Values::default();
    let mut errors = Vec::new();
    for flag in flags() {
        let given: Option<Vec<&String>> = matches.get_many::<String>(flag.name).map(Iterator::collect);
        errors.extend(values.set(flag, given.as_deref()).err().into_iter().flatten());
    }
    if errors.is_empty() { Ok(values) } else { Err(ConfigErrors(errors)) }
}

fn usage_error(error: &clap::Error) -> ConfigErrors {
    let context = |kind| error.get(kind).map(ToString::to_string).unwrap_or_default();
    let stray = match error.kind() {
        ErrorKind::InvalidSubcommand => context(ContextKind::InvalidSubcommand),
        ErrorKind::UnknownArgument if !context(ContextKind::InvalidArg).starts_with('-') => {
            context(ContextKind::InvalidArg)
        }
        _ => {
            let text = error.render().to_string();
            let first = text.split("\n\nUsage").next().unwrap_or_default();
            let first = first.strip_prefix("error: ").unwrap_or(first);
            return ConfigErrors(vec![FlagError::Usage(first.replace("\n\n", "; ").replace('\n', " "))]);
        }
    };
    ConfigErrors(vec![FlagError::Stray { argument: stray }])
}
