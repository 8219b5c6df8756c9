//! Points of a policy: the object that records a capture, the newest good one, and whether it keeps the RPO.

use crds::condition::{self, Status};
use crds::job::{Captured, Content, Emergency, Torn};
use crds::point::{
    ApplicationContent, ChromaDbContent, DeletionPolicy, Hold, PointPhase, RecoveryPointSpec,
    RecoveryPointStatus, Sizes, Trust, TrustMark, Verification,
};
use crds::policy::{LastPoint, Origin};
use crds::reference::NameRef;
use crds::run::Verdict;
use crds::{RecoveryPoint, names};
use jiff::{SignedDuration, Timestamp};

use super::{Observed, Plan};
use crate::{size, trust};

/// Reason of the conditions of a point that is an emergency capture.
pub(crate) const EMERGENCY: &str = "EmergencyCapture";

/// A RecoveryPoint to record: object and status are two writes, both safe to repeat.
#[derive(Clone, Debug, PartialEq)]
pub struct NewPoint {
    /// Name of the object.
    pub name: String,
    /// What it is.
    pub spec: RecoveryPointSpec,
    /// What is known of it.
    pub status: RecoveryPointStatus,
}

/// Whether a point may be chosen: Available, and not Quarantined.
#[must_use]
pub fn is_available(point: &RecoveryPoint) -> bool {
    let phase = point.status.as_ref().and_then(|status| status.phase);
    // What people say counts from when they say it.
    phase == Some(PointPhase::Available) && point.spec.trust != Trust::Quarantined
}

/// The Available points of `policy` with their consistency times, the newest first.
#[must_use]
pub fn available<'a>(points: &'a [RecoveryPoint], policy: &str) -> Vec<(&'a RecoveryPoint, Timestamp)> {
    let mut found: Vec<_> = points
        .iter()
        .filter(|point| point.spec.policy == policy && is_available(point))
        .filter_map(|point| Some((point, point.status.as_ref()?.consistency_time?)))
        .collect();
    // The name settles what shares an instant, so that everybody sees the same order.
    found.sort_by(|(a, at), (b, bt)| bt.cmp(at).then_with(|| b.metadata.name.cmp(&a.metadata.name)));
    found
}

/// What is known of a point besides what its capture reported.
pub(crate) struct About<'a> {
    /// The policy that it belongs to.
    pub(crate) policy: &'a str,
    /// The repository that holds it.
    pub(crate) repository: &'a str,
    /// Why there is an object for it.
    pub(crate) origin: Origin,
    /// Image of the ChromaDB container.
    pub(crate) image: String,
    /// Why it is on hold, where the bucket says so.
    pub(crate) hold: Option<String>,
    /// Whether it is trusted, where the bucket says.
    pub(crate) trust: Option<TrustMark>,
    /// That it was verified, where the bucket says so.
    pub(crate) verification: Option<Verification>,
}

/// The point for a capture, named as no other of `taken` is.
pub(crate) fn new<'a>(
    about: About<'_>,
    captured: &Captured,
    taken: impl IntoIterator<Item = (&'a str, &'a RecoveryPointSpec)>,
    now: Timestamp,
) -> NewPoint {
    let hold = about.hold.clone().map(|reason| Hold { reason });
    NewPoint {
        name: free_name(about.policy, captured, taken),
        spec: RecoveryPointSpec {
            policy: about.policy.to_owned(),
            repository_ref: NameRef::new(about.repository),
            id: captured.point.clone(),
            deletion_policy: DeletionPolicy::default(),
            hold,
            trust: Trust::Auto,
        },
        status: status(captured, about, now),
    }
}

/// Names of points, and which points have them.
pub(crate) fn taken(points: &[RecoveryPoint]) -> impl Iterator<Item = (&str, &RecoveryPointSpec)> {
    points.iter().map(|point| (point.metadata.name.as_deref().unwrap_or_default(), &point.spec))
}

/// The plain name, unless another point of the same second has it.
fn free_name<'a>(
    policy: &str,
    captured: &Captured,
    taken: impl IntoIterator<Item = (&'a str, &'a RecoveryPointSpec)>,
) -> String {
    let plain = names::point(policy, captured.consistency_time);
    let holder = taken.into_iter().find(|(name, _)| *name == plain);
    match holder {
        Some((_, spec)) if spec.id != captured.point || spec.policy != policy => {
            names::point_with_id(policy, captured.consistency_time, &captured.point)
        }
        _ => plain,
    }
}

fn status(captured: &Captured, about: About<'_>, now: Timestamp) -> RecoveryPointStatus {
    let About { origin, image, trust, verification, .. } = about;
    let whole = captured.findings.is_empty();
    let mut conditions = Vec::new();
    let mut set = |kind: &str, status: Status, reason: &str, message: String| {
        condition::set(&mut conditions, kind, status, reason, message, 1, now);
    };
    if let Some(emergency) = &captured.emergency {
        let why = format!("{}; it stays until it is deleted by hand", self::emergency(emergency));
        set("Ready", Status::False, EMERGENCY, why);
        set("Verified", Status::Unknown, "NotVerified", "it was not restored and compared yet".to_owned());
    } else if whole {
        set("Ready", Status::True, "Available", "its commit record was read back, every object it needs exists, and the offline check found it whole".to_owned());
        set("Verified", Status::Unknown, "NotVerified", "it was not restored and compared yet".to_owned());
    } else {
        let findings = findings(captured);
        set("Ready", Status::False, "OfflineCheckFailed", findings.clone());
        set("Verified", Status::False, "Failed", findings);
    }
    let (chroma_db, application) = content(captured, image);
    let mut status = RecoveryPointStatus {
        observed_generation: Some(1),
        phase: None,
        origin: Some(origin),
        consistency_time: Some(captured.consistency_time),
        stored_at: captured.stored_at,
        digest: Some(captured.digest.clone()),
        locked_until: captured.locked_until,
        sizes: Some(Sizes {
            bytes: captured.bytes,
            new_bytes: captured.new_bytes,
            files: captured.files,
            size: size::bytes(captured.bytes),
            new_size: size::bytes(captured.new_bytes),
        }),
        chroma_db,
        application,
        emergency: captured.emergency.clone(),
        objects: captured.objects,
        verification: (!whole && captured.emergency.is_none()).then(|| Verification {
            verdict: Verdict::Failed,
            time: now,
            by: "Capture".to_owned(),
            recorded: false,
        }),
        trust,
        conditions,
    };
    if status.verification.is_none() && captured.emergency.is_none() && verification.is_some() {
        status.verification = verification;
        crate::verification::told(&mut status, "so the repository says", 1, now);
    }
    trust::judge(&mut status, Trust::Auto, 1, now);
    status
}

/// What the volumes held, as the object says it.
fn content(captured: &Captured, image: String) -> (Option<ChromaDbContent>, Option<ApplicationContent>) {
    let writer_pause = size::pause(captured.longest_hold);
    match &captured.content {
        Content::ChromaDb(chroma) => {
            let content = ChromaDbContent {
                migrations: chroma.migrations.chars().take(32).collect(),
                image,
                writer_pause,
                released_at: chroma.released_at,
                collection_count: chroma.collection_count,
                records: chroma.records,
                collections: chroma.collections.iter().take(crds::job::MAX_COLLECTIONS).cloned().collect(),
            };
            (Some(content), None)
        }
        Content::Application(files) => {
            let content = ApplicationContent {
                volumes: files.volumes,
                databases: files.databases,
                writer_pause,
                unstable: files.unstable.iter().take(crds::job::MAX_UNSTABLE).cloned().collect(),
                unstable_count: files.unstable_count,
            };
            (None, Some(content))
        }
    }
}

/// What a capture holds, in a few words.
pub(super) fn held(captured: &Captured) -> String {
    match &captured.content {
        Content::ChromaDb(chroma) => format!("{} records", chroma.records),
        Content::Application(files) => {
            let unstable = match files.unstable_count {
                0 => String::new(),
                1 => ", 1 of which changed whenever it was read".to_owned(),
                many => format!(", {many} of which changed whenever they were read"),
            };
            format!("{} files{unstable}, and {} objects", captured.files, captured.objects)
        }
    }
}

/// What an emergency capture has and has not, in a line.
#[must_use]
pub fn emergency(emergency: &Emergency) -> String {
    let torn = match emergency.torn {
        Torn::No => "nothing wrote meanwhile",
        Torn::Unknown => "something may have written meanwhile",
        Torn::Yes => "files changed while they were read",
    };
    let mut text = format!("it is an emergency capture; {torn}");
    if emergency.unreadable_count > 0 {
        let first = emergency.unreadable.first().map_or_else(String::new, |range| {
            format!(", the first {} at {} of {}", range.length, range.offset, range.file)
        });
        let (bytes, ranges) = (emergency.unreadable_bytes, emergency.unreadable_count);
        text.push_str(&format!("; {bytes} bytes in {ranges} ranges could not be read{first}"));
    }
    if emergency.missed_count > 0 {
        let first = emergency.missed.first().map_or("", String::as_str);
        text.push_str(&format!("; {} files or objects are missing, such as {first}", emergency.missed_count));
    }
    text
}

/// What the offline check found, in a line.
pub(super) fn findings(captured: &Captured) -> String {
    let told: Vec<String> =
        captured.findings.iter().map(|finding| format!("{}: {}", finding.subject, finding.message)).collect();
    format!("the captured bytes are not whole: {}", told.join("; "))
}

/// Whether a point was restored and compared, and found to be what it should be.
fn is_verified(point: &RecoveryPoint) -> bool {
    let verification = point.status.as_ref().and_then(|status| status.verification.as_ref());
    verification.is_some_and(|verification| verification.verdict == Verdict::Passed)
}

/// Counts the points, the one being recorded included, and names the newest Available one.
pub(super) fn summarize(seen: &Observed<'_>, plan: &mut Plan) {
    let policy = seen.policy.metadata.name.as_deref().unwrap_or_default();
    let known = seen.points.iter().filter(|point| point.spec.policy == policy);
    let mut count = known.clone().count();
    let last = |(point, time): &(&RecoveryPoint, Timestamp)| LastPoint {
        name: point.metadata.name.clone().unwrap_or_default(),
        consistency_time: *time,
    };
    let available = available(seen.points, policy);
    let mut newest = available.first().map(last);
    plan.status.last_verified_point = available.iter().find(|(point, _)| is_verified(point)).map(last);
    let new = |recorded: &&NewPoint| !known.clone().any(|point| point.spec.id == recorded.spec.id);
    count += plan.record.iter().chain(&plan.preserved).map(AsRef::as_ref).filter(new).count();
    if let Some(recorded) = &plan.record {
        let time =
            recorded.status.consistency_time.filter(|_| recorded.status.phase == Some(PointPhase::Available));
        if let Some(time) =
            time.filter(|time| newest.as_ref().is_none_or(|last| *time > last.consistency_time))
        {
            newest = Some(LastPoint { name: recorded.name.clone(), consistency_time: time });
        }
    }
    let passed = verifications(seen.points, policy).filter(|known| known.verdict == Verdict::Passed);
    // Remembered when the point is gone.
    plan.status.last_verified = plan.status.last_verified.max(passed.map(|known| known.time).max());
    plan.status.points = u32::try_from(count).unwrap_or(u32::MAX);
    plan.status.last_point = newest;
}

/// What is known of the points of a policy since they were captured.
fn verifications<'a>(points: &'a [RecoveryPoint], policy: &'a str) -> impl Iterator<Item = &'a Verification> {
    let of = points.iter().filter(move |point| point.spec.policy == policy);
    of.filter_map(|point| point.status.as_ref()?.verification.as_ref()).filter(|known| known.by != "Capture")
}

/// The newest point that was restored and is not what was captured, and since when that is known.
pub(super) fn failed<'a>(
    points: &'a [RecoveryPoint],
    policy: &str,
) -> Option<(&'a RecoveryPoint, Timestamp)> {
    let of = points.iter().filter(|point| point.spec.policy == policy);
    let failed = of.filter_map(|point| {
        let known = point.status.as_ref()?.verification.as_ref()?;
        (known.by != "Capture" && known.verdict == Verdict::Failed).then_some((point, known.time))
    });
    failed.max_by_key(|(_, time)| *time)
}

/// The instant at which the RPO is missed, with nothing captured meanwhile: just after the newest point has reached it, or,
/// for a policy without a point, once it had that long to make one.
pub(super) fn deadline(seen: &Observed<'_>, plan: &Plan) -> Timestamp {
    let created = seen.policy.metadata.creation_timestamp.as_ref().map_or(seen.now, |time| time.0);
    let since = plan.status.last_point.as_ref().map_or(created, |point| point.consistency_time);
    let rpo = seen.policy.spec.objectives.rpo.to_duration();
    since.saturating_add(rpo.saturating_add(SignedDuration::from_millis(1))).unwrap_or(Timestamp::MAX)
}
