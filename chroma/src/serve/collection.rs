//! One collection of a server, held against the files.

use crate::check::{Finding, Problem};
use crate::client::{Client, ClientError, Collection};
use crate::db::{CollectionEntry, Space};
use crate::files::DATABASE;
use crate::fingerprint::{CollectionFingerprint, Key, ServerFingerprintError, of_collection};

/// What came out.
#[derive(Default)]
pub(super) struct Examined {
    pub(super) findings: Vec<Finding>,
    pub(super) records: u64,
    pub(super) sought: u64,
    pub(super) found: u64,
    /// A request failed, perhaps for good.
    pub(super) failed: bool,
}

/// A request that brought no answer.
pub(super) fn unanswered(error: &dyn std::error::Error) -> Finding {
    let causes = std::iter::successors(error.source(), |error| error.source());
    let told = causes.fold(error.to_string(), |told, cause| format!("{told}: {cause}"));
    Finding::new(Problem::NotServing, DATABASE, told)
}

pub(super) async fn examine(
    client: &Client,
    entry: &CollectionEntry,
    listed: &Collection,
    expected: Option<&CollectionFingerprint>,
    key: &Key,
    samples: u64,
) -> Examined {
    let mut examined = Examined::default();
    match of_collection(client, key, listed).await {
        Ok(seen) => {
            examined.records = seen.count;
            let differs = expected.and_then(|expected| expected.difference(&seen, "the directory"));
            examined.findings.extend(differs.map(|what| {
                let what = format!("as the server answers, {what}");
                Finding::new(Problem::ContentDiffers, DATABASE, what).of(entry)
            }));
            if entry.space != Space::Ip
                && let Err(error) = seek(client, listed, seen.count, samples, &mut examined).await
            {
                examined.failed = true;
                examined.findings.push(unanswered(&error).of(entry));
            }
        }
        Err(error @ ServerFingerprintError::Changed { .. }) => {
            let what = error.to_string();
            examined.findings.push(Finding::new(Problem::ContentDiffers, DATABASE, what).of(entry));
        }
        Err(ServerFingerprintError::Client(error)) => {
            examined.failed = true;
            examined.findings.push(unanswered(&error).of(entry));
        }
    }
    if examined.found < examined.sought {
        let missed = examined.sought - examined.found;
        let what = format!("{missed} of {} records are not found by their own vectors", examined.sought);
        examined.findings.push(Finding::new(Problem::QueryMisses, DATABASE, what).of(entry));
    }
    examined
}

/// Looks for records, spread over the collection, by their own vectors: the nearest is the record itself or has the same vector.
async fn seek(
    client: &Client,
    listed: &Collection,
    count: u64,
    samples: u64,
    examined: &mut Examined,
) -> Result<(), ClientError> {
    let samples = samples.min(count);
    for sample in 0..samples {
        let offset = sample * count / samples;
        let Some(record) = client.records(listed, offset, 1).await?.pop() else { continue };
        let Some(vector) = record.vector else { continue };
        let nearest = client.nearest(listed, &vector).await?;
        examined.sought += 1;
        examined.found +=
            u64::from(nearest.is_some_and(|nearest| nearest.id == record.id || nearest.same_vector()));
    }
    Ok(())
}
