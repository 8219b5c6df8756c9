//! What the Job of a probe comes to: before anything is denied, and after. Whoever isolates asks the same: a namespace after a breach, and a sandbox.

use crds::job::{IsolationProbed, Report};
use crds::run::{HeldConnection, Isolation};
use jiff::{SignedDuration, Timestamp};

use crate::effect::JobState;
use crate::recovery::seen::JobSeen;

/// How long the probe is waited for before anything is changed: who broke in must not be let be because no pod starts.
const CONTROL: SignedDuration = SignedDuration::from_secs(60);
/// How long what connects must have had to be blocked before it counts as not enforced.
const SETTLED: SignedDuration = SignedDuration::from_secs(10);
/// How often the probe is tried.
const MAX_PROBES: u32 = 3;

/// Whether anything connected before: the positive control.
pub(crate) enum Control {
    /// There is no Job yet.
    Make,
    /// It is not known yet, and is looked at again at a time.
    Waits { note: String, until: Timestamp },
    /// It is known.
    Known(bool),
}

/// The positive control of a probe that is wanted since a time.
pub(crate) fn control(job: Option<&JobSeen>, since: Timestamp, now: Timestamp) -> Control {
    let until = since.checked_add(CONTROL).unwrap_or(Timestamp::MAX);
    match job.map(|job| &job.state) {
        None | Some(JobState::Absent) if now < until => Control::Make,
        Some(JobState::Running { waiting }) => match job.is_some_and(|job| job.ready) {
            true => Control::Known(true),
            false if now < until => {
                let note = waiting.clone().unwrap_or_else(|| "probing what connects now".to_owned());
                Control::Waits { note, until }
            }
            false => Control::Known(false),
        },
        Some(JobState::Ended(Report::IsolationProbed(probed))) => {
            Control::Known(!probed.connected.is_empty())
        }
        None | Some(JobState::Absent | JobState::Ended(_) | JobState::Silent { .. }) => Control::Known(false),
    }
}

/// What a probe says after everything was denied.
pub(crate) enum Judged {
    /// The next Job is due.
    Make,
    /// It has not ended.
    Waits(String),
    /// The next attempt is due.
    Again(String),
    /// It has said so.
    Said { result: Isolation, held: HeldConnection, text: String },
}

/// What the probe found, of which the positive control is known, in an isolation that is complete since a time.
pub(crate) fn judged(job: Option<&JobSeen>, control: bool, since: Option<Timestamp>, attempt: u32) -> Judged {
    let early = |ended: Option<Timestamp>| {
        let settled = since.and_then(|since| since.checked_add(SETTLED).ok());
        ended.zip(settled).is_some_and(|(ended, settled)| ended < settled)
    };
    let unproved = |why: &str| Judged::Said {
        result: Isolation::ControlFailed,
        held: HeldConnection::Unknown,
        text: why.to_owned(),
    };
    match job.map(|job| &job.state) {
        // Where nothing connected before, nothing that does not connect now says anything.
        _ if !control => {
            let why = match job.map(|job| &job.state) {
                Some(JobState::Ended(Report::IsolationProbed(probed))) => probed.message.clone(),
                Some(JobState::Ended(Report::Failed(failure))) => failure.message.clone(),
                Some(JobState::Silent { why }) => why.clone(),
                Some(JobState::Running { waiting: Some(why) }) => why.clone(),
                _ => "the probe did not get ready".to_owned(),
            };
            unproved(&format!("nothing connected before either ({why}), so nothing is proved"))
        }
        Some(JobState::Running { waiting }) => Judged::Waits(
            waiting.clone().unwrap_or_else(|| "probing whether what connected still does".to_owned()),
        ),
        Some(JobState::Ended(Report::IsolationProbed(probed))) if probed.open.is_empty() => {
            Judged::Said { result: Isolation::ProbeBlocked, held: probed.held, text: blocked(probed) }
        }
        Some(JobState::Ended(Report::IsolationProbed(probed))) => {
            if early(job.and_then(|job| job.ended)) && attempt < MAX_PROBES {
                return Judged::Again("the probe ended before the isolation was complete".to_owned());
            }
            Judged::Said { result: Isolation::NotEnforced, held: probed.held, text: open(probed) }
        }
        None | Some(JobState::Absent) if attempt > 1 => Judged::Make,
        _ if attempt < MAX_PROBES => Judged::Again("the probe ended without a report".to_owned()),
        _ => unproved("the probe ended without a report each time, so nothing is proved"),
    }
}

/// The reason of the condition Isolated.
pub(crate) fn reason(result: Isolation) -> &'static str {
    match result {
        Isolation::ProbeBlocked => "ProbeBlocked",
        Isolation::NotEnforced => "NotEnforced",
        Isolation::ControlFailed => "ControlFailed",
    }
}

fn blocked(probed: &IsolationProbed) -> String {
    let held = match probed.held {
        HeldConnection::Ended => "; a connection that was opened before is cut as well",
        HeldConnection::StillOpen => "; a connection that was opened before goes on until its pod is stopped",
        HeldConnection::Unknown => {
            "; nothing is known of connections that were opened before: they end with their pods"
        }
    };
    format!("what connected before does not any more: {}{held}", probed.connected.join(", "))
}

fn open(probed: &IsolationProbed) -> String {
    format!(
        "{} still connects from a pod that every NetworkPolicy denies: this cluster's network enforces none, or not all of them. Nothing but the stop of the workloads keeps anybody out; isolate the nodes from outside if that is needed",
        probed.open.join(", ")
    )
}
