//! What people who wait are told of a run: at first what happened and what is done about it, then every half hour how far it is, at last what came of it.
//! The one seam for whoever tells them: a notice is an event of the run today, and what sends mail or calls a pager takes it from [`Plan`](super::Plan) as
//! well. A notice is told once: that it was stands in the status before it is sent.

use crds::Span;
use crds::condition::get;
use crds::run::{
    DataLossRisk, GateStatus, Incident, NoticeStatus, RunMode, RunPhase, Scenario, Severity, StepPhase,
    StepStatus,
};
use jiff::{SignedDuration, Timestamp};

use super::settle::settled;
use super::{Draft, begun, texts};
use crate::effect::Event;

/// How long nobody hears anything.
const EVERY: SignedDuration = SignedDuration::from_mins(30);
/// An event has room for so many bytes.
const MOST: usize = 1024;

/// What a notice is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// Something has happened, and a recovery has begun.
    Initial,
    /// How far it is.
    Progress,
    /// What came of it.
    Final,
}

/// Something that people who wait should hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// What it is.
    pub kind: NoticeKind,
    /// Counted from 1 in each run.
    pub number: u32,
    /// Whether somebody has to do something: it waits at a gate, or it has failed.
    pub urgent: bool,
    /// The text, 1,024 bytes at most.
    pub text: String,
}

impl Notice {
    /// The notice as an event of the run.
    #[must_use]
    pub fn event(&self) -> Event {
        let reason = match self.kind {
            NoticeKind::Initial => "Incident",
            NoticeKind::Progress => "Progress",
            NoticeKind::Final => "Outcome",
        };
        match self.urgent || self.kind == NoticeKind::Initial {
            true => Event::warning(reason, self.text.clone()),
            false => Event::normal(reason, self.text.clone()),
        }
    }
}

/// The notice that is due, and the mark that it was told.
pub(crate) fn due(draft: &mut Draft<'_>) -> Option<Notice> {
    let (seen, now) = (draft.seen, draft.now);
    // Nobody waits for a rehearsal, nor where points are verified.
    let spec = &seen.run.spec;
    let rehearsal = spec.sandbox().is_some() || spec.scenario == Scenario::BackupVerification;
    if rehearsal || seen.run.spec.mode != RunMode::Run || seen.run.deleting || !begun(&draft.status) {
        return None;
    }
    let known = draft.status.notices.clone();
    let ended = settled(&draft.status);
    let kind = match &known {
        None if ended => return None,
        None => NoticeKind::Initial,
        Some(NoticeStatus { next: None, .. }) => return None,
        Some(_) if ended => NoticeKind::Final,
        Some(NoticeStatus { next: Some(next), .. }) if *next <= now => NoticeKind::Progress,
        Some(NoticeStatus { next: Some(next), .. }) => {
            draft.next = draft.next.or_at(*next);
            return None;
        }
    };
    let number = known.map_or(1, |known| known.number.saturating_add(1));
    let next = (!ended).then(|| now.checked_add(EVERY).unwrap_or(Timestamp::MAX));
    draft.status.notices = Some(NoticeStatus { number, told: now, next });
    let text = match kind {
        NoticeKind::Initial => initial(draft),
        NoticeKind::Progress => progress(draft, number),
        NoticeKind::Final => outcome(draft, number),
    };
    let follows = next.map(|next| format!(" Next update by {next:.0}.")).unwrap_or_default();
    let text = format!("{}{follows}", texts::cut(&text, MOST - follows.len()));
    let failed = draft.status.steps.iter().any(|step| step.phase == StepPhase::Failed);
    Some(Notice { kind, number, urgent: failed || waits(draft).is_some(), text })
}

/// `DatabaseCorruption of arxiv`.
fn subject(draft: &Draft<'_>) -> String {
    let run = &draft.seen.run;
    format!("{} of {}", run.spec.scenario.as_str(), run.namespace)
}

fn initial(draft: &Draft<'_>) -> String {
    let run = &draft.seen.run;
    let nothing = Incident::default();
    let told = run.spec.incident.as_ref().unwrap_or(&nothing);
    let severity = told.severity.unwrap_or(Severity::of(run.spec.scenario));
    let since = told.detected_at.unwrap_or(run.created);
    let or = |text: &Option<String>, unknown: &str| text.clone().unwrap_or_else(|| unknown.to_owned());
    let users = told.users_affected.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
    let risk = told.data_loss_risk.unwrap_or(DataLossRisk::Unknown).as_str();
    let services: Vec<&str> =
        draft.seen.components.iter().map(|component| component.policy.as_str()).collect();
    let (rto, _) = run.spec.scenario.objectives();
    let promised = since.checked_add(rto.to_duration()).unwrap_or(Timestamp::MAX);
    format!(
        "{}, severity {}, since {since:.0}. {}Impact: {}; users affected: {users}; root cause: {}; services affected: {}; data loss risk: {risk}. A recovery has begun: {}, promised by {promised:.0}. {}",
        subject(draft),
        severity.as_str(),
        told.summary.as_ref().map(|summary| format!("{summary}. ")).unwrap_or_default(),
        or(&told.impact, "unknown"),
        or(&told.root_cause, "not known yet"),
        services.join(", "),
        texts::count(draft.status.steps.len() as u64, "step"),
        people(told),
    )
}

/// Who has which part.
fn people(told: &Incident) -> String {
    let parts = [
        ("Incident commander", &told.commander),
        ("technical lead", &told.technical_lead),
        ("recovery coordinator", &told.coordinator),
    ];
    let named = parts.map(|(part, who)| format!("{part}: {}", who.as_deref().unwrap_or("nobody named")));
    format!("{}.", named.join(", "))
}

fn progress(draft: &Draft<'_>, number: u32) -> String {
    let steps = &draft.status.steps;
    let through = |step: &&StepStatus| matches!(step.phase, StepPhase::Done | StepPhase::Skipped);
    let done = steps.iter().filter(through).count();
    let percent = done * 100 / steps.len().max(1);
    let names = |phase: StepPhase| {
        let of = steps.iter().filter(move |step| step.phase == phase);
        of.map(|step| step.name.as_str()).collect::<Vec<_>>()
    };
    let running = steps.iter().filter(|step| step.phase == StepPhase::Running);
    let running: Vec<String> = running
        .map(|step| {
            format!(
                "{} since {:.0} ({})",
                step.name,
                step.start.unwrap_or(draft.now),
                texts::cut(&step.message, 160)
            )
        })
        .collect();
    let next: Vec<&str> = names(StepPhase::Waiting).into_iter().take(3).collect();
    let failed = names(StepPhase::Failed);
    let or = |list: String| if list.is_empty() { "nothing".to_owned() } else { list };
    let blocked = waits(draft)
        .map(|gate| format!("gate {} waits for a decision since {:.0}", gate.name.as_str(), gate.since));
    let blocked: Vec<String> =
        blocked.into_iter().chain(failed.iter().map(|name| format!("{name} failed"))).collect();
    format!(
        "{}, update {number}: {done} of {} done ({percent} %). In progress: {}. Next: {}. Blocked by: {}.",
        subject(draft),
        texts::count(steps.len() as u64, "step"),
        or(running.join(", ")),
        or(next.join(", ")),
        or(blocked.join(", ")),
    )
}

fn outcome(draft: &Draft<'_>, number: u32) -> String {
    let ready = get(&draft.status.conditions, "Ready").map(|ready| ready.message.clone()).unwrap_or_default();
    let phase = draft.status.phase.unwrap_or(RunPhase::Failed);
    let since = draft
        .seen
        .run
        .spec
        .incident
        .as_ref()
        .and_then(|told| told.detected_at)
        .unwrap_or(draft.seen.run.created);
    let took = Span::floor(draft.now.duration_since(since));
    format!("{}, update {number}: {phase:?} after {took}. {ready}", subject(draft))
}

/// The gate that nobody has answered.
fn waits<'a>(draft: &'a Draft<'_>) -> Option<&'a GateStatus> {
    let waiting = draft.status.phase == Some(RunPhase::AwaitingDecision);
    draft.status.gates.iter().find(|gate| gate.answer.is_none()).filter(|_| waiting)
}
