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
        // Behind each entry's comma, where it has one.
        let commas: Vec<Option<usize>> = spans.iter().map(|span| comma(text, span.end, close)).collect();
        let behind = |n: usize| commas[n].unwrap_or(spans[n].end);
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
                        None => (spans[0].start..spans[0].start, format!("{written},{gap}")),
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
        let mut n = 0;
        while n < spans.len() {
            if stays(n) {
                n += 1;
                continue;
            }
            let own_line =
                |n: usize| text.first_in_line(spans[n].start) && text.last_in_line(behind(n)) && behind(n) < close;
            if own_line(n) {
                let line = text.line_start(spans[n].start);
                let column = text.column(spans[n].start);
                let range = text.above(line, column, 0)..text.line_end(behind(n));
                self.edits.push((range, String::new()));
                n += 1;
                continue;
            }
            let first = n;
            while n < spans.len() && !stays(n) && (n == first || !own_line(n)) {
                n += 1;
            }
            let one_line = |from: usize, to: usize| !text.all[from..to].contains('\n');
            let range = match spans.get(n) {
                Some(next) if one_line(spans[n - 1].end, next.start) => spans[first].start..next.start,
                _ if first == 0 => spans[0].start..behind(n - 1),
                _ => behind(first - 1)..behind(n - 1),
            };
            self.edits.push((range, String::new()));
        }
        Some(())
    }
}

/// Behind the comma that follows an entry.
fn comma(text: &Text<'_>, end: usize, close: usize) -> Option<usize> {
    let at = text.skip(end);
    (at < close && text.all[at..].starts_with(',')).then_some(at + 1)
}
