//! What stands between brackets: entries added and removed with their commas, on one line or a line each.

use std::ops::Range;

use super::text::Text;
use super::value::Editor;
use crate::resource::yaml::node::Node;

/// An entry of the new list or mapping.
#[derive(Debug, Clone)]
pub enum Planned {
    /// It stays where it is.
    Kept(usize),
    /// It is new, or comes from another place; this is its text.
    New(String),
}

impl<'t> Editor<'_, 't> {
    /// Brings the entries that stand in `spans` into the planned form; nothing where none of them stays.
    pub fn flow_series(&mut self, node: &Node<'t>, spans: &[Range<usize>], plan: &[Planned]) -> Option<()> {
        let text = self.text;
        let close = text.range(node).end.checked_sub(1)?;
        let commas: Vec<Option<usize>> = spans.iter().map(|span| comma(text, span.end, close)).collect();
        let entries = Entries {
            text,
            spans,
            commas: &commas,
            close,
        };
        let behind = |n: usize| entries.behind(n);
        let trailing = commas.last()?.is_some();
        let spread = spans.iter().all(|span| text.first_in_line(span.start));
        let stays = |n: usize| plan.iter().any(|it| matches!(it, Planned::Kept(kept) if *kept == n));
        let indent = " ".repeat(text.column(spans.first()?.start));
        // What parts entries of one line.
        let gap = commas.first().copied().flatten().zip(spans.get(1));
        let gap = gap.map(|(comma, next)| &text.all[comma..next.start]);
        let gap = gap.filter(|gap| gap.chars().all(|c| c == ' ')).unwrap_or(" ");
        let mut last = None;
        for (n, planned) in plan.iter().enumerate() {
            let needs = trailing || n + 1 < plan.len();
            let comma = if needs { "," } else { "" };
            match planned {
                Planned::Kept(at) => {
                    match commas[*at] {
                        None if needs => self.edits.push((spans[*at].end..spans[*at].end, ",".to_owned())),
                        Some(end) if !needs => self.edits.push((end - 1..end, String::new())),
                        _ => {}
                    }
                    last = Some(*at);
                }
                Planned::New(written) => {
                    let written = written.replace("\r\n", "\n").replace('\n', text.newline(close));
                    let edit = match last {
                        None if spread => {
                            let line = text.line_start(spans[0].start);
                            let at = text.above(line, indent.len(), 0);
                            (at..at, format!("{indent}{written},{}", text.newline(at)))
                        }
                        None => {
                            let parts = stays(0) || !text.last_in_line(behind(0));
                            let gap = if parts { gap } else { "" };
                            (spans[0].start..spans[0].start, format!("{written},{gap}"))
                        }
                        Some(before) if spread && text.last_in_line(behind(before)) => {
                            let at = text.line_end(behind(before));
                            (at..at, format!("{indent}{written}{comma}{}", text.newline(at)))
                        }
                        Some(before) if spread => {
                            let at = behind(before);
                            (at..at, format!("{}{indent}{written}{comma}", text.newline(at)))
                        }
                        Some(before) => {
                            let at = behind(before);
                            (at..at, format!("{gap}{written}{comma}"))
                        }
                    };
                    self.edits.push(edit);
                }
            }
        }
        last?;
        let tail = spans.len() - spans.iter().enumerate().rev().take_while(|(n, _)| !stays(*n)).count();
        let ends_kept = matches!(plan.last(), Some(Planned::Kept(n)) if n + 1 == tail);
        let cut = ends_kept.then(|| self.cut_tail(&entries, tail)).flatten();
        let mut n = 0;
        while n < cut.map_or(spans.len(), |()| tail) {
            let first = n;
            n += 1;
            if stays(first) {
                continue;
            }
            while n < spans.len() && !stays(n) && entries.one_line(spans[n - 1].end, spans[n].start) {
                n += 1;
            }
            let fresh = matches!(plan.first(), Some(Planned::New(_)));
            self.take_out(&entries, first..n, fresh);
        }
        Some(())
    }

    /// Takes out the entries behind the last that stays, where the bracket closes in the line of the last of them: it
    /// moves up, before the comment of the entry that stays. Nothing where something else is in the way.
    fn cut_tail(&mut self, entries: &Entries<'_, 't>, tail: usize) -> Option<()> {
        let Entries { text, spans, close, .. } = *entries;
        let last = entries.behind(spans.len() - 1);
        let from = entries.behind(tail.checked_sub(1)?);
        if tail == spans.len() || !text.all[last..close].chars().all(|c| c == ' ') || entries.one_line(from, close) {
            return None;
        }
        // Of the entries that go, the last in the line of the one that stays; what follows in the line is its comment.
        let here = (tail..spans.len())
            .take_while(|n| entries.one_line(from, spans[*n].end))
            .last();
        let line = here.map_or(from, |n| entries.behind(n));
        let comment = text.all[line..text.content_end(line)].trim_start();
        let own = text.column(spans[here.map_or(tail, |n| n + 1)].start);
        let between =
            &text.all[text.line_end(from)..text.line_start(spans[spans.len() - 1].start).max(text.line_end(from))];
        let strays = between
            .lines()
            .any(|it| it.trim_start().starts_with('#') && it.find('#') != Some(own));
        if strays || !text.last_in_line(line) || !text.last_in_line(close + 1) {
            return None;
        }
        self.edits.push((from..last, String::new()));
        let blanks = &text.all[line..text.content_end(line) - comment.len()];
        let beside = format!("{blanks}{comment}");
        // Where it has none, the one behind the bracket may be about all of them.
        if !comment.is_empty() {
            self.edits.push((close + 1..text.content_end(close + 1), beside));
        }
        Some(())
    }

    /// Takes out entries that stand in one line, or each begin where the one before ends. `fresh`: something is written
    /// in the place of the first.
    fn take_out(&mut self, entries: &Entries<'_, 't>, gone: Range<usize>, fresh: bool) {
        let Entries { text, spans, close, .. } = *entries;
        let (first, behind) = (gone.start, entries.behind(gone.end - 1));
        let start = spans[first].start;
        let line = text.line_start(start);
        let leads = text.first_in_line(start);
        let ends = text.last_in_line(behind);
        let above = || text.above(line, text.column(start), 0);
        let next = spans.get(gone.end).map(|next| next.start);
        let range = match next.filter(|next| entries.one_line(spans[gone.end - 1].end, *next)) {
            Some(next) => start..next,
            None if leads && ends && behind < close => above()..text.line_end(behind),
            // The bracket that closes stays in this line, alone.
            None if leads && next.is_none() && entries.one_line(behind, close) => {
                let before = entries.behind(first.saturating_sub(1));
                let each = text.last_in_line(before) && text.content_end(before) > before;
                if each && text.last_in_line(close + 1) {
                    self.edits.push((close + 1..text.content_end(close + 1), String::new()));
                }
                self.edits.push((above()..close, text.all[line..start].to_owned()));
                return;
            }
            None if leads => start..behind,
            // A comment that an entry of this line shares stays.
            None if first > 0 && entries.one_line(spans[first - 1].end, start) => {
                let end = spans[gone.end - 1].end;
                if entries.one_line(end, behind) {
                    entries.behind(first - 1)..behind
                } else {
                    self.edits.push((behind - 1..behind, String::new()));
                    entries.behind(first - 1)..end
                }
            }
            None => {
                let from = if first > 0 { entries.behind(first - 1) } else { start };
                let blanks = from - text.all[..from].trim_end_matches(' ').len();
                let from = if ends && !fresh { from - blanks } else { from };
                from..if ends { text.content_end(behind) } else { behind }
            }
        };
        self.edits.push((range, String::new()));
    }
}

/// Where the entries of a list or mapping in brackets stand.
struct Entries<'e, 't> {
    text: &'e Text<'t>,
    spans: &'e [Range<usize>],
    /// Behind each entry's comma, where it has one.
    commas: &'e [Option<usize>],
    /// Where the bracket closes.
    close: usize,
}

impl Entries<'_, '_> {
    /// Behind an entry and its comma.
    fn behind(&self, n: usize) -> usize {
        self.commas[n].unwrap_or(self.spans[n].end)
    }

    fn one_line(&self, from: usize, to: usize) -> bool {
        !self.text.all[from..to].contains('\n')
    }
}

/// Behind the comma that follows an entry.
fn comma(text: &Text<'_>, end: usize, close: usize) -> Option<usize> {
    let at = text.skip(end);
    (at < close && text.all[at..].starts_with(',')).then_some(at + 1)
}
