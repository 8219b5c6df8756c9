//! The report of an incident, from the RecoveryRun that dealt with it. A pure function, but for `stored`, which keeps what it returned: `read` takes the object apart once, `facts`
//! draws from it what follows, the sections say that in words, and the two formats write the same document down. No secret can come
//! into it, for none is in the object; whatever is in it is taken for words, never for markup.

mod aftermath;
mod assessment;
mod audit;
pub mod bars;
mod cause;
mod checklist;
pub mod document;
mod effectiveness;
mod facts;
pub mod html;
pub mod markdown;
mod read;
pub mod stored;
mod story;
mod summary;
mod timeline;
pub mod words;

#[cfg(test)]
mod tests;

use facts::Facts;
pub use read::Run;

/// How a report is written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Markdown, for a wiki, a pull request or a terminal.
    Markdown,
    /// One HTML file with a picture of what happened when, for a browser or a printer.
    Html,
}

impl Format {
    /// The word as users read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Markdown => "markdown",
            Self::Html => "html",
        }
    }
}

/// The report of `run`.
pub fn render(run: Run, format: Format) -> String {
    let document = summary::document(&Facts::of(run));
    match format {
        Format::Markdown => markdown::write(&document),
        Format::Html => html::write(&document),
    }
}
