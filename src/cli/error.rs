//! What can go wrong in a command, and the one desk that turns it into words and an exit code.

use std::path::PathBuf;

use crate::kit::{Diagnostic, count};
use crate::settings::SettingsError;
use crate::wire::ErrorBody;
use crate::wire::words::plain;

use super::terminal::diagnostic_lines;

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The words of the command make no sense together.
    #[error("{message}")]
    Usage {
        /// What is wrong.
        message: String,
        /// A way out.
        hint: Option<String>,
    },
    /// Nothing answers at mcpd's address.
    #[error("{url} can't be reached")]
    Unreachable {
        /// The address.
        url: String,
        /// Where the address comes from.
        origin: String,
        /// Why.
        #[source]
        cause: reqwest::Error,
    },
    /// mcpd took the request and did not answer in time.
    #[error("{url} did not answer in time")]
    Late {
        /// The address.
        url: String,
        /// Why.
        #[source]
        cause: reqwest::Error,
    },
    /// The conversation broke off.
    #[error("{url} broke off in the middle of its answer")]
    BrokenOff {
        /// The address.
        url: String,
        /// Why, where it is known.
        #[source]
        cause: Option<reqwest::Error>,
    },
    /// The answer is not one of mcpd's.
    #[error("{url} answered {status}, and not as mcpd does")]
    Foreign {
        /// The address.
        url: String,
        /// The status line.
        status: String,
        /// Where the address comes from.
        origin: String,
        /// What is wrong with the answer.
        cause: String,
    },
    /// mcpd refused.
    #[error("{}", plain(&body.detail))]
    Refused {
        /// The status code.
        status: u16,
        /// What mcpd says.
        body: ErrorBody,
        /// Whether a token went with the request, and from where.
        token: Option<String>,
    },
    /// The declarations that were given are wrong.
    #[error("{}", refusal(.0))]
    Invalid(Vec<Diagnostic>),
    /// What was asked for is not there.
    #[error("{0} does not exist")]
    Missing(String),
    /// A file can't be read.
    #[error("{} can't be read", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// A file can't be written.
    #[error("{} can't be written", path.display())]
    Written {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// There is nothing to do in what was given.
    #[error("{message}")]
    Given {
        /// What is wrong with it.
        message: String,
        /// A way out.
        hint: Option<String>,
    },
    /// The settings can't be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The address can't be used.
    #[error("{message}")]
    Address {
        /// What is wrong.
        message: String,
        /// A way out.
        hint: Option<String>,
    },
    /// The output can't be written (but for a closed pipe, which is no fault).
    #[error("the output can't be written")]
    Output(#[source] std::io::Error),
    /// The system gives no room to work in.
    #[error("mcpctl can't start its work")]
    Start(#[source] std::io::Error),
    /// What another room of the program reports.
    #[error("{}", plain(&.0.detail))]
    Elsewhere(ErrorBody),
    /// The repository can't be read or written.
    #[error("the repository can't be synchronised: {}", plain(.0))]
    Source(String),
}

/// `refused: 1 error in 1 file; nothing was changed`.
fn refusal(diagnostics: &[Diagnostic]) -> String {
    let files: std::collections::BTreeSet<&str> = diagnostics.iter().map(|d| d.file.as_str()).collect();
    format!(
        "{} in {}; nothing was changed",
        count(diagnostics.len(), "error"),
        count(files.len(), "file")
    )
}

impl Failure {
    /// A fault of the words given.
    pub fn usage(message: impl Into<String>, hint: impl Into<Option<String>>) -> Self {
        Self::Usage {
            message: message.into(),
            hint: hint.into(),
        }
    }

    /// 2 for a fault of the words, else 1.
    #[must_use]
    pub fn exit(&self) -> u8 {
        match self {
            Self::Usage { .. } | Self::Settings(SettingsError::Words(_)) => 2,
            // What a flag says wrong is a fault of the words; what a variable or a file says is not.
            Self::Settings(SettingsError::Value { named, .. }) if named.starts_with("--") => 2,
            _ => 1,
        }
    }

    /// The causes, outermost first.
    fn causes(&self) -> Vec<String> {
        if let Self::Foreign { cause, .. } = self {
            return vec![plain(cause)];
        }
        let mut causes: Vec<String> = vec![];
        let mut next = std::error::Error::source(self);
        while let Some(cause) = next {
            let text = plain(&cause.to_string());
            // Some libraries repeat the inner message in the outer one.
            if causes.last().is_none_or(|last| !last.contains(&text)) {
                causes.push(text);
            }
            next = cause.source();
        }
        if matches!(
            self,
            Self::Unreachable { .. } | Self::Late { .. } | Self::BrokenOff { .. }
        ) {
            // Of a chain of "error sending request: client error: …" the last link says what happened.
            causes.drain(..causes.len().saturating_sub(1));
        }
        causes
    }

    /// A way out.
    fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. } | Self::Given { hint, .. } | Self::Address { hint, .. } => hint.clone(),
            Self::Settings(error) => error.hint().map(str::to_owned),
            Self::Unreachable { origin, .. } => Some(format!(
                "start it with \"mcpctl dev DIR\" or \"mcpd\", or give its address by --url or MCPCTL_URL (this one: {origin})"
            )),
            Self::Foreign { origin, .. } => Some(format!("is this mcpd's address? it comes from {origin}")),
            Self::Refused { body, .. } if body.hint.is_some() => body.hint.clone(),
            Self::Refused {
                status: 401, token, ..
            } => Some(match token {
                None => "no token was sent: give --token or MCPCTL_TOKEN; mcpd's first start wrote one to admin.token in its data folder"
                    .to_owned(),
                Some(origin) => format!(
                    "the token from {origin} is not known there; mcpd's first start wrote one to admin.token in its data folder"
                ),
            }),
            Self::Elsewhere(body) => body.hint.clone(),
            Self::Source(_) => Some("\"mcpctl status\" shows where declarations come from".to_owned()),
            _ => None,
        }
    }

    fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Invalid(diagnostics) => diagnostics,
            Self::Refused { body, .. } | Self::Elsewhere(body) => &body.diagnostics,
            _ => &[],
        }
    }

    /// The failure as data, for `-o json`.
    #[must_use]
    pub fn body(&self) -> ErrorBody {
        let word = match self {
            Self::Usage { .. } => "usage",
            Self::Unreachable { .. } | Self::Late { .. } | Self::BrokenOff { .. } => "unreachable",
            Self::Foreign { .. } => "foreign",
            Self::Invalid(_) => "invalid",
            Self::Missing(_) => "not_found",
            Self::File { .. } | Self::Written { .. } | Self::Given { .. } => "input",
            Self::Settings(_) | Self::Address { .. } => "settings",
            Self::Output(_) | Self::Start(_) => "system",
            Self::Source(_) => "source",
            Self::Refused { body, .. } | Self::Elsewhere(body) => &body.error,
        };
        let mut detail = self.to_string();
        for cause in self.causes() {
            detail.push_str(": ");
            detail.push_str(&cause);
        }
        ErrorBody {
            error: word.to_owned(),
            detail,
            hint: self.hint(),
            diagnostics: self.diagnostics().to_vec(),
        }
    }

    /// The failure for people: diagnostics, one `error:` (or `refused:`) line, causes, a hint.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let diagnostics = self.diagnostics();
        let mut lines = diagnostic_lines(diagnostics);
        if diagnostics.is_empty() {
            lines.push(format!("error: {self}"));
        } else {
            lines.push(format!("refused: {}", refusal(diagnostics)));
        }
        lines.extend(self.causes().iter().map(|cause| format!("cause: {cause}")));
        lines.extend(self.hint().map(|hint| format!("hint: {}", plain(&hint))));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: ErrorBody, token: Option<&str>) -> Failure {
        Failure::Refused {
            status,
            body,
            token: token.map(str::to_owned),
        }
    }

    #[test]
    fn failures_have_words_and_codes() {
        let body = |detail: &str, hint: Option<&str>| ErrorBody {
            error: "conflict".into(),
            detail: detail.into(),
            hint: hint.map(str::to_owned),
            diagnostics: vec![],
        };
        for (failure, code, want) in [
            (
                Failure::usage("no such kind: \"x\"", Some("kinds are server, project".to_owned())),
                2,
                "error: no such kind: \"x\"\nhint: kinds are server, project",
            ),
            (
                refused(
                    409,
                    body("server/time is needed by project/demo\u{1b}[2J", Some("a\nb")),
                    None,
                ),
                1,
                "error: server/time is needed by project/demo [2J\nhint: a b",
            ),
            (
                Failure::File {
                    path: "a.yaml".into(),
                    cause: std::io::Error::other("no such file"),
                },
                1,
                "error: a.yaml can't be read\ncause: no such file",
            ),
            (Failure::Missing("server/x".into()), 1, "error: server/x does not exist"),
        ] {
            assert_eq!(failure.lines().join("\n"), want);
            assert_eq!(failure.exit(), code, "{want}");
        }
    }

    #[test]
    fn a_refused_token_names_its_origin() {
        for (token, want) in [(None, "no token was sent"), (Some("--token"), "the token from --token")] {
            let failure = refused(401, ErrorBody::default(), token);
            assert!(failure.lines()[1].contains(want), "{:?}", failure.lines());
        }
    }

    #[test]
    fn diagnostics_are_bounded_and_counted() {
        let diagnostics = (0..25)
            .map(|n| Diagnostic::of_file(format!("{n}.yaml"), "bad"))
            .collect();
        let lines = Failure::Invalid(diagnostics).lines();
        assert_eq!(lines.len(), 22);
        assert_eq!(lines[20], "… and 5 more errors");
        assert_eq!(lines[21], "refused: 25 errors in 25 files; nothing was changed");
    }
}
