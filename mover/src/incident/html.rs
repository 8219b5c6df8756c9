//! A document as one HTML file: no script, nothing that is fetched, readable on paper and on a phone, in light and in dark.

use std::fmt::Write;

use super::document::{Block, Cell, Document, Field, Inline, Meter, Section, Table, Text, Tone};
use super::timeline::Timeline;

/// How it looks.
pub const STYLE: &str = include_str!("style.css");
/// The file may do nothing but show itself, whatever comes to stand in it.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'";

/// Letters of a value, markup included, that have room in half of the width.
const LONG: usize = 90;

/// Writes it down.
pub fn write(document: &Document) -> String {
    let title = escape(&format!("{}: {}", document.kind, document.subject));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <link rel=\"icon\" href=\"data:,\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<header>\n\
         <p class=\"kind\">{}</p>\n<h1>{}</h1>\n",
        escape(&document.kind),
        escape(&document.subject)
    );
    if let Some(summary) = &document.summary {
        let _ = writeln!(page, "<p class=\"summary\">{}</p>", text(summary));
    }
    let _ = writeln!(
        page,
        "<p class=\"outcome\"><span class=\"chip {}\">{}</span></p>",
        document.outcome.tone.word(),
        text(&document.outcome.text)
    );
    if !document.lead.is_empty() {
        let _ = writeln!(page, "<p class=\"lead\">{}</p>", text(&document.lead));
    }
    if let Some(notice) = &document.notice {
        let _ = writeln!(page, "<p class=\"note warn\">{}</p>", text(notice));
    }
    if !document.meters.is_empty() {
        let meters: String = document.meters.iter().map(meter).collect();
        let _ = writeln!(page, "<div class=\"meters\">\n{meters}</div>");
    }
    page.push_str(&fields(&document.head).replacen("<dl>", "<dl class=\"head\">", 1));
    page.push_str("</header>\n<nav aria-label=\"Sections\"><ol>\n");
    for (number, section) in (1..).zip(&document.sections) {
        let _ = writeln!(page, "<li><a href=\"#s{number}\">{}</a></li>", escape(&section.title));
    }
    page.push_str("</ol></nav>\n<main>\n");
    for (number, section) in (1..).zip(&document.sections) {
        page.push_str(&written(number, section));
    }
    let _ = write!(page, "</main>\n<footer><p>{}</p></footer>\n</body>\n</html>\n", text(&document.source));
    page
}

fn written(number: usize, section: &Section) -> String {
    let mut html = format!(
        "<section id=\"s{number}\">\n<h2><span class=\"number\">{number}</span> {}</h2>\n",
        escape(&section.title)
    );
    for block in &section.blocks {
        let _ = match block {
            Block::Paragraph(words) => writeln!(html, "<p>{}</p>", text(words)),
            Block::Note(cell) => {
                writeln!(html, "<p class=\"note {}\">{}</p>", cell.tone.word(), text(&cell.text))
            }
            Block::Heading(title) => writeln!(html, "<h3>{}</h3>", escape(title)),
            Block::Fields(list) => write!(html, "{}", fields(list)),
            Block::List(items) => {
                let items: String = items.iter().map(|item| format!("<li>{}</li>\n", text(item))).collect();
                writeln!(html, "<ul>\n{items}</ul>")
            }
            Block::Table(rows) => write!(html, "{}", table(rows)),
            Block::Command(command) => writeln!(html, "<pre><code>{}</code></pre>", escape_lines(command)),
            Block::Bars(bars) => writeln!(
                html,
                "<figure>\n{}<figcaption>{}</figcaption>\n</figure>",
                bars.svg(),
                escape(&bars.caption)
            ),
            Block::Timeline(timeline) => {
                writeln!(html, "<figure>\n{}{}</figure>", timeline.svg(), legend(timeline))
            }
        };
    }
    html.push_str("</section>\n");
    html
}

/// What the colours of the picture mean, those that are in it.
fn legend(timeline: &Timeline) -> String {
    let said = [
        (Tone::Quiet, "before the run, or skipped"),
        (Tone::Warn, "waiting for people"),
        (Tone::Good, "steps"),
        (Tone::Plain, "running"),
        (Tone::Bad, "failed or rejected"),
    ];
    let there = said.into_iter().filter(|(tone, _)| timeline.bars.iter().any(|bar| bar.tone == *tone));
    let words: String =
        there.map(|(tone, words)| format!("<span class=\"{}\">{words}</span> ", tone.word())).collect();
    let cut = if timeline.cut { " The time before the run is cut short." } else { "" };
    format!("<figcaption>What took how long, times in UTC.{cut} {}</figcaption>\n", words.trim_end())
}

fn meter(meter: &Meter) -> String {
    let used = meter.used.map_or_else(String::new, |used| {
        let tone = meter.verdict.tone.word();
        format!("<div class=\"used\"><div class=\"{tone}\" style=\"width:{}%\"></div></div>\n", used.min(100))
    });
    format!(
        "<div class=\"meter\">\n<p class=\"label\">{}</p>\n<p class=\"value\">{}</p>\n{used}<p class=\"verdict {}\">{}</p>\n</div>\n",
        escape(&meter.label),
        escape(&meter.value),
        meter.verdict.tone.word(),
        text(&meter.verdict.text)
    )
}

fn fields(fields: &[Field]) -> String {
    let mut html = "<dl>\n".to_owned();
    for field in fields {
        let value = text(&field.value.text);
        // What is long gets the whole width where fields stand side by side.
        let long = if value.chars().count() > LONG { " class=\"long\"" } else { "" };
        let (label, tone) = (escape(&field.label), field.value.tone.word());
        let _ = writeln!(html, "<div{long}><dt>{label}</dt><dd class=\"{tone}\">{value}</dd></div>");
    }
    html.push_str("</dl>\n");
    html
}

fn table(table: &Table) -> String {
    let head: String =
        table.columns.iter().map(|name| format!("<th scope=\"col\">{}</th>", escape(name))).collect();
    let mut html = format!(
        "<table>\n{}<thead><tr>{head}</tr></thead>\n<tbody>\n",
        match table.caption.as_str() {
            "" => String::new(),
            caption => format!("<caption>{}</caption>\n", escape(caption)),
        }
    );
    for (number, row) in (1..).zip(&table.rows) {
        let total = table.total && number == table.rows.len();
        html.push_str(if total { "<tr class=\"total\">" } else { "<tr>" });
        for (name, cell) in table.columns.iter().zip(row) {
            // The name of the column stands beside the value where the page is too narrow for columns.
            let _ = write!(
                html,
                "<td data-column=\"{}\"{}><span>{}</span></td>",
                escape(name),
                if cell.text.is_empty() { " class=\"empty\"" } else { "" },
                chip(cell)
            );
        }
        html.push_str("</tr>\n");
    }
    html.push_str("</tbody>\n</table>\n");
    html
}

/// What has a tone is marked.
fn chip(cell: &Cell) -> String {
    match cell.tone {
        Tone::Plain => text(&cell.text),
        tone => format!("<span class=\"chip {}\">{}</span>", tone.word(), text(&cell.text)),
    }
}

fn text(text: &Text) -> String {
    text.0
        .iter()
        .map(|inline| match inline {
            Inline::Plain(words) => escape(words),
            Inline::Strong(words) => format!("<strong>{}</strong>", escape(words)),
            Inline::Code(name) => format!("<code>{}</code>", escape(name)),
        })
        .collect()
}

/// Words that a browser takes for nothing but words, in an element and in an attribute in double quotes.
pub fn escape(words: &str) -> String {
    escape_lines(&words.replace(['\n', '\r', '\t'], " "))
}

/// The same where line breaks count.
fn escape_lines(words: &str) -> String {
    let mut escaped = String::with_capacity(words.len());
    for c in words.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\n' => escaped.push('\n'),
            c if super::words::is_deceiving(c) => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}
