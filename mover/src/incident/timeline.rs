//! The picture of what happened when: a row for each thing that took time, so that no two labels can meet. It is drawn twice, for a
//! wide page with the labels beside the bars and for a narrow one with the labels above them; the page shows one. Places along the
//! time are percentages and all else are pixels, so letters keep their size at any width.

use std::fmt::Write;

use crds::Span;
use crds::run::{Answer, StepPhase};
use jiff::Timestamp;

use super::document::Tone;
use super::facts::{Facts, Stage};
use super::html::escape;
use super::words;

/// A thing that took time.
#[derive(Clone, Debug, PartialEq)]
pub struct Bar {
    /// What.
    pub label: String,
    /// From when.
    pub from: Timestamp,
    /// Until when; absent: it goes on.
    pub to: Option<Timestamp>,
    /// How it is meant.
    pub tone: Tone,
    /// What stands at its row's end.
    pub said: String,
}

/// The rows, and the time they share.
#[derive(Clone, Debug, PartialEq)]
pub struct Timeline {
    /// The rows, in the order in which they began.
    pub bars: Vec<Bar>,
    /// Its left edge.
    pub from: Timestamp,
    /// Whether what was before it is longer than it can show.
    pub cut: bool,
    /// Its right edge.
    pub to: Timestamp,
    /// When the promised recovery time was over, where that is in the picture.
    pub due: Option<Timestamp>,
}

impl Timeline {
    /// What took time in this run; nothing when nothing did.
    pub fn of(facts: &Facts) -> Option<Self> {
        let clocks = &facts.clocks;
        let mut bars: Vec<Bar> = facts
            .begun()
            .map(|(step, from)| {
                let (tone, said) = match step.phase {
                    StepPhase::Failed => (Tone::Bad, Some("failed")),
                    StepPhase::Skipped => (Tone::Quiet, Some("skipped")),
                    StepPhase::Undone => (Tone::Warn, Some("undone")),
                    StepPhase::Running => (Tone::Plain, Some("running")),
                    StepPhase::Waiting | StepPhase::Done => (Tone::Good, None),
                };
                let took = step.end.map(|end| words::between(from, end)).unwrap_or_default();
                let said = said.map_or(took, str::to_owned);
                Bar { label: step.name.clone(), from, to: step.end, tone, said }
            })
            .collect();
        bars.extend(facts.run.status.gates.iter().map(|gate| Bar {
            label: format!("Gate {}", gate.name.as_str()),
            from: gate.since,
            to: gate.time,
            tone: if gate.answer == Some(Answer::Rejected) { Tone::Bad } else { Tone::Warn },
            said: gate.time.map_or_else(|| "waits".to_owned(), |time| words::between(gate.since, time)),
        }));
        if bars.is_empty() {
            return None;
        }
        if clocks.created > clocks.detected {
            bars.push(Bar {
                label: "Before the run".to_owned(),
                from: clocks.detected,
                to: Some(clocks.created),
                tone: Tone::Quiet,
                said: words::between(clocks.detected, clocks.created),
            });
        }
        bars.sort_by_key(|bar| bar.from);
        let ends = bars.iter().filter_map(|bar| bar.to);
        let until = if facts.stage == Stage::Interim { Some(clocks.latest) } else { clocks.ended };
        let begin = bars.iter().map(|bar| bar.from).min()?.min(clocks.detected);
        let mut to = ends.chain(until).max().unwrap_or(clocks.latest).max(begin);
        // A failure that was declared long before anybody began would leave no width for what was done then.
        let run = to.duration_since(clocks.created).max(jiff::SignedDuration::ZERO);
        let earliest = clocks.created.checked_sub(run).unwrap_or(begin);
        let from = if begin < earliest && run.as_secs() > 0 { earliest } else { begin };
        // What goes on gets room to be seen going on, however little is known of it.
        if bars.iter().any(|bar| bar.to.is_none()) {
            let more = jiff::SignedDuration::from_secs(to.duration_since(from).as_secs() / 10 + 1);
            to = to.checked_add(more).unwrap_or(to);
        }
        let (rto, _) = facts.promised();
        let due = clocks.detected.checked_add(rto.to_duration()).ok().filter(|due| *due > from && *due < to);
        Some(Self { bars, from, cut: from > begin, to, due })
    }

    /// The picture, as it stands in an HTML page.
    pub fn svg(&self) -> String {
        format!("{}{}", self.drawn(&WIDE), self.drawn(&NARROW))
    }

    fn drawn(&self, form: &Form) -> String {
        let top = 22.0;
        let height = top + form.row * self.bars.len() as f64 + if self.due.is_some() { 24.0 } else { 6.0 };
        let bottom = top + form.row * self.bars.len() as f64;
        let class = form.class;
        let said = self.in_words();
        let mut svg = format!(
            "<svg class=\"{class}\" role=\"img\" aria-labelledby=\"{class}-title\" width=\"100%\" height=\"{height:.0}\">\n<title id=\"{class}-title\">{}</title>\n",
            escape(&said)
        );
        // The time of day needs its date where it comes more than once.
        let days = self.to.duration_since(self.from).as_hours() >= 20;
        let (step, ticks) = self.ticks(if days { (form.ticks + 1) / 2 } else { form.ticks });
        let shape = match (days, step % 60) {
            (true, _) => "%m-%d %H:%M",
            (false, 0) => "%H:%M",
            (false, _) => "%H:%M:%S",
        };
        for tick in ticks {
            let x = self.at(tick, form);
            let label = tick.strftime(shape);
            // There is room beside the time but where it takes the whole width.
            let anchor = match x {
                x if form.left == 0.0 && x < 12.0 => "start",
                x if form.right == 100.0 && x > 88.0 => "end",
                _ => "middle",
            };
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"{top:.0}\" y2=\"{bottom:.0}\"/><text class=\"tick\" x=\"{x:.2}%\" y=\"13\" text-anchor=\"{anchor}\">{label}</text>"
            );
        }
        if let Some(due) = self.due {
            let x = self.at(due, form);
            let anchor = if x > (form.left + form.right) / 2.0 { "end" } else { "start" };
            let _ = writeln!(
                svg,
                "<line class=\"due\" x1=\"{x:.2}%\" x2=\"{x:.2}%\" y1=\"{top:.0}\" y2=\"{:.0}\"/><text class=\"due\" x=\"{x:.2}%\" y=\"{:.0}\" text-anchor=\"{anchor}\">RTO was due {}</text>",
                bottom + 6.0,
                bottom + 19.0,
                due.strftime("%H:%M:%S")
            );
        }
        for (row, bar) in self.bars.iter().enumerate() {
            self.row(&mut svg, bar, top + form.row * row as f64, form);
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn row(&self, svg: &mut String, bar: &Bar, y: f64, form: &Form) {
        let (from, to) = (self.at(bar.from, form), self.at(bar.to.unwrap_or(self.to), form));
        let (text, rect) = (y + form.text, y + form.bar);
        let label = escape(&shortened(&bar.label, form.letters));
        let open = if bar.to.is_none() { " open" } else { "" };
        let _ = writeln!(
            svg,
            "<g class=\"bar {tone}{open}\"><title>{title}</title><line class=\"track\" x1=\"{left}%\" x2=\"{right}%\" y1=\"{mid:.0}\" y2=\"{mid:.0}\"/><text class=\"label\" x=\"0\" y=\"{text:.0}\">{label}</text><rect x=\"{from:.2}%\" y=\"{rect:.0}\" width=\"{width:.2}%\" height=\"10\" rx=\"2\"/><text class=\"said\" x=\"100%\" y=\"{text:.0}\" text-anchor=\"end\">{said}</text></g>",
            tone = bar.tone.word(),
            title = escape(&format!("{}, {} {}", bar.label, words::time(bar.from), bar.said)),
            left = form.left,
            right = form.right,
            mid = rect + 5.0,
            // A width of nothing is not drawn at all.
            width = (to - from).max(0.02),
            said = escape(&bar.said),
        );
    }

    /// Where along the width an instant is, in percent.
    fn at(&self, at: Timestamp, form: &Form) -> f64 {
        let whole = self.to.duration_since(self.from).as_millis().max(1) as f64;
        let part = at.duration_since(self.from).as_millis().clamp(0, whole as i128) as f64;
        form.left + (form.right - form.left) * part / whole
    }

    /// Round times of day between the edges, at most `most`, and the seconds between them.
    fn ticks(&self, most: i64) -> (i64, Vec<Timestamp>) {
        let (from, to) = (self.from.as_second(), self.to.as_second());
        let step =
            ROUND.into_iter().find(|step| (to - from) / step <= most).unwrap_or((to - from) / most + 1);
        let first = from.div_euclid(step) * step + if from.rem_euclid(step) == 0 { 0 } else { step };
        let ticks = (0..).map(|n| first + n * step).take_while(|tick| *tick <= to);
        (step, ticks.filter_map(|tick| Timestamp::from_second(tick).ok()).collect())
    }

    /// What the picture shows, for who doesn't see it.
    fn in_words(&self) -> String {
        let whole = Span::floor(self.to.duration_since(self.from));
        let rows: Vec<String> = self.bars.iter().map(|bar| format!("{} {}", bar.label, bar.said)).collect();
        format!("{whole} from {}: {}", words::time(self.from), rows.join(", "))
    }
}

/// Seconds between ticks that people count in.
const ROUND: [i64; 19] =
    [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400, 604_800];

/// Where what stands in a row.
pub(super) struct Form {
    pub(super) class: &'static str,
    pub(super) row: f64,
    /// Base line of the text, from the row's top.
    pub(super) text: f64,
    /// Top of the bar, from the row's top.
    pub(super) bar: f64,
    /// Edges of the time, in percent.
    pub(super) left: f64,
    pub(super) right: f64,
    /// Letters that a label may have.
    pub(super) letters: usize,
    ticks: i64,
}

pub(super) const WIDE: Form =
    Form { class: "wide", row: 24.0, text: 17.0, bar: 7.0, left: 24.0, right: 89.0, letters: 30, ticks: 5 };
pub(super) const NARROW: Form = Form {
    class: "narrow",
    row: 38.0,
    text: 15.0,
    bar: 21.0,
    left: 0.0,
    right: 100.0,
    letters: 34,
    ticks: 4,
};

/// A label of at most so many letters.
pub(super) fn shortened(label: &str, letters: usize) -> String {
    if label.chars().count() <= letters {
        return label.to_owned();
    }
    label.chars().take(letters - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_long_it_was_the_times_have_room_beside_each_other() {
        for seconds in (0..40).map(|n| 1_i64 << n).take_while(|seconds| *seconds < 90 * 86_400) {
            let from = Timestamp::from_second(1_795_426_080).unwrap();
            let to = from + Span::from_secs(u64::try_from(seconds).unwrap()).to_duration();
            let timeline = Timeline { bars: Vec::new(), from, cut: false, to, due: None };
            for form in [&WIDE, &NARROW] {
                let (step, ticks) = timeline.ticks(form.ticks);
                let many = i64::try_from(ticks.len()).unwrap();
                assert!(many <= form.ticks + 1, "{many} ticks in {seconds}s");
                assert!(many < 2 || ticks[1].as_second() - ticks[0].as_second() == step);
                assert!(
                    ticks.iter().all(|tick| (form.left..=form.right).contains(&timeline.at(*tick, form)))
                );
            }
        }
    }

    #[test]
    fn a_long_label_is_shortened_and_a_short_one_is_not() {
        assert_eq!(shortened("Restore/chromadb", 30), "Restore/chromadb");
        assert_eq!(shortened("Restore/chromadb", 9), "Restore/\u{2026}");
    }
}
