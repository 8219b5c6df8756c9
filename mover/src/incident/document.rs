//! A report as a reader meets it, before it is written down in a format: sections of paragraphs, tables and lists. Both formats
//! write the same document, so neither says what the other doesn't.

use super::bars::Bars;
use super::timeline::Timeline;

/// How something is meant: a colour in one format, words in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As everything.
    #[default]
    Plain,
    /// As wished for.
    Good,
    /// To be looked at.
    Warn,
    /// Not as wished for.
    Bad,
    /// Not there, or of no weight.
    Quiet,
}

impl Tone {
    /// The word that a style sheet knows it by.
    pub fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Quiet => "quiet",
        }
    }
}

/// A piece of running text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inline {
    /// Words.
    Plain(String),
    /// Words that are not to be missed.
    Strong(String),
    /// A name or a field, letter by letter.
    Code(String),
}

/// Running text. What it is made of is not escaped: that is done by the format.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text(pub Vec<Inline>);

impl Text {
    /// Followed by words.
    pub fn then(mut self, words: impl Into<String>) -> Self {
        self.0.push(Inline::Plain(words.into()));
        self
    }

    /// Followed by words that are not to be missed.
    pub fn strong(mut self, words: impl Into<String>) -> Self {
        self.0.push(Inline::Strong(words.into()));
        self
    }

    /// Followed by a name or a field.
    pub fn code(mut self, name: impl Into<String>) -> Self {
        self.0.push(Inline::Code(name.into()));
        self
    }

    /// A name or a field alone.
    pub fn name(name: impl Into<String>) -> Self {
        Self::default().code(name)
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        let said = |inline: &Inline| match inline {
            Inline::Plain(words) | Inline::Strong(words) | Inline::Code(words) => !words.is_empty(),
        };
        !self.0.iter().any(said)
    }

    /// In this tone.
    pub fn toned(self, tone: Tone) -> Cell {
        Cell { text: self, tone }
    }
}

impl From<&str> for Text {
    fn from(words: &str) -> Self {
        Self::default().then(words)
    }
}

impl From<String> for Text {
    fn from(words: String) -> Self {
        Self::default().then(words)
    }
}

/// Text in a tone: a cell of a table, or the value of a field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// What it says.
    pub text: Text,
    /// How it is meant.
    pub tone: Tone,
}

impl<T: Into<Text>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), tone: Tone::Plain }
    }
}

/// What is called so, and what it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// What it is called.
    pub label: String,
    /// What it is.
    pub value: Cell,
}

/// A field.
pub fn field(label: impl Into<String>, value: impl Into<Cell>) -> Field {
    Field { label: label.into(), value: value.into() }
}

/// A table. Each row has as many cells as there are columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// What it shows; empty where the title above says it.
    pub caption: String,
    /// What stands in which column.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
    /// Whether the last row sums up the others.
    pub total: bool,
}

impl Table {
    /// A table without rows.
    pub fn new<const N: usize>(caption: impl Into<String>, columns: [&str; N]) -> Self {
        let columns = columns.iter().map(ToString::to_string).collect();
        Self { caption: caption.into(), columns, ..Self::default() }
    }

    /// One more row.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.columns.len(), "of {}", self.caption);
        self.rows.push(cells.into());
    }
}

/// A piece of a section.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// Running text.
    Paragraph(Text),
    /// Running text that asks for something, or says that something isn't so.
    Note(Cell),
    /// The title of what follows.
    Heading(String),
    /// Names and values.
    Fields(Vec<Field>),
    /// One thing a line.
    List(Vec<Text>),
    /// A table.
    Table(Table),
    /// What to type.
    Command(String),
    /// The picture.
    Timeline(Timeline),
    /// A picture of what a table says.
    Bars(Bars),
}

impl Block {
    /// Running text.
    pub fn paragraph(text: impl Into<Text>) -> Self {
        Self::Paragraph(text.into())
    }

    /// The title of what follows.
    pub fn heading(title: impl Into<String>) -> Self {
        Self::Heading(title.into())
    }
}

/// A section.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// What it is called.
    pub title: String,
    /// What it says.
    pub blocks: Vec<Block>,
}

/// A section of these blocks.
pub fn section(title: &str, blocks: Vec<Block>) -> Section {
    Section { title: title.to_owned(), blocks }
}

/// A number beside what was promised.
#[derive(Clone, Debug, PartialEq)]
pub struct Meter {
    /// What was measured.
    pub label: String,
    /// How much it is.
    pub value: String,
    /// What it is held against, and what came out.
    pub verdict: Cell,
    /// The part of what was promised that was used up, in percent; absent where nothing was measured.
    pub used: Option<u64>,
}

/// A report.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// What kind of report it is.
    pub kind: String,
    /// What it is about: the name of the run.
    pub subject: String,
    /// What happened, where somebody has written it.
    pub summary: Option<Text>,
    /// How it came out, in a word.
    pub outcome: Cell,
    /// How it came out, in a sentence.
    pub lead: Text,
    /// What has to be known about the report itself, such as that it is not the last one.
    pub notice: Option<Text>,
    /// The numbers that everybody asks for.
    pub meters: Vec<Meter>,
    /// What stands at its head.
    pub head: Vec<Field>,
    /// The sections.
    pub sections: Vec<Section>,
    /// What it was made from.
    pub source: Text,
}
