//! One line of a log file, both ways, and which lines somebody asked for. Pure.
//!
//! `LIFE|TIME text`, where `+` instead of `|` marks that the life begins and `-` that it ended. The text holds no line
//! break, so that nothing a server writes can pass for a mark. What does not read as such a line was kept by an older
//! mcpd, which wrote the text alone.

use crate::kit::time::Timestamp;
use crate::record::{Life, LogKind, LogLine};

/// How much of a life's name a line carries, in characters: as much as `docker ps` shows.
const SHORT: usize = 12;

/// Which lines of a log are asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Only what was read at this time or later.
    pub since: Option<Timestamp>,
    /// Only the last so many lines; marks between them don't count.
    pub tail: Option<usize>,
    /// Only the life before the newest one.
    pub previous: bool,
}

/// The beginning of a life's name, as lines carry it.
pub(super) fn short(life: &Life) -> String {
    life.0.chars().filter(char::is_ascii_alphanumeric).take(SHORT).collect()
}

/// A line as it stands in the file, with its end.
pub(super) fn print(line: &LogLine) -> String {
    let mark = match line.kind {
        LogKind::Line | LogKind::Dropped => '|',
        LogKind::Began => '+',
        LogKind::Ended => '-',
    };
    match (&line.life, line.at) {
        (Some(whose), Some(at)) => format!("{whose}{mark}{at:.3} {}\n", line.text),
        _ => format!("{}\n", line.text),
    }
}

/// The line that stands in a file.
fn parse(text: &str) -> LogLine {
    marked(text).unwrap_or_else(|| LogLine {
        at: None,
        life: None,
        kind: LogKind::Line,
        text: text.to_owned(),
    })
}

fn marked(text: &str) -> Option<LogLine> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric())?;
    let (life, rest) = text.split_at(end);
    let kind = match rest.as_bytes().first()? {
        b'|' => LogKind::Line,
        b'+' => LogKind::Began,
        b'-' => LogKind::Ended,
        _ => return None,
    };
    let (at, text) = rest[1..].split_once(' ')?;
    if life.len() > SHORT || !at.ends_with('Z') {
        return None;
    }
    Some(LogLine {
        at: Some(at.parse().ok()?),
        life: Some(life.to_owned()),
        kind,
        text: text.to_owned(),
    })
}

/// Every line of a file's bytes.
pub(super) fn lines(bytes: &[u8]) -> Vec<LogLine> {
    let text = String::from_utf8_lossy(bytes);
    text.lines().filter(|line| !line.is_empty()).map(parse).collect()
}

/// Whether the newest mark of a life says that it began: then it goes on, and was not begun anew.
pub(super) fn goes_on(lines: &[LogLine], life: &str) -> bool {
    let marks = |line: &&LogLine| line.kind != LogKind::Line && line.life.as_deref() == Some(life);
    lines
        .iter()
        .rfind(marks)
        .is_some_and(|line| line.kind == LogKind::Began)
}

/// The lines that were asked for; nothing where the life before the newest is asked for and there is none.
pub(super) fn select(mut lines: Vec<LogLine>, query: &LogQuery) -> Option<Vec<LogLine>> {
    if query.previous {
        // A life's first mark may be in a part that was thrown away; its lines still tell of it.
        let mut all: Vec<&str> = vec![];
        for life in lines.iter().filter_map(|line| line.life.as_deref()) {
            if !all.contains(&life) {
                all.push(life);
            }
        }
        let previous = all.len().checked_sub(2).map(|at| all[at].to_owned())?;
        lines.retain(|line| line.life.as_ref() == Some(&previous));
    }
    if let Some(since) = query.since {
        lines.retain(|line| line.at.is_some_and(|at| at >= since));
    }
    if let Some(tail) = query.tail {
        let texts = lines
            .iter()
            .enumerate()
            .rev()
            .filter(|(_, line)| line.kind == LogKind::Line);
        let first = match tail.checked_sub(1) {
            Some(before) => texts.map(|(at, _)| at).nth(before).unwrap_or(0),
            None => lines.len(),
        };
        lines.drain(..first);
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(lines: &[LogLine]) -> String {
        let shown: Vec<String> = lines
            .iter()
            .map(|line| match line.kind {
                LogKind::Began => format!("+{}", line.life.as_deref().unwrap()),
                LogKind::Ended => format!("-{}", line.life.as_deref().unwrap()),
                _ => line.text.clone(),
            })
            .collect();
        shown.join(" ")
    }

    #[test]
    fn lines_read_as_they_were_written_and_old_ones_as_text() {
        let long = Life("0123456789abcdef".into());
        assert_eq!(short(&long), "0123456789ab");
        for (text, at, life, kind, said) in [
            (
                "a1|2026-11-24T06:17:47.120Z some text",
                true,
                Some("a1"),
                LogKind::Line,
                "some text",
            ),
            ("a1+2026-11-24T06:17:47.120Z ", true, Some("a1"), LogKind::Began, ""),
            (
                "a1-2026-11-24T06:17:47.120Z exited with code 3",
                true,
                Some("a1"),
                LogKind::Ended,
                "exited with code 3",
            ),
            // An older mcpd kept the text alone, whatever it says.
            ("plain", false, None, LogKind::Line, "plain"),
            (
                "2026-11-24T06:17:47Z INFO up",
                false,
                None,
                LogKind::Line,
                "2026-11-24T06:17:47Z INFO up",
            ),
            (
                "INFO 2026-11-24T06:17:47Z up",
                false,
                None,
                LogKind::Line,
                "INFO 2026-11-24T06:17:47Z up",
            ),
            ("a|b c", false, None, LogKind::Line, "a|b c"),
            (
                "é|2026-11-24T06:17:47.120Z x",
                false,
                None,
                LogKind::Line,
                "é|2026-11-24T06:17:47.120Z x",
            ),
            (
                "0123456789abc|2026-11-24T06:17:47.120Z x",
                false,
                None,
                LogKind::Line,
                "0123456789abc|2026-11-24T06:17:47.120Z x",
            ),
        ] {
            let line = parse(text);
            assert_eq!(
                (line.at.is_some(), line.life.as_deref(), line.kind, line.text.as_str()),
                (at, life, kind, said),
                "{text}"
            );
            assert_eq!(print(&line).trim_end_matches('\n'), text);
        }
    }

    #[test]
    fn what_is_asked_for_is_given() {
        let all = lines(
            b"old\n\
            a+2026-01-01T00:00:01Z \na|2026-01-01T00:00:02Z a1\na|2026-01-01T00:00:03Z a2\na-2026-01-01T00:00:04Z exited\n\
            b+2026-01-01T00:00:05Z \nb|2026-01-01T00:00:06Z b1\nc+2026-01-01T00:00:07Z \nb|2026-01-01T00:00:08Z b2\n\
            c|2026-01-01T00:00:09Z c1\nb-2026-01-01T00:00:10Z exited\n",
        );
        let since = |text: &str| Some(text.parse().unwrap());
        let query = LogQuery::default();
        for (query, want) in [
            (query, Some("old +a a1 a2 -a +b b1 +c b2 c1 -b")),
            (LogQuery { tail: Some(2), ..query }, Some("b2 c1 -b")),
            (LogQuery { tail: Some(3), ..query }, Some("b1 +c b2 c1 -b")),
            (LogQuery { tail: Some(0), ..query }, Some("")),
            (
                LogQuery {
                    tail: Some(99),
                    ..query
                },
                Some("old +a a1 a2 -a +b b1 +c b2 c1 -b"),
            ),
            (
                LogQuery {
                    since: since("2026-01-01T00:00:08Z"),
                    ..query
                },
                Some("b2 c1 -b"),
            ),
            (
                LogQuery {
                    since: since("2027-01-01T00:00:08Z"),
                    ..query
                },
                Some(""),
            ),
            (
                LogQuery {
                    previous: true,
                    ..query
                },
                Some("+b b1 b2 -b"),
            ),
            (
                LogQuery {
                    previous: true,
                    tail: Some(1),
                    ..query
                },
                Some("b2 -b"),
            ),
        ] {
            assert_eq!(
                select(all.clone(), &query).map(|lines| shown(&lines)).as_deref(),
                want,
                "{query:?}"
            );
        }
        let previous = LogQuery {
            previous: true,
            ..query
        };
        assert_eq!(select(lines(b"old\n"), &previous), None);
        assert_eq!(select(lines(b"a|2026-01-01T00:00:02Z a1\n"), &previous), None);
        assert!(goes_on(&all, "c") && !goes_on(&all, "b") && !goes_on(&all, "x"));
    }
}
