//! What clap says of a command line that can't be read, in the form of this program's other errors.

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// A fault of a command line: one line, and a way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// What is wrong.
    pub problem: String,
    /// A way out.
    pub hint: Option<String>,
}

impl Complaint {
    /// The fault that clap found; nothing where help or the version is to be printed.
    #[must_use]
    pub fn of(error: &clap::Error) -> Option<Self> {
        if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
            return None;
        }
        let text = error.render().to_string();
        let text = text.strip_prefix("error: ").unwrap_or(&text);
        // The first paragraph says what is wrong; then come tips, the usage and where the help is.
        let problem = line(text.split("\n\n").next().unwrap_or(text));
        let tip = || text.lines().find_map(|line| line.trim_start().strip_prefix("tip: "));
        let hint = meant(error)
            .map(|meant| format!("did you mean \"{meant}\"?"))
            .or_else(|| tip().map(line))
            .or_else(|| Some("see --help".to_owned()));
        Some(Self { problem, hint })
    }
}

/// The word that clap takes for the one that was meant.
fn meant(error: &clap::Error) -> Option<String> {
    let kinds = [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
    ];
    let word = kinds.into_iter().find_map(|kind| error.get(kind))?;
    match word {
        ContextValue::String(word) => Some(line(word)),
        // The likeliest stands last.
        ContextValue::Strings(words) => words.last().map(|word| line(word)),
        _ => None,
    }
}

/// Text in one line, without control characters.
fn line(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
