//! What a run of a drill came to: one total function over its status. Passed is what ran to its end, was validated and was no older than promised.
//! A fault of the data or of what serves it is Failed; what could not be seen, because the cluster did not let it, is Inconclusive.

use std::collections::BTreeMap;

use crds::Span;
use crds::condition;
use crds::drill::{DrillObjectives, DrillTest, DrillVerdicts};
use crds::policy::Objectives;
use crds::run::{ObjectiveVerdict, RecoveryRunStatus, StepPhase, Verdict};
use jiff::Timestamp;

use crate::recovery;

/// What is held against a run.
#[derive(Clone, Debug)]
pub struct Promised {
    /// What was rehearsed.
    pub test: DrillTest,
    /// When the drill was started.
    pub started: Timestamp,
    /// What the drill asks for, instead of what the policies promise.
    pub asked: DrillObjectives,
    /// What each policy promises, by name.
    pub policies: BTreeMap<String, Objectives>,
}

impl Promised {
    fn rpo(&self, policy: &str) -> Option<Span> {
        self.asked.rpo.or_else(|| self.policies.get(policy).map(|known| known.rpo))
    }

    fn rto(&self, policy: &str) -> Option<Span> {
        self.asked.rto.or_else(|| self.policies.get(policy).map(|known| known.rto))
    }
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// What came out.
    pub verdict: Verdict,
    /// A word for it.
    pub reason: String,
    /// A sentence.
    pub message: String,
    /// The point, or how many.
    pub point: Option<String>,
    /// Age of the point when the drill started, of several the one that missed its objective or else the oldest.
    pub rpo: Option<Span>,
    /// Recovery time, likewise.
    pub rto: Option<Span>,
    /// What those are held against, where anything was measured.
    pub objectives: Option<DrillVerdicts>,
}

/// The reason of a run that waits for somebody to attest what no machine can know.
pub const AWAITS: &str = "AwaitingAttestation";

/// What a run with this status came to; nothing while it has not ended.
///
/// Guarantees: total. Passed only for a run that is Complete with the verdict Passed, whose points are there and none older than promised.
#[must_use]
pub fn of(run: &RecoveryRunStatus, promised: &Promised) -> Option<Outcome> {
    if !recovery::ended(run) {
        return None;
    }
    let ages = measured(run.points.iter().map(|point| {
        let age = Span::floor(promised.started.duration_since(point.consistency_time));
        (point.policy.as_str(), age, promised.rpo(&point.policy))
    }));
    let times = measured(run.measured.iter().map(|measured| {
        // Nothing that takes no time at all can be written as a duration.
        let rto = measured.rto.parse().unwrap_or(Span::from_secs(0));
        (measured.policy.as_str(), rto, promised.rto(&measured.policy))
    }));
    let (verdict, reason, message) = match faults(run) {
        Some((reason, message)) => judged(run, &reason, message),
        None => concluded(run, promised, ages.as_ref()),
    };
    let verdicts = DrillVerdicts {
        rpo: ages.as_ref().and_then(|age| age.promised),
        rpo_verdict: ages.as_ref().and_then(Measured::verdict),
        rto: times.as_ref().and_then(|time| time.promised),
        rto_verdict: times.as_ref().and_then(Measured::verdict),
    };
    Some(Outcome {
        verdict,
        reason,
        message: recovery::cut(&message, 1024),
        point: match run.points.as_slice() {
            _ if promised.test == DrillTest::BackupVerification => {
                run.display.as_ref().and_then(|shown| shown.point.clone())
            }
            [] => None,
            [one] => Some(one.name.clone()),
            several => Some(format!("{} points", several.len())),
        },
        rpo: ages.map(|age| age.span),
        rto: times.map(|time| time.span),
        objectives: (verdicts != DrillVerdicts::default()).then_some(verdicts),
    })
}

/// The one of several that says most: whichever missed its promise, else whichever was longest.
#[derive(Clone, Debug)]
struct Measured {
    policy: String,
    span: Span,
    promised: Option<Span>,
}

impl Measured {
    fn missed(&self) -> bool {
        self.promised.is_some_and(|promised| self.span > promised)
    }

    fn verdict(&self) -> Option<ObjectiveVerdict> {
        self.promised?;
        Some(if self.missed() { ObjectiveVerdict::Missed } else { ObjectiveVerdict::Met })
    }
}

fn measured<'a>(all: impl Iterator<Item = (&'a str, Span, Option<Span>)>) -> Option<Measured> {
    all.map(|(policy, span, promised)| Measured { policy: policy.to_owned(), span, promised })
        .max_by_key(|measured| (measured.missed(), measured.span))
}

/// Reason and message of a run that failed. One that failed in several ways failed for the data's sake, if one of them was that.
fn faults(run: &RecoveryRunStatus) -> Option<(String, String)> {
    let failed = condition::get(&run.conditions, "Failed").filter(|failed| failed.status == "True")?;
    let steps = run.steps.iter().filter(|step| step.phase == StepPhase::Failed);
    let fault = steps
        .filter_map(|step| Some((step.reason.clone()?, step)))
        .find(|(reason, _)| class(reason) == Class::Data);
    Some(match fault {
        Some((reason, step)) if class(&failed.reason) != Class::Data => {
            (reason, format!("{}: {}", step.name, step.message))
        }
        _ => (failed.reason.clone(), failed.message.clone()),
    })
}

/// What a reason of a failed run says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// The data, or what serves it, is not as it should be.
    Data,
    /// The time was over.
    Late,
    /// It was not possible to see.
    Unseen,
}

/// Whatever is not known to be a fault of the data proves none, and no success either.
fn class(reason: &str) -> Class {
    match reason {
        "IntegrityMismatch" | "NoHealthyPoint" | "PointNotFound" | "PointUnreadable" | "PointQuarantined"
        | "VerificationFailed" | "ValidationFailed" | "CanaryMissing" | "NotServing" | "DowngradeRefused"
        | "CredentialRevoked" => Class::Data,
        "DeadlineExceeded" => Class::Late,
        _ => Class::Unseen,
    }
}

fn judged(run: &RecoveryRunStatus, reason: &str, message: String) -> (Verdict, String, String) {
    let verdict = match class(reason) {
        Class::Data => Verdict::Failed,
        Class::Late if begun(run) => Verdict::Failed,
        Class::Late | Class::Unseen => Verdict::Inconclusive,
    };
    // A check that could not be made proves nothing of the data; one that was made and failed does.
    let checks = || run.checks.iter().map(|check| check.verdict);
    let unmade = reason == "ValidationFailed"
        && checks().any(|verdict| verdict == Verdict::Inconclusive)
        && checks().all(|verdict| verdict != Verdict::Failed);
    let missing = reason == "ValidationFailed"
        && run.checks.iter().any(|check| is_canary(&check.name) && check.verdict == Verdict::Failed);
    let reason = if missing { "CanaryMissing" } else { reason };
    (if unmade { Verdict::Inconclusive } else { verdict }, reason.to_owned(), message)
}

fn is_canary(check: &str) -> bool {
    check == "canary" || check.ends_with("/canary")
}

/// Whether anything was restored, or switched offline, or verified, so that what is late is the recovery and not the cluster around it.
fn begun(run: &RecoveryRunStatus) -> bool {
    let words = ["Restore/", "EnterOffline/", "VerifyPoints/"];
    run.steps
        .iter()
        .any(|step| step.phase == StepPhase::Done && words.iter().any(|word| step.name.starts_with(word)))
}

/// A run that came to its end.
fn concluded(
    run: &RecoveryRunStatus,
    promised: &Promised,
    age: Option<&Measured>,
) -> (Verdict, String, String) {
    let condition = |kind: &str| condition::get(&run.conditions, kind);
    let complete = condition("Complete").map(|complete| complete.reason.as_str());
    let said = condition("Ready").map(|ready| ready.message.clone()).unwrap_or_default();
    let told = |verdict, reason: &str, message: String| (verdict, reason.to_owned(), message);
    match (complete, run.verdict) {
        (Some("NotNeeded"), _) => {
            told(Verdict::Inconclusive, "NotNeeded", format!("nothing was rehearsed: {said}"))
        }
        (_, Some(Verdict::Passed)) if promised.test.has_points() && age.is_none() => told(
            Verdict::Inconclusive,
            "NothingRestored",
            format!("the run ended well and no point was restored: {said}"),
        ),
        (_, Some(Verdict::Passed)) => match age.filter(|age| age.missed()) {
            Some(age) => told(Verdict::Failed, "PointTooOld", too_old(run, age)),
            None => told(Verdict::Passed, "Passed", said),
        },
        (_, Some(Verdict::Failed)) => {
            let why = condition("Validated").filter(|validated| validated.status == "False");
            let message = why.map_or(said, |validated| validated.message.clone());
            told(Verdict::Failed, "ValidationFailed", message)
        }
        (_, Some(Verdict::Skipped)) => told(Verdict::Skipped, "Skipped", said),
        (_, None | Some(Verdict::Inconclusive)) => match condition("Attested") {
            Some(attested) if attested.reason == AWAITS => {
                told(Verdict::Inconclusive, AWAITS, attested.message.clone())
            }
            _ => told(Verdict::Inconclusive, "Inconclusive", format!("not all could be seen: {said}")),
        },
    }
}

fn too_old(run: &RecoveryRunStatus, age: &Measured) -> String {
    let point = run.points.iter().find(|point| point.policy == age.policy);
    let name = point.map(|point| point.name.as_str()).unwrap_or_default();
    let days = age.span.as_secs() / 86_400;
    let old = if days >= 2 { format!("{days} days") } else { age.span.to_string() };
    format!(
        "{name} restored and validated well, but it is the newest point and {old} old: look at policy {}, conditions RPOMet and LastCaptureSucceeded",
        age.policy
    )
}
