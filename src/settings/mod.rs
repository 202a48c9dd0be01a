//! Flags, environment and files, each value with its origin. Nothing else in the house reads them.
//!
//! The functions take what they judge ([`Surroundings`] and the arguments), so that tests need no process of their own;
//! [`Surroundings::of_process`] is the one place that looks at the real ones. `client` reads files: the CLI's contexts and
//! tokens.

pub mod client;
mod complaint;
mod containers;
mod desk;
pub mod mcpd;
mod remote;
mod value;

use std::ffi::OsString;
use std::path::PathBuf;

pub use client::{ClientFlags, ClientSettings};
pub use complaint::Complaint;
pub use containers::{ContainerAccess, ContainerSettings};
pub use mcpd::{LogFormat, McpdSettings, RuntimeKind};
pub use remote::{RemoteSettings, RepoKind, RepoToken, RepoUrl};
pub use value::{parse_address, parse_duration};

/// What a program finds around it.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// The environment variables.
    pub environment: Vec<(OsString, OsString)>,
    /// The current folder, as an absolute path.
    pub folder: PathBuf,
    /// Whether the program runs as root.
    pub is_root: bool,
    /// The user that the program runs as: the effective user id.
    pub user: u32,
}

impl Surroundings {
    /// Those of this process.
    ///
    /// # Errors
    /// The current folder is gone.
    pub fn of_process() -> std::io::Result<Self> {
        let user = rustix::process::geteuid();
        Ok(Self {
            environment: std::env::vars_os().collect(),
            folder: std::env::current_dir()?,
            is_root: user.is_root(),
            user: user.as_raw(),
        })
    }

    /// A variable that is set; an empty one counts as not set.
    fn variable(&self, name: &str) -> Option<&OsString> {
        let found = self.environment.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value).filter(|value| !value.is_empty())
    }

    /// A variable as text.
    fn text(&self, name: &str) -> Result<Option<String>, SettingsError> {
        let text = |value: &OsString| value.to_str().map(str::to_owned);
        self.variable(name)
            .map(|value| text(value).ok_or_else(|| SettingsError::NotText(name.to_owned())))
            .transpose()
    }

    /// A folder below the home folder that a variable of the XDG base directories may move.
    fn base_folder(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let moved = self
            .variable(variable)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        moved.or_else(|| self.home().map(|home| home.join(below_home)))
    }

    fn home(&self) -> Option<PathBuf> {
        self.variable("HOME").map(PathBuf::from)
    }
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A flag, as `--listen`.
    Flag(String),
    /// An environment variable, as `MCPD_LISTEN`.
    Environment(String),
    /// A file, and what of it.
    File(String),
    /// Nobody said anything.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "flag {flag}"),
            Self::Environment(_) => f.write_str("environment"),
            Self::File(file) => f.write_str(file),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One setting as it was resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The variable's name, as `MCPD_LISTEN`; nothing where there is only a flag.
    pub name: &'static str,
    /// The flag, as `--listen`.
    pub flag: &'static str,
    /// The value, as text; empty where there is none.
    pub value: String,
    /// Where it comes from.
    pub origin: Origin,
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Help or the version was asked for: clap says it best.
    #[error(transparent)]
    Usage(#[from] clap::Error),
    /// The command line can't be read.
    #[error("{}", .0.problem)]
    Words(Complaint),
    /// A variable is not UTF-8.
    #[error("{0} is not valid UTF-8")]
    NotText(String),
    /// A value is not usable.
    #[error("{named}: {problem}")]
    Value {
        /// The flag, variable or file that says it.
        named: String,
        /// What is wrong.
        problem: String,
        /// A way out.
        hint: Option<String>,
    },
    /// A file can't be read.
    #[error("can't read {}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not of the form that is asked for. What the parser says of it stays away: it quotes what it reads, tokens too.
    #[error("{}{place}: this can't be understood", .path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Where in the file, as `:3:5`; empty where that is not known.
        place: String,
    },
}

impl SettingsError {
    fn value(named: impl Into<String>, problem: impl Into<String>, hint: Option<&str>) -> Self {
        Self::Value {
            named: named.into(),
            problem: problem.into(),
            hint: hint.map(str::to_owned),
        }
    }

    /// A way out, where there is one.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Value { hint, .. } => hint.as_deref(),
            Self::Words(complaint) => complaint.hint.as_deref(),
            Self::Form { .. } => Some(client::FORM),
            Self::Usage(_) | Self::NotText(_) | Self::File { .. } => None,
        }
    }
}
