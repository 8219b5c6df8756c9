//! The engine's rules of retention, applied to the points of a repository: what they have to know of a point stands in its
//! body and in the marks of the bucket.

use std::collections::{BTreeMap, BTreeSet};

use engine::{Candidate, Point, PointId, Reason, Repository, Retention};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::body::Body;
use crate::failure::Result;
use crate::holds::Holds;
use crate::trust::Trust;

/// How long what nothing needs any more lies condemned before it is deleted: longer than any capture lasts.
pub const WAIT: SignedDuration = SignedDuration::from_hours(24);
/// A pack of which more than this, in percent, is waste is written anew.
pub const WASTE: u8 = 30;

/// Every point with the reasons to keep it, by the rules of its component and their zone; of one without rules everything is
/// kept. What is on hold or quarantined in the bucket is, whoever asks.
pub async fn judge(
    repository: &Repository,
    rules: impl Fn(&str) -> Option<(Retention, TimeZone)>,
    held: impl Fn(&Point) -> bool,
    now: Timestamp,
) -> Result<Vec<(Point, BTreeSet<Reason>)>> {
    let verified = crate::verified::all(repository).await?;
    let holds = Holds::of(repository).await?;
    let trust = Trust::of(repository).await?;
    let candidate = |point: &Point| {
        let quarantined = trust.quarantine(&point.id).is_some();
        Candidate {
            id: point.id,
            time: point.retention_time(),
            said: point.attributes.consistency_time,
            // What nobody may restore never stands for the newest that could be.
            good: !quarantined && Body::of(point).is_ok_and(|body| body.is_good()),
            verified: !quarantined && verified.contains_key(&point.id.to_string()),
            held: held(point) || quarantined || holds.reason(&point.id).is_some(),
        }
    };
    let points = repository.points().await?.points;
    let mut of_component: BTreeMap<&str, Vec<Candidate>> = BTreeMap::new();
    // No rule counts an emergency capture: what it displaced would be a good point, and what displaced it a lost one.
    let (emergencies, judged): (Vec<&Point>, Vec<&Point>) =
        points.iter().partition(|point| Body::of(point).is_ok_and(|body| body.emergency.is_some()));
    for point in judged {
        of_component.entry(&point.attributes.component).or_default().push(candidate(point));
    }
    let mut kept: BTreeMap<PointId, BTreeSet<Reason>> =
        emergencies.iter().map(|point| (point.id, BTreeSet::from([Reason::Emergency]))).collect();
    for (name, candidates) in of_component {
        let (rules, zone) = rules(name).unwrap_or((Retention::default(), TimeZone::UTC));
        kept.extend(rules.decide(&candidates, &zone, now));
    }
    let reasons = |point: Point| {
        let reasons = kept.remove(&point.id).unwrap_or_default();
        (point, reasons)
    };
    Ok(points.into_iter().map(reasons).collect())
}
