//! Where a command's words go: data to stdout, talk to stderr, colour only on a terminal.

use std::io::{self, IsTerminal as _, Write};
use std::sync::{Arc, Mutex, PoisonError};

use crate::kit::{Diagnostic, count};
use crate::wire::words::plain;

use super::error::Failure;

/// How a piece of text stands out on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Good,
    Middling,
    Bad,
    Heading,
}

impl Style {
    const fn code(self) -> &'static str {
        match self {
            Self::Good => "32",
            Self::Middling => "33",
            Self::Bad => "31",
            Self::Heading => "1",
        }
    }

    /// How a state is shown.
    pub(super) fn of_state(state: &str) -> Option<Self> {
        match state.trim_end() {
            "RUNNING" => Some(Self::Good),
            "PENDING" | "STARTING" | "STOPPING" => Some(Self::Middling),
            "ERROR" => Some(Self::Bad),
            _ => None,
        }
    }

    /// How a line of a plan or of a diff is shown.
    fn of_line(line: &str) -> Option<Self> {
        if line.starts_with("---") || line.starts_with("+++") {
            return Some(Self::Heading);
        }
        match line.chars().next()? {
            '+' => Some(Self::Good),
            '~' | '!' => Some(Self::Middling),
            '-' => Some(Self::Bad),
            _ => None,
        }
    }
}

/// How many diagnostics are shown; the rest is counted.
const DIAGNOSTICS: usize = 20;

/// Diagnostics as lines that are safe on a terminal.
pub(super) fn diagnostic_lines(diagnostics: &[Diagnostic]) -> Vec<String> {
    let text = |diagnostic: &Diagnostic| diagnostic.to_string();
    let shown = diagnostics.iter().take(DIAGNOSTICS).map(text);
    let mut lines: Vec<String> = shown
        .flat_map(|text| text.lines().map(plain).collect::<Vec<_>>())
        .collect();
    if diagnostics.len() > DIAGNOSTICS {
        lines.push(format!(
            "… and {}",
            count(diagnostics.len() - DIAGNOSTICS, "more error")
        ));
    }
    lines
}

/// One of the two outputs.
struct Stream {
    to: Box<dyn Write + Send>,
    colour: bool,
    closed: bool,
}

impl Stream {
    fn write(&mut self, text: &str) -> io::Result<()> {
        if self.closed {
            return Ok(());
        }
        match self.to.write_all(text.as_bytes()).and_then(|()| self.to.flush()) {
            // A reader that has seen enough is no fault.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            other => other,
        }
    }
}

/// Both outputs. Clones share them.
#[derive(Clone)]
pub(super) struct Terminal {
    data: Arc<Mutex<Stream>>,
    talk: Arc<Mutex<Stream>>,
}

impl std::fmt::Debug for Terminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Terminal")
    }
}

impl Terminal {
    /// The process' own outputs; `colour` is what the user and the environment allow.
    pub(super) fn of_process(colour: bool) -> Self {
        let stream = |to: Box<dyn Write + Send>, terminal: bool| {
            Arc::new(Mutex::new(Stream {
                to,
                colour: colour && terminal,
                closed: false,
            }))
        };
        Self {
            data: stream(Box::new(io::stdout()), io::stdout().is_terminal()),
            talk: stream(Box::new(io::stderr()), io::stderr().is_terminal()),
        }
    }

    fn with<T>(stream: &Mutex<Stream>, act: impl FnOnce(&mut Stream) -> T) -> T {
        act(&mut stream.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Writes data as it stands: the caller has made it safe.
    pub(super) fn data(&self, text: &str) -> Result<(), Failure> {
        Self::with(&self.data, |stream| stream.write(text)).map_err(Failure::Output)
    }

    /// Writes one line of data.
    pub(super) fn line(&self, text: &str) -> Result<(), Failure> {
        self.data(&format!("{text}\n"))
    }

    /// Writes lines of a plan, in the colours of their marks.
    pub(super) fn plan(&self, lines: &str) -> Result<(), Failure> {
        lines
            .lines()
            .try_for_each(|line| self.line(&self.styled(line, Style::of_line(line.trim_start()))))
    }

    /// Writes a line of a judgement, its word in the colour of a bad or a good one.
    pub(super) fn verdict(&self, line: &str) -> Result<(), Failure> {
        let style = match line.split_once(':').map(|(word, _)| word) {
            Some("error" | "invalid") => Some(Style::Bad),
            Some("hint" | "note") => Some(Style::Middling),
            Some("valid") => Some(Style::Good),
            _ => None,
        };
        match line.split_once(':').filter(|_| style.is_some()) {
            Some((word, rest)) => self.line(&format!("{}{rest}", self.styled(&format!("{word}:"), style))),
            None => self.line(line),
        }
    }

    /// Writes lines of a unified diff, in the colours of their first characters.
    pub(super) fn diff(&self, lines: &str) -> Result<(), Failure> {
        for line in lines.lines() {
            self.line(&self.styled(line, Style::of_line(line)))?;
        }
        Ok(())
    }

    /// The text in a style, where the data goes to a terminal.
    pub(super) fn styled(&self, text: &str, style: Option<Style>) -> String {
        match style {
            Some(style) if Self::with(&self.data, |stream| stream.colour) => {
                format!("\u{1b}[{}m{text}\u{1b}[0m", style.code())
            }
            _ => text.to_owned(),
        }
    }

    /// Says a line to the person. That it can't be said is no fault.
    pub(super) fn say(&self, text: &str) {
        let line = Self::with(&self.talk, |stream| stream.colour).then(|| {
            let code = match text.split_once(':').map(|(word, _)| word) {
                Some("error" | "refused") => "1;31",
                Some("hint") => "36",
                _ => "0",
            };
            match text.split_once(':') {
                Some((word, rest)) if code != "0" => format!("\u{1b}[{code}m{word}:\u{1b}[0m{rest}\n"),
                _ => format!("{text}\n"),
            }
        });
        let line = line.unwrap_or_else(|| format!("{text}\n"));
        drop(Self::with(&self.talk, |stream| stream.write(&line)));
    }

    /// Says lines.
    pub(super) fn say_all<T: AsRef<str>>(&self, lines: impl IntoIterator<Item = T>) {
        for line in lines {
            self.say(line.as_ref());
        }
    }

    /// Says what is wrong with declarations; beyond a screenful the rest is counted.
    pub(super) fn diagnostics(&self, diagnostics: &[Diagnostic]) {
        self.say_all(diagnostic_lines(diagnostics));
    }

    /// Whether nobody reads the data any more.
    pub(super) fn closed(&self) -> bool {
        Self::with(&self.data, |stream| stream.closed)
    }
}

#[cfg(test)]
impl Terminal {
    /// Outputs that go nowhere.
    pub(super) fn mute() -> Self {
        let stream = || {
            Arc::new(Mutex::new(Stream {
                to: Box::new(io::sink()),
                colour: false,
                closed: false,
            }))
        };
        Self {
            data: stream(),
            talk: stream(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fails(io::ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_quiet_and_a_full_disk_is_not() {
        for (kind, quiet) in [(io::ErrorKind::BrokenPipe, true), (io::ErrorKind::StorageFull, false)] {
            let terminal = Terminal::mute();
            Terminal::with(&terminal.data, |stream| stream.to = Box::new(Fails(kind)));
            assert_eq!(terminal.line("x").is_ok(), quiet);
            assert_eq!(terminal.closed(), quiet);
        }
    }
}
