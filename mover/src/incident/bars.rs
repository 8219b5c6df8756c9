//! A picture of parts: a row for each, with a line where the whole is. Drawn as the timeline is, twice, for a wide page and a narrow one.

use std::fmt::Write;

use super::document::Tone;
use super::html::escape;
use super::timeline::{Form, NARROW, WIDE, shortened};

/// Rows of parts of a whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Bars {
    /// What it shows.
    pub caption: String,
    /// What the line at the whole stands for.
    pub whole: String,
    /// The rows.
    pub rows: Vec<Part>,
}

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Of what.
    pub label: String,
    /// How much of the whole; what is more than twice the whole is drawn as twice.
    pub part: f64,
    /// How it is meant.
    pub tone: Tone,
    /// What stands at its row's end.
    pub said: String,
}

impl Bars {
    /// The picture, as it stands in an HTML page.
    pub fn svg(&self) -> String {
        format!("{}{}", self.drawn(&WIDE), self.drawn(&NARROW))
    }

    fn drawn(&self, form: &Form) -> String {
        let top = 22.0;
        let bottom = top + form.row * self.rows.len() as f64;
        let rows: Vec<String> = self.rows.iter().map(|row| format!("{} {}", row.label, row.said)).collect();
        let mut svg = format!(
            "<svg class=\"{}\" role=\"img\" aria-label=\"{}\" width=\"100%\" height=\"{:.0}\">\n",
            form.class,
            escape(&format!("{}: {}", self.caption, rows.join(", "))),
            bottom + 6.0
        );
        // Where nothing is more than the whole, it takes all the width.
        let most = self.rows.iter().map(|row| row.part).fold(1.0, f64::max).min(2.0);
        let width = form.right - form.left;
        let line = form.left + width / most;
        let anchor = if line > 60.0 { "end" } else { "middle" };
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{line:.2}%\" x2=\"{line:.2}%\" y1=\"{top:.0}\" y2=\"{bottom:.0}\"/><text class=\"tick\" x=\"{line:.2}%\" y=\"13\" text-anchor=\"{anchor}\">{}</text>",
            escape(&self.whole)
        );
        for (number, row) in self.rows.iter().enumerate() {
            let y = top + form.row * number as f64;
            let (text, rect) = (y + form.text, y + form.bar);
            let drawn = width * row.part.clamp(0.0, most) / most;
            let _ = writeln!(
                svg,
                "<g class=\"bar {tone}\"><line class=\"track\" x1=\"{left}%\" x2=\"{right}%\" y1=\"{mid:.0}\" y2=\"{mid:.0}\"/><text class=\"label\" x=\"0\" y=\"{text:.0}\">{label}</text><rect x=\"{left}%\" y=\"{rect:.0}\" width=\"{drawn:.2}%\" height=\"10\" rx=\"2\"/><text class=\"said\" x=\"100%\" y=\"{text:.0}\" text-anchor=\"end\">{said}</text></g>",
                tone = row.tone.word(),
                left = form.left,
                right = form.right,
                mid = rect + 5.0,
                drawn = drawn.max(0.02),
                label = escape(&shortened(&row.label, form.letters)),
                said = escape(&row.said),
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}
