//! Holds what a server serves against a writer's ledger. What was acknowledged before a point's consistency time must be
//! there, what was sent after the release must not, what lies in between may or may not, but only as whole requests, in
//! their order, and the same instant for all collections.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;

use super::{Ledger, Record, Server, There};

/// What a server was found to hold.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Records of each collection.
    pub counts: BTreeMap<String, u64>,
    /// Requests that were under way at the cut.
    pub in_between: usize,
    /// Those of them that the point contains.
    pub included: usize,
}

impl Found {
    /// Records in all collections.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.counts.values().sum()
    }
}

/// Reads everything `server` serves and holds it against `ledger`; `consistent_at` and `released_at` are the point's.
/// Fails with a sentence that names the collection and the first differences.
pub async fn hold(
    server: &Server,
    ledger: &Ledger,
    consistent_at: Timestamp,
    released_at: Timestamp,
) -> Result<Found> {
    let mut found = Found::default();
    let mut served: Vec<String> = server.collections().await?.into_iter().map(|(name, _)| name).collect();
    served.sort();
    let wrong = |name: &str| match ledger.is_there(name, consistent_at, released_at) {
        There::Must => !served.iter().any(|there| there == name),
        There::May => false,
        There::MustNot => served.iter().any(|there| there == name),
    };
    let written: Vec<&str> = ledger.collections().collect();
    let wrong: Vec<&&str> = written.iter().filter(|name| wrong(name)).collect();
    if !wrong.is_empty() || !served.iter().all(|name| written.contains(&name.as_str())) {
        bail!(
            "the server has the collections {served:?}, the writer wrote to {written:?}; {wrong:?} are, or are not, there"
        );
    }
    // The cut lies after everything that is in, and before the answers to what is not.
    let (mut latest_sent_in, mut earliest_answered_out) = (Timestamp::MIN, Timestamp::MAX);
    for name in &served {
        let seen =
            server.everything(name).await.with_context(|| format!("collection {name} can't be read"))?;
        let cut = match_prefix(ledger, name, &seen, consistent_at, released_at)?;
        let entries = ledger.entries(name);
        found.in_between += cut.most - cut.least;
        found.included += cut.first - cut.least;
        found.counts.insert(name.clone(), seen.len() as u64);
        if let Some(last) = entries[..cut.first].last() {
            latest_sent_in = latest_sent_in.max(last.sent_at);
        }
        if let Some(answered) = entries[cut.last..].iter().filter_map(|e| e.acknowledged_at).min() {
            earliest_answered_out = earliest_answered_out.min(answered);
        }
    }
    if latest_sent_in > earliest_answered_out {
        bail!(
            "the collections show different instants: one holds a request sent at {latest_sent_in}, another lacks one \
             acknowledged at {earliest_answered_out}"
        );
    }
    Ok(found)
}

/// Numbers of requests: at least and at most so many are in; `first..=last` of them explain what was seen, more than one
/// number when a request changed nothing.
struct Cut {
    least: usize,
    most: usize,
    first: usize,
    last: usize,
}

/// The numbers of requests after which the collection looked as `seen`.
fn match_prefix(
    ledger: &Ledger,
    name: &str,
    seen: &BTreeMap<String, Record>,
    consistent_at: Timestamp,
    released_at: Timestamp,
) -> Result<Cut> {
    let entries = ledger.entries(name);
    let least =
        entries.iter().take_while(|e| e.acknowledged_at.is_some_and(|end| end < consistent_at)).count();
    let most = entries.iter().take_while(|e| e.sent_at <= released_at).count().max(least);
    let mut state = BTreeMap::new();
    for entry in &entries[..least] {
        entry.request.apply(&mut state);
    }
    let mut nearest = differences(seen, &state);
    let mut first = least;
    while !nearest.is_empty() && first < most {
        entries[first].request.apply(&mut state);
        first += 1;
        let now = differences(seen, &state);
        if now.len() < nearest.len() {
            nearest = now;
        }
    }
    if nearest.is_empty() {
        let mut last = first;
        while last < most {
            entries[last].request.apply(&mut state);
            if state != *seen {
                break;
            }
            last += 1;
        }
        return Ok(Cut { least, most, first, last });
    }
    bail!(
        "collection {name} is in no state that it ever had between {consistent_at} (request {least}) and {released_at} \
         (request {most}): {} records differ at least: {}",
        nearest.len(),
        nearest.iter().take(5).cloned().collect::<Vec<_>>().join("; ")
    )
}

fn differences(seen: &BTreeMap<String, Record>, expected: &BTreeMap<String, Record>) -> Vec<String> {
    let missing = expected.keys().filter(|id| !seen.contains_key(*id)).map(|id| format!("{id} is missing"));
    let wrong = seen.iter().filter_map(|(id, record)| match expected.get(id) {
        None => Some(format!("{id} should not be there")),
        Some(right) => record.difference(right).map(|what| format!("{id} has another {what}")),
    });
    missing.chain(wrong).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Request, Verb, synthetic};
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn two_requests() -> Ledger {
        let mut ledger = Ledger::default();
        for (n, ids) in [["a", "b"], ["c", "d"]].iter().enumerate() {
            let records =
                ids.iter().zip(synthetic(n as u64, 2, 4)).map(|(id, r)| ((*id).to_owned(), Some(r)));
            let request = Request { verb: Verb::Add, records: records.collect() };
            let index = ledger.begin("papers", request, at(10 * (n as i64 + 1)));
            ledger.acknowledge("papers", index, at(10 * (n as i64 + 1) + 5));
        }
        ledger
    }

    #[test]
    fn a_request_under_way_at_the_cut_may_be_there_whole_or_not_at_all() {
        let ledger = two_requests();
        let whole = ledger.state("papers");
        let mut without = whole.clone();
        without.retain(|id, _| id == "a" || id == "b");
        let mut half = whole.clone();
        half.remove("d");
        let judge = |seen: &BTreeMap<String, Record>| match_prefix(&ledger, "papers", seen, at(21), at(22));
        assert_eq!(judge(&whole).unwrap().first, 2);
        assert_eq!(judge(&without).unwrap().first, 1);
        assert!(judge(&half).is_err());
    }

    #[test]
    fn a_collection_that_comes_and_goes_is_there_between_and_perhaps_at_its_ends() {
        let mut ledger = two_requests();
        ledger.being_made("passing", at(10));
        ledger.made("passing", at(12));
        ledger.being_dropped("passing", at(20));
        ledger.dropped("passing", at(22));
        let there = |cut: i64| ledger.is_there("passing", at(cut), at(cut + 1));
        assert_eq!([8, 9, 11].map(there), [There::MustNot, There::May, There::May]);
        assert_eq!(
            [13, 18, 19, 21, 23].map(there),
            [There::Must, There::Must, There::May, There::May, There::MustNot]
        );
        assert_eq!(ledger.is_there("papers", at(0), at(1)), There::Must);
    }

    #[test]
    fn what_was_acknowledged_before_the_cut_must_be_there() {
        let ledger = two_requests();
        let mut lost = ledger.state("papers");
        lost.retain(|id, _| id == "c" || id == "d");
        assert!(match_prefix(&ledger, "papers", &lost, at(30), at(31)).is_err());
    }

    #[test]
    fn what_was_sent_after_the_release_must_not_be_there() {
        let ledger = two_requests();
        let whole = ledger.state("papers");
        assert!(match_prefix(&ledger, "papers", &whole, at(16), at(17)).is_err());
    }

    #[test]
    fn one_bit_of_one_vector_is_a_difference() {
        let ledger = two_requests();
        let mut seen = ledger.state("papers");
        let record = seen.get_mut("a").unwrap();
        record.vector[0] = f32::from_bits(record.vector[0].to_bits() ^ 1);
        let message = match_prefix(&ledger, "papers", &seen, at(30), at(31)).err().unwrap().to_string();
        assert!(message.contains("a has another vector"), "{message}");
    }
}
