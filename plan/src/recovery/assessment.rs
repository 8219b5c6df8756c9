//! The emergency assessment: everything that can be seen around the components, without touching anything. The first step of every run has
//! what the cluster tells; a run of `mode: Assess` asks the databases too, and ends with it.

use std::collections::BTreeMap;

use crds::condition::Status;
use crds::job::{Answer, CheckResult, Report, Request};
use crds::run::{Assessed, Health, StepPhase, Verdict};
use jiff::{SignedDuration, Timestamp};

use super::mover::{self, Outcome, Wanted};
use super::seen::{Component, Observed, PointState};
use super::steps::{self, Kind, Step};
use super::surroundings::{NodeSeen, PodLook, Surroundings, Warning};
use super::{Draft, Progress, outside, room, texts, validate};
use crate::effect::Event;

/// Most lines of an assessment. What is left out is said in the last one.
const MOST: usize = 64;
/// Most warnings among them.
const WARNINGS: usize = 10;
/// How long a server may take to answer its heartbeat.
const PATIENCE: SignedDuration = SignedDuration::from_secs(5);

pub(crate) fn line(subject: impl Into<String>, state: Health, observed: impl AsRef<str>) -> Assessed {
    Assessed {
        subject: texts::cut(&subject.into(), 300),
        state,
        observed: texts::cut(observed.as_ref(), 256),
    }
}

/// What is seen, the worst first.
pub(crate) fn assess(seen: &Observed, now: Timestamp) -> Vec<Assessed> {
    let Some(around) = &seen.surroundings else { return Vec::new() };
    let mut lines = nodes(around.nodes.as_deref());
    lines.extend(seen.components.iter().flat_map(|component| of_component(seen, component, now)));
    lines.extend(around.pods.iter().filter_map(pod));
    lines.extend(around.endpoints.iter().map(|(service, ready)| {
        let state = if *ready > 0 { Health::Good } else { Health::Bad };
        line(format!("service/{service}"), state, texts::count(*ready as u64, "ready endpoint"))
    }));
    lines.extend(configuration(around));
    lines.extend(around.repositories.iter().map(|(name, ready)| match ready {
        Ok(()) => line(format!("recoveryrepository/{name}"), Health::Good, "Ready"),
        Err(why) => line(format!("recoveryrepository/{name}"), Health::Bad, why),
    }));
    lines.extend(around.warnings.iter().take(WARNINGS).map(|warning| told(warning, now)));
    lines.extend(room::used(seen.usage.as_ref()).map(|check| {
        let state = match check.verdict {
            Verdict::Passed => Health::Good,
            Verdict::Failed => Health::Bad,
            Verdict::Inconclusive | Verdict::Skipped => Health::Unknown,
        };
        line(format!("resources/{}", check.name), state, check.observed)
    }));
    lines.push(line(
        "resources/volumes",
        Health::Unknown,
        "how full volumes are is not told by the Kubernetes API; a recovery checks what it restores",
    ));
    bounded(lines)
}

/// At most so many, each subject once, the worst first.
fn bounded(lines: Vec<Assessed>) -> Vec<Assessed> {
    let mut once: BTreeMap<String, Assessed> = BTreeMap::new();
    for line in lines {
        match once.get_mut(&line.subject) {
            Some(known) if known.state <= line.state => {}
            _ => drop(once.insert(line.subject.clone(), line)),
        }
    }
    let mut lines: Vec<Assessed> = once.into_values().collect();
    lines.sort_by(|a, b| a.state.cmp(&b.state).then_with(|| a.subject.cmp(&b.subject)));
    if lines.len() > MOST {
        let more = lines.len() - (MOST - 1);
        lines.truncate(MOST - 1);
        lines.push(line(
            "more",
            Health::Unknown,
            format!("{more} more lines are left out, none of them worse"),
        ));
    }
    lines
}

fn nodes(nodes: Option<&[NodeSeen]>) -> Vec<Assessed> {
    let Some(nodes) = nodes else {
        return vec![line("nodes", Health::Unknown, "they can't be listed")];
    };
    let troubled = |node: &NodeSeen| {
        let mut what = Vec::new();
        match node.ready {
            Some(true) => {}
            Some(false) => what.push("NotReady".to_owned()),
            None => what.push("it does not answer: what its pods do is unknown".to_owned()),
        }
        what.extend(node.pressures.iter().cloned());
        what.extend(node.cordoned.then(|| "cordoned: nothing new is put on it".to_owned()));
        (!what.is_empty()).then(|| line(format!("node/{}", node.name), Health::Bad, what.join(", ")))
    };
    let ready = nodes.iter().filter(|node| node.ready == Some(true)).count();
    let state = if ready == nodes.len() && ready > 0 { Health::Good } else { Health::Bad };
    let mut lines = vec![line("nodes", state, format!("{ready} of {} ready", nodes.len()))];
    lines.extend(nodes.iter().filter_map(troubled));
    lines
}

/// Workloads, claims and the newest point of a component.
fn of_component(seen: &Observed, component: &Component, now: Timestamp) -> Vec<Assessed> {
    let mut lines = Vec::new();
    if component.forgotten {
        let policy = format!("backuppolicy/{}", component.policy);
        lines.push(line(policy, Health::Bad, "it does not exist; only the repository knows the component"));
    }
    for workload in &component.workloads {
        let state = if workload.ready >= workload.replicas { Health::Good } else { Health::Bad };
        let subject =
            format!("{}/{}", workload.workload.kind.as_str().to_lowercase(), workload.workload.name);
        lines.push(line(subject, state, format!("{} of {} ready", workload.ready, workload.replicas)));
    }
    for missing in &component.missing {
        let subject = format!("{}/{}", missing.kind.as_str().to_lowercase(), missing.name);
        lines.push(line(subject, Health::Bad, "it does not exist"));
    }
    for name in component.source.iter().flat_map(|source| &source.claims) {
        let subject = format!("persistentvolumeclaim/{name}");
        lines.push(match seen.claims.get(name) {
            None => line(subject, Health::Bad, "it does not exist"),
            Some(claim) if claim.deleting => line(subject, Health::Bad, "it is being deleted"),
            Some(claim) if !claim.bound => line(subject, Health::Bad, "it is bound to no volume"),
            Some(claim) => {
                let volume = claim.volume.as_deref().unwrap_or_default();
                let class = claim.class.as_deref().unwrap_or("no StorageClass");
                line(subject, Health::Good, format!("{}, {class}, volume {volume}", claim.size))
            }
        });
    }
    lines.push(newest(seen, component, now));
    lines
}

/// How old the newest point is that could be restored.
fn newest(seen: &Observed, component: &Component, now: Timestamp) -> Assessed {
    let subject = format!("points/{}", component.policy);
    let own = seen.points.iter().filter(|point| point.policy == component.policy);
    let good = own.filter(|point| point.state == PointState::Available);
    let newest = good.filter_map(|point| Some((point.consistency_time?, &point.name))).max();
    let Some((time, name)) = newest else {
        return line(subject, Health::Bad, "none is Available: nothing could be restored");
    };
    let age = now.duration_since(time);
    let rpo = component.objectives.rpo;
    let state = if age <= rpo.to_duration() { Health::Good } else { Health::Bad };
    line(subject, state, format!("{name} is {} old, RPO {rpo}", texts::between(time, now)))
}

/// A pod that is not as it should be.
fn pod(pod: &PodLook) -> Option<Assessed> {
    let subject = format!("pod/{}", pod.name);
    let restarts = match pod.restarts {
        0 => String::new(),
        n => format!(", {}", texts::count(u64::try_from(n).unwrap_or(0), "restart")),
    };
    if let Some(why) = &pod.waiting {
        return Some(line(subject, Health::Bad, format!("{why}{restarts}")));
    }
    match pod.phase.as_str() {
        "Succeeded" => None,
        "Failed" => Some(line(subject, Health::Bad, format!("Failed{restarts}"))),
        "Unknown" => Some(line(subject, Health::Unknown, "its node does not answer")),
        _ if pod.of_job || (pod.ready && pod.restarts == 0) => None,
        phase if !pod.ready => Some(line(subject, Health::Bad, format!("{phase}, not ready{restarts}"))),
        phase => Some(line(subject, Health::Good, format!("{phase}, ready{restarts}"))),
    }
}

fn configuration(around: &Surroundings) -> Vec<Assessed> {
    let maps = around.config_maps.iter().map(|(name, exists)| {
        let (state, observed) =
            if *exists { (Health::Good, "it exists") } else { (Health::Bad, "it does not exist") };
        line(format!("configmap/{name}"), state, observed)
    });
    let mut lines: Vec<Assessed> = maps.collect();
    if !around.secrets.is_empty() {
        let names = around.secrets.join(", ");
        let why = format!("{names}: the controller may not look at Secrets; a pod that misses one says so");
        lines.push(line("secrets", Health::Unknown, why));
    }
    lines
}

fn told(warning: &Warning, now: Timestamp) -> Assessed {
    let ago = texts::between(warning.last, now);
    let subject = format!("event/{}/{}", warning.object, warning.reason);
    line(subject, Health::Bad, format!("{ago} ago: {}", warning.message))
}

/// The assessment in a sentence.
pub(crate) fn summary(lines: &[Assessed]) -> String {
    let of = |state: Health| lines.iter().filter(|line| line.state == state).collect::<Vec<_>>();
    let (bad, unknown, good) = (of(Health::Bad), of(Health::Unknown), of(Health::Good));
    let mut text = format!("{} good, {} bad, {} unknown", good.len(), bad.len(), unknown.len());
    for line in bad.iter().take(3) {
        text.push_str(&format!("; {}: {}", line.subject, line.observed));
    }
    text
}

/// Carries a run of `mode: Assess`: looks, asks the databases, and ends.
pub(crate) fn carry(draft: &mut Draft<'_>) {
    let step = Step { kind: Kind::Assess, policy: None };
    if draft.status.steps.is_empty() {
        let mut stored = steps::waiting(&step, "looking");
        (stored.phase, stored.start, stored.attempts) = (StepPhase::Running, Some(draft.now), 1);
        draft.status.steps = vec![stored];
        draft.status.assessment = assess(draft.seen, draft.now);
        return;
    }
    // Both at once: none waits for the other.
    let asked = match (heartbeats(draft), outside::look(draft)) {
        (Ok(mut asked), Ok(seen)) => {
            asked.extend(seen);
            Ok(asked)
        }
        (
            Err(Progress::Acting { mut effects, note }),
            Err(Progress::Acting { effects: more, note: also }),
        ) => {
            effects.extend(more);
            Err(Progress::acting(effects, format!("{note}; {also}")))
        }
        (Err(waits), _) | (_, Err(waits)) => Err(waits),
    };
    let asked = match asked {
        Ok(asked) => asked,
        Err(Progress::Acting { effects, note }) => {
            draft.effects.extend(effects);
            draft.status.steps[0].message = texts::bounded(&note);
            return;
        }
        Err(Progress::Polling { at, .. }) => {
            draft.next = draft.next.or_at(at);
            return;
        }
        Err(Progress::Again { .. }) => {
            draft.status.steps[0].attempts += 1;
            return;
        }
        Err(_) => Vec::new(),
    };
    let mut lines = std::mem::take(&mut draft.status.assessment);
    lines.extend(asked);
    draft.status.assessment = bounded(lines);
    let text = summary(&draft.status.assessment);
    steps::end(draft, 0, StepPhase::Done, &text);
    draft.status.verdict = Some(Verdict::Skipped);
    draft.condition("Ready", Status::True, "Assessed", text.clone());
    draft.condition("Complete", Status::True, "Assessed", text.clone());
    draft.events.push(Event::normal("Assessed", text));
}

/// Whether the databases answer.
fn heartbeats(draft: &Draft<'_>) -> Result<Vec<Assessed>, Progress> {
    let mut answers = Vec::new();
    let mut lines = Vec::new();
    for component in draft.seen.components.iter().filter(|component| !component.application) {
        let subject = format!("chromadb/{}", component.policy);
        let url = match &component.source {
            Ok(source) => validate::url(&draft.seen.run.namespace, source),
            Err(why) => Err(why.clone()),
        };
        match url {
            Ok(url) => answers.push(Answer {
                name: subject,
                url: format!("{url}/api/v2/heartbeat"),
                status: 200,
                patience: PATIENCE,
            }),
            Err(why) => lines.push(line(subject, Health::Bad, why)),
        }
    }
    if answers.is_empty() {
        return Ok(lines);
    }
    let wanted = Wanted::bare(
        Kind::Assess,
        String::new(),
        Request::Check { answers, mails: Vec::new(), endpoints: Vec::new() },
    );
    let heard = |check: CheckResult| match check.verdict {
        Verdict::Passed => line(check.name, Health::Good, format!("heartbeat {}", check.observed)),
        _ => line(check.name, Health::Bad, format!("heartbeat: {}", check.observed)),
    };
    match mover::drive(draft, 0, wanted) {
        Outcome::Pending(progress) => return Err(progress),
        Outcome::Said(Report::Validated { checks }) => lines.extend(checks.into_iter().map(heard)),
        Outcome::Said(_) => lines.push(line("chromadb", Health::Unknown, crate::effect::OTHER_ANSWER)),
        Outcome::GaveUp(failure) => {
            lines.push(line("chromadb", Health::Unknown, format!("not asked: {}", failure.message)));
        }
    }
    Ok(lines)
}
