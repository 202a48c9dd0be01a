//! What is wrong with a text, and where: `error: PATH:LINE:COL: message`, the line, a caret, a hint.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A place in a text: 1-based, columns counted in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// 1-based line.
    pub line: u32,
    /// 1-based column, in characters.
    pub column: u32,
}

/// One thing that is wrong with a declaration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// The file, from the repository's root; `<stdin>` or a request's name where there is no file.
    pub file: String,
    /// 1-based line; 0 where the whole file is meant.
    pub line: u32,
    /// 1-based column in characters; 0 where the whole file is meant.
    pub column: u32,
    /// What is wrong, in one line.
    pub message: String,
    /// The text of the line, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub excerpt: Option<String>,
    /// How many characters the caret underlines.
    #[serde(default = "one")]
    pub width: u32,
    /// A way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Another place that matters, as `PATH:LINE:COL: message`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

const fn one() -> u32 {
    1
}

/// The longest part of a line that is shown, in characters.
const EXCERPT: usize = 160;

impl Diagnostic {
    /// A fault of a file as a whole.
    pub fn of_file(file: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            line: 0,
            column: 0,
            message: message.into(),
            excerpt: None,
            width: 1,
            hint: None,
            note: None,
        }
    }

    /// A fault at a place in `text`, underlining `width` characters.
    pub fn at(file: impl Into<String>, text: &str, at: Position, width: usize, message: impl Into<String>) -> Self {
        let line = text
            .split('\n')
            .nth(at.line.saturating_sub(1) as usize)
            .unwrap_or_default()
            .trim_end_matches('\r');
        Self {
            line: at.line,
            column: at.column,
            excerpt: (!line.is_empty()).then(|| line.to_owned()),
            width: u32::try_from(width.max(1)).unwrap_or(1),
            ..Self::of_file(file, message)
        }
    }

    /// The same with a way out.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// `PATH:LINE:COL`, or `PATH` for a fault of a whole file.
    #[must_use]
    pub fn place(&self) -> String {
        if self.line == 0 {
            self.file.clone()
        } else {
            format!("{}:{}:{}", self.file, self.line, self.column)
        }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}: {}", self.place(), self.message)?;
        if let Some(excerpt) = &self.excerpt {
            // Long lines are cut around the column; control characters must not reach a terminal.
            let column = self.column.max(1) as usize - 1;
            let start = column.saturating_sub(EXCERPT / 2);
            let shown: String = excerpt
                .chars()
                .skip(start)
                .take(EXCERPT)
                .map(|c| if c.is_control() { ' ' } else { c })
                .collect();
            let rest = shown.chars().count().saturating_sub(column - start).max(1);
            let width = (self.width as usize).clamp(1, rest);
            write!(
                f,
                "\n  {shown}\n  {:indent$}{}",
                "",
                "^".repeat(width),
                indent = column - start
            )?;
        }
        if let Some(note) = &self.note {
            write!(f, "\nnote: {note}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// "1 error", "2 errors": a count with its noun.
#[must_use]
pub fn count(n: usize, noun: &str) -> String {
    if n == 1 {
        format!("1 {noun}")
    } else {
        format!("{n} {noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_points() {
        let text = "kind: server\nname: time\nreplica: 2\n";
        let it = Diagnostic::at(
            "servers/time.yaml",
            text,
            Position { line: 3, column: 1 },
            7,
            "unknown field \"replica\"",
        )
        .hint("did you mean \"replicas\"?");
        assert_eq!(
            it.to_string(),
            "error: servers/time.yaml:3:1: unknown field \"replica\"\n  replica: 2\n  ^^^^^^^\nhint: did you mean \"replicas\"?"
        );
    }

    #[test]
    fn long_lines_and_control_characters_are_tamed() {
        let text = format!("{}\u{1b}[31mx", "é".repeat(500));
        let shown = Diagnostic::at("a", &text, Position { line: 1, column: 501 }, 99, "bad").to_string();
        assert!(!shown.contains('\u{1b}'));
        assert!(shown.lines().all(|l| l.chars().count() <= EXCERPT + 2), "{shown}");
    }
}
