//! Why a SOPS file can't be opened or written.

use std::fmt;

use crate::kit::{Diagnostic, Position};

/// A file that nobody can open as it stands: cut off, changed by hand, or no SOPS file of the form that we know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Where, as far as it is known.
    pub at: Option<Position>,
    /// What is wrong, in one line. No value is in it.
    pub message: String,
    /// A way out, where one is known.
    pub hint: Option<String>,
}

impl Broken {
    pub(super) fn at(at: Position, message: impl Into<String>) -> Self {
        Self {
            at: Some(at),
            message: message.into(),
            hint: None,
        }
    }

    pub(super) fn whole(message: impl Into<String>) -> Self {
        Self {
            at: None,
            message: message.into(),
            hint: None,
        }
    }

    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same for a reader of `file`, whose text is `text`.
    #[must_use]
    pub fn diagnostic(&self, file: &str, text: &str) -> Diagnostic {
        let it = match self.at {
            Some(at) => Diagnostic::at(file, text, at, 1, self.message.as_str()),
            None => Diagnostic::of_file(file, self.message.as_str()),
        };
        match &self.hint {
            Some(hint) => it.hint(hint.as_str()),
            None => it,
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(at) = self.at {
            write!(f, "line {}, column {}: ", at.line, at.column)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Broken {}

/// Why a file was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The file is whole as far as it can be told, and none of the identities here is meant: the secret is sealed.
    #[error("no identity here opens it; it is for {}", short(recipients))]
    NoIdentity {
        /// For whom it is encrypted, as the file says.
        recipients: Vec<String>,
    },
    /// Nobody can open it as it stands.
    #[error(transparent)]
    Broken(#[from] Broken),
}

/// Why a file was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// There is nobody to encrypt to.
    #[error("there is no recipient to encrypt to")]
    NoRecipient,
    /// A value, a key or a field that has no form in a SOPS file; said without the value.
    #[error("{0}")]
    Unfit(String),
    /// The file that stands there can't be opened, so nothing of it can be kept.
    #[error(transparent)]
    Old(#[from] OpenError),
    /// The system has no randomness, or a recipient's key can't be used.
    #[error("encrypting failed: {0}")]
    Failed(String),
}

/// Recipients as they are shown: a long key by its ends.
pub(super) fn short(recipients: &[String]) -> String {
    let shown: Vec<String> = recipients
        .iter()
        .take(8)
        .map(|it| {
            let (kind, key) = it.split_once(' ').map_or(("", it.as_str()), |(kind, key)| (kind, key));
            let key: Vec<char> = key.chars().filter(char::is_ascii_graphic).collect();
            let key: String = match key.len() {
                0..=24 => key.iter().collect(),
                n => key[..12].iter().chain(&['…']).chain(&key[n - 8..]).collect(),
            };
            let kind: String = kind.chars().filter(char::is_ascii_graphic).take(24).collect();
            format!("{kind} {key}").trim_start().to_owned()
        })
        .collect();
    let rest = recipients.len().saturating_sub(shown.len());
    let more = if rest > 0 {
        format!(" and {rest} more")
    } else {
        String::new()
    };
    shown.join(", ") + &more
}
