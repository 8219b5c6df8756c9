//! A document as Markdown (GitHub's, for the tables), to be read as it is or rendered.

use std::fmt::Write;

use super::document::{Block, Cell, Document, Field, Inline, Section, Table, Text, Tone};
use super::words::is_deceiving;

/// Writes it down.
pub fn write(document: &Document) -> String {
    let mut page = format!("# {}: {}\n\n", escape(&document.kind), escape(&document.subject));
    if let Some(summary) = &document.summary {
        let _ = write!(page, "{}\n\n", begun(&text(summary)));
    }
    let _ = write!(page, "**{}**", text(&document.outcome.text));
    if !document.lead.is_empty() {
        let _ = write!(page, ": {}", text(&document.lead));
    }
    page.push_str("\n\n");
    if let Some(notice) = &document.notice {
        let _ = write!(page, "> {}\n\n", text(notice));
    }
    for meter in &document.meters {
        let (label, value) = (escape(&meter.label), escape(&meter.value));
        let _ = writeln!(page, "- **{label}**: {value}, {}", text(&meter.verdict.text));
    }
    page.push_str(&fields(&document.head));
    page.push('\n');
    for (number, section) in (1..).zip(&document.sections) {
        page.push_str(&written(number, section));
    }
    let _ = writeln!(page, "---\n\n{}", text(&document.source));
    page
}

fn written(number: usize, section: &Section) -> String {
    let mut page = format!("## {number}. {}\n\n", escape(&section.title));
    for block in &section.blocks {
        let _ = match block {
            Block::Paragraph(words) => write!(page, "{}\n\n", begun(&text(words))),
            Block::Note(note) => write!(page, "> {}\n\n", begun(&text(&note.text))),
            Block::Heading(title) => write!(page, "### {}\n\n", escape(title)),
            Block::Fields(list) => writeln!(page, "{}", fields(list)),
            Block::List(items) => {
                let items: String = items.iter().map(|item| format!("- {}\n", begun(&text(item)))).collect();
                writeln!(page, "{items}")
            }
            Block::Table(rows) => writeln!(page, "{}", table(rows)),
            Block::Command(command) => {
                let command: String = command
                    .chars()
                    .map(|c| if c != '\n' && is_deceiving(c) { '\u{fffd}' } else { c })
                    .collect();
                let fence = "`".repeat(longest_run(&command).max(2) + 1);
                write!(page, "{fence}sh\n{command}\n{fence}\n\n")
            }
            // The table beside it says the same.
            Block::Timeline(_) | Block::Bars(_) => Ok(()),
        };
    }
    page
}

fn fields(fields: &[Field]) -> String {
    fields
        .iter()
        .map(|field| format!("- **{}**: {}\n", escape(&field.label), toned(&field.value, Place::Line)))
        .collect()
}

fn table(table: &Table) -> String {
    let caption =
        if table.caption.is_empty() { String::new() } else { format!("{}:\n\n", escape(&table.caption)) };
    let mut page = format!("{caption}|");
    let row = |page: &mut String, cells: &mut dyn Iterator<Item = String>| {
        cells.for_each(|cell| {
            let _ = write!(page, " {cell} |");
        });
        page.push('\n');
    };
    row(&mut page, &mut table.columns.iter().map(|name| escape(name)));
    let _ = writeln!(page, "|{}", "---|".repeat(table.columns.len()));
    for (number, cells) in (1..).zip(&table.rows) {
        page.push('|');
        let total = table.total && number == table.rows.len();
        row(
            &mut page,
            &mut cells.iter().map(|cell| match toned(cell, Place::Cell) {
                words if total && !words.is_empty() => format!("**{words}**"),
                words => words,
            }),
        );
    }
    page
}

/// In a table what is not as it should be is told from what is; elsewhere the words do it.
fn toned(cell: &Cell, place: Place) -> String {
    let words = written_in(place, &cell.text);
    let plain = cell.text.0.iter().all(|inline| matches!(inline, Inline::Plain(_)));
    match cell.tone {
        Tone::Bad | Tone::Warn if place == Place::Cell && plain && !words.is_empty() => {
            format!("**{words}**")
        }
        Tone::Plain | Tone::Good | Tone::Quiet | Tone::Bad | Tone::Warn => words,
    }
}

/// Where text stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Line,
    Cell,
}

fn text(text: &Text) -> String {
    written_in(Place::Line, text)
}

fn written_in(place: Place, text: &Text) -> String {
    let written: String = text
        .0
        .iter()
        .map(|inline| match inline {
            Inline::Plain(words) => escape(words),
            Inline::Strong(words) => format!("**{}**", escape(words.trim())),
            Inline::Code(name) => code(place, name),
        })
        .collect();
    written.trim().to_owned()
}

/// A name letter by letter. Its fence is longer than any in it, and in a table a pipe would end the cell even here.
fn code(place: Place, name: &str) -> String {
    let name: String = name.chars().map(|c| if is_deceiving(c) { ' ' } else { c }).collect();
    let name = if place == Place::Cell { name.replace('|', "\\|") } else { name };
    let fence = "`".repeat(longest_run(&name) + 1);
    let room = if name.starts_with('`') || name.ends_with('`') || name.is_empty() { " " } else { "" };
    format!("{fence}{room}{name}{room}{fence}")
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// Words that Markdown takes for nothing but words, on one line.
fn escape(words: &str) -> String {
    let mut escaped = String::with_capacity(words.len());
    let mut before = ' ';
    let mut rest = words.chars().peekable();
    while let Some(c) = rest.next() {
        let after = rest.peek().copied().unwrap_or(' ');
        match c {
            '\n' | '\r' | '\t' => escaped.push(' '),
            c if is_deceiving(c) => escaped.push('\u{fffd}'),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            // Within a word it means nothing.
            '_' if before.is_alphanumeric() && after.is_alphanumeric() => escaped.push('_'),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' | '$' => escaped.extend(['\\', c]),
            c => escaped.push(c),
        }
        before = c;
    }
    escaped
}

/// The beginning of a line, where a dash or a number would make it an item of a list.
fn begun(line: &str) -> String {
    let digits = line.len() - line.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    match line[digits..].chars().next() {
        Some('-' | '+' | '=') if digits == 0 => format!("\\{line}"),
        Some('.' | ')') if digits > 0 => format!("{}\\{}", &line[..digits], &line[digits..]),
        _ => line.to_owned(),
    }
}
