//! Aligned columns for people.

use crate::wire::words::{cut, plain};

use super::error::Failure;
use super::terminal::{Style, Terminal};

/// The widest that a cell gets, unless everything is asked for.
const CELL: usize = 100;

/// Rows under a heading. Text from elsewhere is made safe on its way in.
#[derive(Debug, Clone)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    widths: Vec<usize>,
    whole: bool,
}

impl Table {
    /// A table with a heading; `whole` cells are never cut.
    pub(super) fn new<'a>(heading: impl IntoIterator<Item = &'a str>, whole: bool) -> Self {
        let mut table = Self {
            rows: vec![],
            widths: vec![],
            whole,
        };
        let heading: Vec<String> = heading.into_iter().map(str::to_owned).collect();
        // A heading may be wider than its word, where rows are written before the widest is known.
        table.widths = heading.iter().map(|cell| cell.chars().count()).collect();
        table.push(heading);
        table
    }

    /// Adds a row.
    pub(super) fn push(&mut self, cells: Vec<String>) {
        let cells: Vec<String> = cells
            .into_iter()
            .map(|cell| {
                let cell = plain(&cell).trim().to_owned();
                let cell = if self.whole { cell } else { cut(&cell, CELL) };
                if cell.is_empty() { "-".to_owned() } else { cell }
            })
            .collect();
        self.widths.resize(self.widths.len().max(cells.len()), 0);
        for (width, cell) in self.widths.iter_mut().zip(&cells) {
            *width = (*width).max(cell.chars().count());
        }
        self.rows.push(cells);
    }

    /// Adds rows.
    pub(super) fn fill(&mut self, rows: impl IntoIterator<Item = Vec<String>>) {
        for row in rows {
            self.push(row);
        }
    }

    /// Writes the rows that were added since the last time.
    pub(super) fn print(&mut self, terminal: &Terminal) -> Result<(), Failure> {
        self.take(terminal).iter().try_for_each(|line| terminal.line(line))
    }

    /// Takes the rows that were added since the last time, aligned, a line each.
    pub(super) fn take(&mut self, terminal: &Terminal) -> Vec<String> {
        let rows = std::mem::take(&mut self.rows);
        rows.iter()
            .map(|cells| {
                let last = cells.len().saturating_sub(1);
                cells
                    .iter()
                    .zip(&self.widths)
                    .enumerate()
                    .map(|(n, (cell, width))| {
                        let padded = if n == last {
                            cell.clone()
                        } else {
                            format!("{cell:width$}   ")
                        };
                        terminal.styled(&padded, Style::of_state(cell))
                    })
                    .collect()
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_cells_are_tamed() {
        let mut table = Table::new(["NAME", "STATE", "REASON"], false);
        table.push(vec!["time".into(), "RUNNING".into(), String::new()]);
        table.push(vec!["é".into(), "ERROR".into(), "\u{1b}]0;x\u{7}\nno".into()]);
        let lines = table.take(&Terminal::mute());
        assert_eq!(
            lines,
            [
                "NAME   STATE     REASON",
                "time   RUNNING   -",
                "é      ERROR     ]0;x  no"
            ]
        );
        table.push(vec!["later".into(), "RUNNING".into(), "x".repeat(200)]);
        let lines = table.take(&Terminal::mute());
        assert_eq!(lines.len(), 1);
        assert!(lines[0].ends_with('…'));
    }
}
