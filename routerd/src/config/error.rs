//! What can be wrong with a command line.

use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// An unknown flag, or a flag without its value.
    #[error("{0}")]
    Usage(String),
    /// An argument that belongs to no flag.
    #[error(
        "stray argument {argument:?}: only flags and the commands that --help names are allowed; a true or false is given as --flag=false"
    )]
    Stray {
        /// The argument.
        argument: String,
    },
    /// A value that is not allowed.
    #[error("--{flag}={value}: {reason}; allowed: {allowed}")]
    Value {
        /// The flag's name.
        flag: &'static str,
        /// The value as given.
        value: String,
        /// Why it is refused.
        reason: String,
        /// What is allowed.
        allowed: String,
    },
    /// Values that do not fit each other.
    #[error("{flags}: {message}")]
    Together {
        /// The flags with their values.
        flags: String,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// The program asks for a flag that its table does not have with this type: a mistake of the program.
    #[error("--{flag} is not in the table of flags with the type it is read with; this is a bug of routerd")]
    NotInTable {
        /// The flag's name.
        flag: String,
    },
}

/// Everything that is wrong with a command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<FlagError>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
