//! Holds a running server against the point, through its API alone: what a client of it would see.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use chroma::client::{Client, ClientError, NotReady, Readiness, Scope};
use chroma::fingerprint::{CollectionFingerprint, Key, of_server};
use crds::job::{Answer, CheckResult, FailureReason, Report, RepositoryAccess, TestMail};
use crds::policy::{ChromaCount, ChromaQuery, Endpoint, ServerAuth};
use crds::run::Verdict;

use super::{Desk, answers, diagnose, mail, recall, revoked, server_auth};
use crate::access;
use crate::body::ChromaFacts;
use crate::content::differing;
use crate::failure::{Failure, Result, sentence};

/// How long a request may take: the first one to a collection loads its index and replays its log.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How long a server may take until its heartbeat answers.
const START: Duration = Duration::from_secs(90);
/// The longest wait between two looks.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What the policy asks for besides.
pub(super) struct Own<'a> {
    pub(super) counts: &'a [(String, ChromaCount)],
    pub(super) queries: &'a [(String, ChromaQuery)],
    pub(super) answers: &'a [Answer],
    pub(super) mails: &'a [TestMail],
    pub(super) endpoints: &'a [Endpoint],
    /// What the credential was before it was replaced has to be refused.
    pub(super) revoked: bool,
}

pub(super) async fn validate(
    desk: &Desk,
    access: &RepositoryAccess,
    point: &str,
    url: &str,
    auth: Option<&ServerAuth>,
    own: Own<'_>,
) -> Result<Report> {
    let credential = server_auth::credential(&server_auth::Given::now(&desk.environment), auth)?;
    let repository = desk.open(access).await?;
    let point = access::point(&repository, point).await?;
    let expected = ChromaFacts::of(&point)?;
    let client = Client::new(url, credential, PATIENCE).map_err(|e| not_serving(url, &sentence(&e)))?;
    let failed = |error: &ClientError| {
        server_auth::denied(url, auth, error).unwrap_or_else(|| not_serving(url, &sentence(error)))
    };
    desk.telling.say(format!("wait for {url}"));
    heartbeat(&client, START).await.map_err(|error| failed(&error))?;
    let scopes: BTreeSet<Scope> =
        expected.collections.iter().map(|c| Scope::new(&c.tenant, &c.database)).collect();
    let scopes: Vec<Scope> = scopes.into_iter().collect();
    desk.telling.say("count and query each collection");
    let ready = client.ready(&scopes, PATIENCE).await;
    let equals = match &ready {
        Ok(ready) => equals(&client, ready).await,
        Err(NotReady::Request(error @ ClientError::Denied { .. })) => return Err(failed(error)),
        Err(_) => 0,
    };
    desk.telling.say("read every record and hold it against the point");
    let seen =
        of_server(&client, &Key::new(repository.digest_key()), &scopes).await.map_err(|e| sentence(&e));
    let mut checks = checks(&expected.collections, &ready, &seen, equals);
    // Before what a policy asks for: of many lines those at the end are cut off.
    if let Some(auth) = auth.filter(|_| own.revoked) {
        checks.push(revoked::refused(desk, url, auth, &scopes).await);
    }
    checks.extend(own.counts.iter().map(|(name, floor)| floor_of(name, floor, &ready, &seen)));
    for (name, asked) in own.queries {
        desk.telling.say(format!("ask for records of each collection with their vectors ({name})"));
        checks.push(recall::check(&client, name, asked, &ready).await);
    }
    checks.extend(answers::all(desk, own.answers).await?);
    checks.extend(mail::all(desk, own.mails).await?);
    checks.extend(diagnose::checked(own.endpoints).await);
    if auth.is_some() {
        checks.push(server_auth::wanted(url, &scopes, PATIENCE).await);
    }
    Ok(Report::Validated { checks })
}

/// Waits until HTTP is up, for a bounded time.
async fn heartbeat(client: &Client, limit: Duration) -> std::result::Result<(), ClientError> {
    let begun = Instant::now();
    let mut pause = Duration::from_millis(200);
    loop {
        let Err(error) = client.heartbeat().await else { return Ok(()) };
        if error.is_permanent() || begun.elapsed() + pause > limit {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn not_serving(url: &str, why: &str) -> Failure {
    Failure::new(
        FailureReason::NotServing,
        format!("{url} does not serve: {why}. Look at the logs of the ChromaDB pod"),
    )
}

/// The lines of the checklist.
fn checks(
    expected: &[CollectionFingerprint],
    ready: &std::result::Result<Readiness, NotReady>,
    seen: &std::result::Result<Vec<CollectionFingerprint>, String>,
    equals: usize,
) -> Vec<CheckResult> {
    let total = expected.len();
    vec![
        responds(total, ready),
        accessible(expected, ready, seen),
        counts(expected, ready, seen),
        corruption(expected, seen),
        queries(ready, equals),
    ]
}

fn responds(total: usize, ready: &std::result::Result<Readiness, NotReady>) -> CheckResult {
    let expected = format!("heartbeat, {total} counts, {total} queries");
    match ready {
        Ok(ready) if ready.collections.len() >= total => check("chromadb-responds", true, expected, "all"),
        Ok(ready) => {
            check("chromadb-responds", false, expected, format!("{} collections", ready.collections.len()))
        }
        Err(error) => check("chromadb-responds", false, expected, sentence(error)),
    }
}

fn accessible(
    expected: &[CollectionFingerprint],
    ready: &std::result::Result<Readiness, NotReady>,
    seen: &std::result::Result<Vec<CollectionFingerprint>, String>,
) -> CheckResult {
    let names: BTreeSet<String> = match (ready, seen) {
        (Ok(ready), _) => ready.collections.iter().map(|c| c.collection.full_name()).collect(),
        (Err(_), Ok(seen)) => seen.iter().map(CollectionFingerprint::full_name).collect(),
        (Err(error), Err(_)) => {
            return check("collections-accessible", false, expected.len().to_string(), sentence(error));
        }
    };
    let there = expected.iter().filter(|c| names.contains(&c.full_name())).count();
    let whole = there == expected.len() && names.len() == expected.len();
    let observed = if names.len() == there {
        there.to_string()
    } else {
        format!("{there}, {} more", names.len() - there)
    };
    check("collections-accessible", whole, expected.len().to_string(), observed)
}

fn counts(
    expected: &[CollectionFingerprint],
    ready: &std::result::Result<Readiness, NotReady>,
    seen: &std::result::Result<Vec<CollectionFingerprint>, String>,
) -> CheckResult {
    let found: Vec<(String, u64)> = match (ready, seen) {
        (Ok(ready), _) => ready.collections.iter().map(|c| (c.collection.full_name(), c.count)).collect(),
        (Err(_), Ok(seen)) => seen.iter().map(|c| (c.full_name(), c.count)).collect(),
        (Err(error), Err(_)) => {
            return check("counts", false, numbers(expected.iter().map(|c| c.count)), sentence(error));
        }
    };
    // The same order on both sides, and a collection that is missing shows as a dash.
    let of = |c: &CollectionFingerprint| {
        found.iter().find(|(name, _)| *name == c.full_name()).map(|(_, count)| *count)
    };
    let whole = expected.iter().all(|c| of(c) == Some(c.count));
    let shown: Vec<String> =
        expected.iter().map(|c| of(c).map_or_else(|| "-".into(), |n| n.to_string())).collect();
    check("counts", whole, numbers(expected.iter().map(|c| c.count)), shown.join(" "))
}

fn numbers(counts: impl Iterator<Item = u64>) -> String {
    counts.map(|count| count.to_string()).collect::<Vec<_>>().join(" ")
}

fn corruption(
    expected: &[CollectionFingerprint],
    seen: &std::result::Result<Vec<CollectionFingerprint>, String>,
) -> CheckResult {
    let wanted = "digests of the point";
    let seen = match seen {
        Ok(seen) => seen,
        Err(why) => return check("corruption", false, wanted, why),
    };
    let wrong = differing(expected, seen);
    let equal = expected.iter().filter(|c| seen.iter().any(|s| c.same_content(s))).count();
    let mut result = check("corruption", wrong.is_empty(), wanted, format!("{equal} of {}", expected.len()));
    if let Some(first) = wrong.first() {
        result.observed = format!("{equal} of {}; {}: {}", expected.len(), first.subject, first.message);
    }
    // Vectors that were normalised at capture may differ in their last bit under another build of the server.
    let excused = |c: &CollectionFingerprint| {
        c.normalised_here > 0 && seen.iter().any(|s| s.full_name() == c.full_name() && s.count == c.count)
    };
    let unexplained = expected.iter().any(|c| !seen.iter().any(|s| c.same_content(s)) && !excused(c));
    let foreign = wrong.len() > expected.len() - equal;
    if !wrong.is_empty() && !unexplained && !foreign {
        result.verdict = Verdict::Inconclusive;
    }
    result
}

/// The checks of queries. `equals` collections answered with another record at no distance: the same vector twice.
fn queries(ready: &std::result::Result<Readiness, NotReady>, equals: usize) -> CheckResult {
    let wanted = "each finds the record asked for";
    let ready = match ready {
        Ok(ready) => ready,
        Err(error) => return check("queries", false, wanted, sentence(error)),
    };
    let asked = ready.collections.iter().filter(|c| c.read.is_some()).count();
    let found = ready.collections.iter().filter(|c| c.read.is_some() && c.read == c.nearest).count() + equals;
    let mut result = check("queries", found == asked, wanted, format!("{found} of {asked}"));
    if found < asked {
        // By inner product the nearest of a vector need not be itself, and the index is an approximate one.
        result.verdict = Verdict::Inconclusive;
    }
    result
}

/// Whether a collection has at least so many records, in whichever database it is.
fn floor_of(
    name: &str,
    floor: &ChromaCount,
    ready: &std::result::Result<Readiness, NotReady>,
    seen: &std::result::Result<Vec<CollectionFingerprint>, String>,
) -> CheckResult {
    let expected = format!(">= {}", floor.at_least);
    let counts: Vec<u64> = match (ready, seen) {
        (Ok(ready), _) => {
            let of = ready.collections.iter().filter(|c| c.collection.name == floor.collection);
            of.map(|c| c.count).collect()
        }
        (Err(_), Ok(seen)) => {
            seen.iter().filter(|c| c.collection == floor.collection).map(|c| c.count).collect()
        }
        (Err(error), Err(_)) => return check(name, false, expected, sentence(error)),
    };
    match counts.iter().max() {
        Some(count) => check(name, *count >= floor.at_least, expected, count.to_string()),
        None => check(name, false, expected, format!("no collection {}", floor.collection)),
    }
}

/// In how many collections the nearest of a record's vector is another record with the same vector.
async fn equals(client: &Client, ready: &Readiness) -> usize {
    let mut equals = 0;
    for found in ready.collections.iter().filter(|c| c.read.is_some() && c.read != c.nearest) {
        let Ok(records) = client.records(&found.collection, 0, 1).await else { continue };
        let Some(vector) = records.into_iter().next().and_then(|record| record.vector) else { continue };
        let nearest = client.nearest(&found.collection, &vector).await;
        equals += usize::from(nearest.ok().flatten().is_some_and(|nearest| nearest.same_vector()));
    }
    equals
}

fn check(name: &str, passed: bool, expected: impl Into<String>, observed: impl Into<String>) -> CheckResult {
    CheckResult {
        name: name.to_owned(),
        verdict: if passed { Verdict::Passed } else { Verdict::Failed },
        expected: expected.into(),
        observed: observed.into(),
    }
}
