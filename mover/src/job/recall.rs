//! Whether the index of a running server finds what is near: some records of each collection are asked for with their own vectors, and the answers are held against
//! the neighbours that going through all records finds. Records can be read whole while the index no longer leads to them, and no count or digest tells that.
//!
//! What is read of the server is what the point holds wherever the check `corruption` has passed. Memory is bounded by the samples of one collection.

use std::collections::BinaryHeap;

use chroma::client::{Client, ClientError, Collection, NotReady, Readiness, Space};
use crds::job::CheckResult;
use crds::policy::ChromaQuery;
use crds::run::Verdict;

use crate::failure::sentence;

/// Neighbours that are wanted of each sample, itself among them.
const NEIGHBOURS: usize = 10;
/// Records that are read at once.
const PAGE: u64 = 200;
/// Most steps of comparing (records, times samples, times dimensions). Beyond it a sample has to find itself only.
const MOST_STEPS: u64 = 20_000_000_000;
/// How far the distances of the server and of this program may differ: servers compute in 32 bits.
const ROUNDED: f64 = 1e-3;

/// What a collection came to.
#[derive(Default)]
struct Recall {
    wanted: u64,
    found: u64,
    samples: u64,
}

/// The line of the checklist.
pub(super) async fn check(
    client: &Client,
    name: &str,
    asked: &ChromaQuery,
    ready: &std::result::Result<Readiness, NotReady>,
) -> CheckResult {
    let result = |verdict, observed: String| CheckResult {
        name: name.to_owned(),
        verdict,
        expected: format!("recall >= {}%", asked.min_recall_percent),
        observed,
    };
    let ready = match ready {
        Ok(ready) => ready,
        Err(error) => return result(Verdict::Failed, sentence(error)),
    };
    let (mut all, mut worst): (Recall, Option<(u64, &Collection)>) = (Recall::default(), None);
    for found in ready.collections.iter().filter(|found| found.count > 0) {
        let collection = &found.collection;
        let of = match of_collection(client, collection, found.count, u64::from(asked.samples_per_collection))
            .await
        {
            Ok(Some(of)) => of,
            Ok(None) => {
                let why = format!("{} measures distance in an unknown way", collection.name);
                return result(Verdict::Inconclusive, why);
            }
            Err(error) => {
                return result(Verdict::Failed, format!("{}: {}", collection.name, sentence(&error)));
            }
        };
        let percent = percent(&of);
        if worst.is_none_or(|(least, _)| percent < least) {
            worst = Some((percent, collection));
        }
        all = Recall {
            wanted: all.wanted + of.wanted,
            found: all.found + of.found,
            samples: all.samples + of.samples,
        };
    }
    // One collection that has lost its index is not made good by others.
    let Some((least, collection)) = worst else {
        return result(Verdict::Skipped, "no collection has records with vectors".to_owned());
    };
    if least >= u64::from(asked.min_recall_percent) {
        return result(Verdict::Passed, format!("{}% of {}", percent(&all), all.samples));
    }
    let observed = format!("{least}% in {}: build its index anew", collection.name);
    result(Verdict::Failed, observed)
}

/// Of a hundred neighbours so many were found, rounded down.
fn percent(recall: &Recall) -> u64 {
    (recall.found * 100).checked_div(recall.wanted).unwrap_or(100)
}

/// A record that is asked for, and how far its nearest neighbours are.
struct Sample {
    vector: Vec<f32>,
    /// The farthest on top.
    nearest: BinaryHeap<Distance>,
}

/// A distance that can be ordered.
#[derive(PartialEq)]
struct Distance(f64);

impl Eq for Distance {}

impl PartialOrd for Distance {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Distance {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Sample {
    fn take(&mut self, distance: f64) {
        self.nearest.push(Distance(distance));
        if self.nearest.len() > NEIGHBOURS {
            self.nearest.pop();
        }
    }
}

/// Nothing where its distances are not understood.
async fn of_collection(
    client: &Client,
    collection: &Collection,
    count: u64,
    most: u64,
) -> std::result::Result<Option<Recall>, ClientError> {
    let Some(space) = client.space(collection).await? else { return Ok(None) };
    let mut samples = Vec::new();
    for number in 0..most.min(count) {
        // Evenly spread, so that what is asked is the same whenever it is asked.
        let offset = number * count / most.min(count);
        let read = client.records(collection, offset, 1).await?.into_iter().next();
        if let Some(vector) = read.and_then(|record| record.vector) {
            samples.push(Sample { vector, nearest: BinaryHeap::new() });
        }
    }
    let dimension = samples.first().map_or(0, |sample| sample.vector.len() as u64);
    let steps = count.saturating_mul(samples.len() as u64).saturating_mul(dimension);
    let feasible = steps <= MOST_STEPS;
    match feasible {
        true => go_through(client, collection, count, space, &mut samples).await?,
        false => samples.iter_mut().for_each(|sample| {
            let itself = space.distance(&sample.vector, &sample.vector);
            sample.take(itself);
        }),
    }
    let mut recall = Recall { samples: samples.len() as u64, ..Recall::default() };
    for sample in &samples {
        let wanted = sample.nearest.len();
        let Some(Distance(farthest)) = sample.nearest.peek() else { continue };
        let bound = farthest + ROUNDED * farthest.abs().max(1.0);
        recall.wanted += wanted as u64;
        // A server that can't find as many as it is asked for says so by an error in some releases: it has found none.
        let answer = client.neighbours(collection, &sample.vector, wanted).await;
        let found = match answer {
            Ok(found) => found,
            Err(ClientError::Status { .. }) => continue,
            Err(error) => return Err(error),
        };
        let near =
            found.iter().filter(|near| near.distance.is_some_and(|distance| distance <= bound)).count();
        recall.found += near.min(wanted) as u64;
    }
    Ok(Some(recall))
}

/// Holds every record of the collection against all samples.
async fn go_through(
    client: &Client,
    collection: &Collection,
    count: u64,
    space: Space,
    samples: &mut [Sample],
) -> std::result::Result<(), ClientError> {
    let mut offset = 0;
    while offset < count {
        let page = client.records(collection, offset, PAGE).await?;
        if page.is_empty() {
            break;
        }
        offset += page.len() as u64;
        for vector in page.iter().filter_map(|record| record.vector.as_ref()) {
            for sample in samples.iter_mut() {
                let distance = space.distance(&sample.vector, vector);
                sample.take(distance);
            }
        }
    }
    Ok(())
}
