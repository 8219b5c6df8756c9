//! Results on standard output: columns for people, one line of JSON for scripts.

use std::io::{Write, stderr, stdout};

use serde::Serialize;

use crate::exit::Exit;
use crate::failure::Failure;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// Columns.
    Table,
    /// JSON as the last line.
    Json,
}

impl Output {
    /// Prints a result: `rows` with a head for people, `value` for scripts. A reader that went away is no failure.
    pub fn print(self, value: &impl Serialize, rows: &[Vec<String>]) {
        let _ = stdout().write_all(self.text(value, rows).as_bytes());
    }

    /// Prints a result beside data that has standard output for itself: on standard error.
    pub fn print_aside(self, value: &impl Serialize, rows: &[Vec<String>]) {
        let _ = stderr().write_all(self.text(value, rows).as_bytes());
    }

    fn text(self, value: &impl Serialize, rows: &[Vec<String>]) -> String {
        match self {
            Self::Table => table(rows),
            Self::Json => {
                let line =
                    serde_json::to_string(value).expect("a result holds only strings, numbers and times");
                format!("{line}\n")
            }
        }
    }
}

/// Prints why a command failed: the sentence on standard error, for scripts also as JSON on standard output, or `aside`.
pub fn print_failure(output: Output, failure: &Failure, aside: bool) {
    eprintln!("error: {failure}");
    if output == Output::Json {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Line<'a> {
            error: &'a str,
            reason: crds::job::FailureReason,
            exit_code: u8,
        }
        let line = Line {
            error: &failure.message,
            reason: failure.reason,
            exit_code: Exit::of(failure.reason) as u8,
        };
        if aside {
            output.print_aside(&line, &[]);
        } else {
            output.print(&line, &[]);
        }
    }
}

/// Rows in columns, as wide as the widest cell. An empty row ends a table; the next has columns of its own.
fn table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (number, rows) in rows.split(Vec::is_empty).enumerate() {
        if number > 0 {
            text.push('\n');
        }
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|c: &String| c.chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in rows {
            let line: Vec<String> =
                row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            text.push_str(line.join("   ").trim_end());
            text.push('\n');
        }
    }
    text
}

/// A row of cells.
pub fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_without_blanks() {
        let rows = [row(["NAME", "SIZE"]), row(["chromadb", "1"]), row(["x", ""])];
        assert_eq!(table(&rows), "NAME       SIZE\nchromadb   1\nx\n");
        let two = [row(["A"]), Vec::new(), row(["LONGER", "B"])];
        assert_eq!(table(&two), "A\n\nLONGER   B\n");
    }
}
