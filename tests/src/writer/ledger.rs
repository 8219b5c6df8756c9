//! What was sent, when, and when it was acknowledged. Requests of one collection stand in the order in which the server got
//! them, since the next is sent when the one before was answered.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::Record;

/// What a request does with its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Adds records; those that exist are left as they are.
    Add,
    /// Changes records; those that don't exist are ignored.
    Update,
    /// Changes records or adds them.
    Upsert,
    /// Removes records.
    Delete,
}

/// One request to one collection.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What it does.
    pub verb: Verb,
    /// By id; content only where the verb carries some.
    pub records: BTreeMap<String, Option<Record>>,
}

impl Request {
    /// Changes `state` as a server does that carries the request out.
    pub fn apply(&self, state: &mut BTreeMap<String, Record>) {
        for (id, content) in &self.records {
            match (self.verb, content) {
                (Verb::Delete, _) | (_, None) => {
                    state.remove(id);
                }
                (Verb::Add, Some(record)) => {
                    state.entry(id.clone()).or_insert_with(|| record.clone());
                }
                (Verb::Update, Some(record)) => {
                    if let Some(known) = state.get_mut(id) {
                        merge(known, record);
                    }
                }
                (Verb::Upsert, Some(record)) => match state.get_mut(id) {
                    Some(known) => merge(known, record),
                    None => {
                        state.insert(id.clone(), record.clone());
                    }
                },
            }
        }
    }
}

/// ChromaDB replaces vector and document and merges metadata key by key.
fn merge(known: &mut Record, record: &Record) {
    known.vector.clone_from(&record.vector);
    known.document.clone_from(&record.document);
    for (key, value) in &record.metadata {
        known.metadata.insert(key.clone(), value.clone());
    }
}

/// A request and what became of it.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The request.
    pub request: Request,
    /// Just before its first try.
    pub sent_at: Timestamp,
    /// Just after its answer.
    pub acknowledged_at: Option<Timestamp>,
}

impl Entry {
    /// How long the application waited for the answer.
    #[must_use]
    pub fn waited(&self) -> Option<Duration> {
        self.acknowledged_at.and_then(|end| Duration::try_from(end.duration_since(self.sent_at)).ok())
    }
}

/// When a collection came and went, where it did while the writer wrote.
#[derive(Clone, Debug, Default)]
struct Life {
    making: Option<Timestamp>,
    made: Option<Timestamp>,
    dropping: Option<Timestamp>,
    dropped: Option<Timestamp>,
}

/// Whether a collection is there at a cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum There {
    /// It has to be.
    Must,
    /// It was just being made, or dropped.
    May,
    /// It was not made yet, or was dropped before.
    MustNot,
}

/// Everything a writer did.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    collections: BTreeMap<String, Vec<Entry>>,
    lives: BTreeMap<String, Life>,
}

impl Ledger {
    /// Notes that `request` is about to be sent to `collection`; returns its number there.
    pub fn begin(&mut self, collection: &str, request: Request, now: Timestamp) -> usize {
        let entries = self.collections.entry(collection.to_owned()).or_default();
        entries.push(Entry { request, sent_at: now, acknowledged_at: None });
        entries.len() - 1
    }

    /// Notes that the request was answered.
    pub fn acknowledge(&mut self, collection: &str, index: usize, now: Timestamp) {
        if let Some(entry) = self.collections.get_mut(collection).and_then(|entries| entries.get_mut(index)) {
            entry.acknowledged_at = Some(now);
        }
    }

    fn life(&mut self, collection: &str) -> &mut Life {
        self.collections.entry(collection.to_owned()).or_default();
        self.lives.entry(collection.to_owned()).or_default()
    }

    /// Notes that a collection is about to be made.
    pub fn being_made(&mut self, collection: &str, now: Timestamp) {
        self.life(collection).making = Some(now);
    }

    /// Notes that it was.
    pub fn made(&mut self, collection: &str, now: Timestamp) {
        self.life(collection).made = Some(now);
    }

    /// Notes that a collection is about to be dropped.
    pub fn being_dropped(&mut self, collection: &str, now: Timestamp) {
        self.life(collection).dropping = Some(now);
    }

    /// Notes that it was.
    pub fn dropped(&mut self, collection: &str, now: Timestamp) {
        self.life(collection).dropped = Some(now);
    }

    /// Whether a collection is there in what was cut at `consistent_at`, or a moment later, until `released_at`.
    #[must_use]
    pub fn is_there(&self, collection: &str, consistent_at: Timestamp, released_at: Timestamp) -> There {
        let Some(life) = self.lives.get(collection) else { return There::Must };
        let before = |time: Option<Timestamp>| time.is_some_and(|time| time < consistent_at);
        let begun = |time: Option<Timestamp>| time.is_some_and(|time| time <= released_at);
        if before(life.dropped) || !begun(life.making) {
            There::MustNot
        } else if before(life.made) && !begun(life.dropping) {
            There::Must
        } else {
            There::May
        }
    }

    /// The requests of a collection in their order.
    #[must_use]
    pub fn entries(&self, collection: &str) -> &[Entry] {
        self.collections.get(collection).map_or(&[], Vec::as_slice)
    }

    /// The collections, sorted.
    pub fn collections(&self) -> impl Iterator<Item = &str> {
        self.collections.keys().map(String::as_str)
    }

    /// Number of requests.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.collections.values().map(Vec::len).sum()
    }

    /// What a collection holds after every request.
    #[must_use]
    pub fn state(&self, collection: &str) -> BTreeMap<String, Record> {
        let mut state = BTreeMap::new();
        for entry in self.entries(collection) {
            entry.request.apply(&mut state);
        }
        state
    }

    /// The longest that any request waited which was under way at some instant of `from..=to`: what an application felt of a
    /// capture. `None` when nothing was under way, which says nothing about the capture.
    #[must_use]
    pub fn longest_wait(&self, from: Timestamp, to: Timestamp) -> Option<Duration> {
        self.collections
            .values()
            .flatten()
            .filter(|entry| entry.sent_at <= to && entry.acknowledged_at.is_none_or(|end| end >= from))
            .filter_map(Entry::waited)
            .max()
    }
}
