//! The steps Diagnose and Watch: whether what a component needs from outside answers, as a mover sees it from inside the cluster; and what a
//! run about the network says. What could not be seen never counts as an answer.

use crds::condition::Status;
use crds::job::{Diagnosed, EndpointSeen, Report, Request};
use crds::policy::Endpoint;
use crds::run::{
    EndpointState, EndpointStatus, NextAction, OfflineState, OfflineStatus, SwitchMemory, Verdict,
};
use jiff::{SignedDuration, Timestamp};

use super::mover::{self, Outcome, Wanted};
use super::seen::{Component, Observed};
use super::steps::Kind;
use super::{Draft, Progress, assess, isolation, offline, texts, validate};
use crate::effect::{Event, JobState};

/// The wait between two looks: at first, and once it has doubled as often as it may.
const PAUSE: (i64, i64) = (15, 120);

/// Which components a run about the network concerns, and which it does not.
pub(crate) fn concerned(seen: &Observed) -> String {
    let asked =
        |name: &str| seen.run.spec.policies.as_ref().is_none_or(|all| all.iter().any(|p| p.name == name));
    let of = |offline: bool| {
        let names = seen.policies.iter().filter(|policy| policy.offline == offline && asked(&policy.name));
        names.map(|policy| policy.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    match (of(true).as_str(), of(false).as_str()) {
        (concerned, "") => format!("it concerns {concerned}"),
        ("", others) => format!("no component has an offline mode: {others}"),
        (concerned, others) => format!("it concerns {concerned}; without an offline mode: {others}"),
    }
}

/// What a step would do with a component.
pub(crate) fn foretell(component: &Component, kind: Kind) -> String {
    let Some(mode) = &component.offline else { return String::new() };
    let endpoints = listed(&mode.endpoints);
    match kind {
        Kind::Diagnose => {
            format!("look from inside the cluster whether {endpoints} answer; undo: none needed")
        }
        Kind::EnterOffline => {
            let switch = mode.switch.iter().map(|switch| {
                format!(
                    "set {} of ConfigMap {} to {:?}",
                    switch.key, switch.config_map_ref.name, switch.offline
                )
            });
            let suspend = mode.suspend.iter().map(|w| format!("suspend {} {}", w.kind.as_str(), w.name));
            let all: Vec<String> = switch.chain(suspend).collect();
            let restart = match mode.restart {
                crds::policy::Restart::Required => ", restart what reads it",
                crds::policy::Restart::NotRequired => "",
            };
            format!("unless all answer, {}{restart}; undo: give back", all.join(", "))
        }
        Kind::Watch => format!("look until {endpoints} answer twice in a row; undo: none needed"),
        Kind::LeaveOffline => "give back what was changed, as it was; undo: none needed".to_owned(),
        _ => String::new(),
    }
}

fn listed(endpoints: &[Endpoint]) -> String {
    endpoints.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The Job that looks: as nobody, with nothing, wherever the component may run.
fn wanted(seen: &Observed, component: &Component, kind: Kind) -> Option<Wanted> {
    let endpoints = component.offline.as_ref()?.endpoints.clone();
    let patience = seen.run.spec.sandbox().map(|_| isolation::PATIENCE);
    Some(Wanted {
        namespace: seen.run.spec.sandbox().map(|_| seen.home()),
        place: component.source.as_ref().map(|source| source.anywhere.clone()).unwrap_or_default(),
        ..Wanted::bare(kind, component.policy.clone(), Request::Diagnose { endpoints, patience })
    })
}

/// How a step ends of which nobody knows any more what to look at.
fn gone(draft: &Draft<'_>, policy: &str) -> Progress {
    match draft.seen.component(policy) {
        None => assess::policy_gone(draft, policy),
        Some(_) => Progress::failed(
            "StepFailed",
            format!(
                "policy {policy} has no spec.offline any more, so nothing says what to look at; apply it again and create a new run"
            ),
        ),
    }
}

/// The step Diagnose. A failure was declared: when nothing can be seen, offline mode is entered as for endpoints that don't answer.
pub(crate) fn diagnose(draft: &mut Draft<'_>, index: usize, policy: &str) -> Progress {
    let component = draft.seen.component(policy);
    let Some((component, wanted)) = component.and_then(|c| Some((c, wanted(draft.seen, c, Kind::Diagnose)?)))
    else {
        return gone(draft, policy);
    };
    let endpoints = component.offline.iter().flat_map(|mode| &mode.endpoints);
    let (seen, message) = match mover::drive(draft, index, wanted) {
        Outcome::Pending(progress) => return progress,
        Outcome::Said(Report::Diagnosed(diagnosed)) => {
            let seen = statuses(endpoints, &diagnosed);
            let message = told(&seen, &diagnosed);
            (seen, message)
        }
        Outcome::Said(other) => return mover::unexpected(&other),
        Outcome::GaveUp(failure) => (Vec::new(), format!("nothing could be seen: {}", failure.message)),
    };
    if all_answer(&seen) && draft.seen.run.spec.sandbox().is_some() {
        validate::worse(draft, Verdict::Inconclusive);
        let message =
            format!("{message} from the sandbox, which is to reach nobody: no outage is rehearsed like that");
        return Progress::failed("IsolationNotEnforced", message);
    }
    let state = if all_answer(&seen) { OfflineState::NotNeeded } else { OfflineState::Needed };
    draft.status.offline.retain(|known| known.policy != policy);
    draft.status.offline.push(OfflineStatus {
        policy: policy.to_owned(),
        state,
        entered: None,
        left: None,
        endpoints: seen,
        answered: None,
        switch: None,
        suspended: Vec::new(),
        readers: Vec::new(),
        restart: None,
    });
    offline::condition(draft);
    Progress::Done(message)
}

/// What is known of every endpoint that was asked for; one that the report leaves out was not seen to answer.
fn statuses<'a>(endpoints: impl Iterator<Item = &'a Endpoint>, diagnosed: &Diagnosed) -> Vec<EndpointStatus> {
    let of = |(number, endpoint): (usize, &Endpoint)| {
        let seen = diagnosed.endpoints.get(number);
        let message = match seen {
            Some(EndpointSeen { addresses, message, .. }) if !addresses.is_empty() => {
                format!("{message} ({})", addresses.join(", "))
            }
            Some(EndpointSeen { message, .. }) => message.clone(),
            None => "the mover says nothing of it".to_owned(),
        };
        EndpointStatus {
            endpoint: endpoint.to_string(),
            state: match seen {
                Some(EndpointSeen { answers: true, .. }) => EndpointState::Answers,
                Some(_) | None => EndpointState::Silent,
            },
            message: texts::cut(&message, 256),
        }
    };
    endpoints.enumerate().map(of).collect()
}

fn all_answer(endpoints: &[EndpointStatus]) -> bool {
    !endpoints.is_empty() && endpoints.iter().all(|endpoint| endpoint.state == EndpointState::Answers)
}

fn told(endpoints: &[EndpointStatus], diagnosed: &Diagnosed) -> String {
    if all_answer(endpoints) {
        return answers(endpoints);
    }
    let pod = [("interfaces", &diagnosed.interfaces), ("routes", &diagnosed.routes)];
    let pod = pod.iter().map(|(what, lines)| {
        let lines = if lines.is_empty() { "none".to_owned() } else { lines.join(", ") };
        format!("{what} of the pod: {lines}")
    });
    std::iter::once(silent(endpoints)).chain(pod).collect::<Vec<_>>().join("; ")
}

fn answers(endpoints: &[EndpointStatus]) -> String {
    match endpoints {
        [one] => format!("{} answers", one.endpoint),
        all => format!("all {} endpoints answer", all.len()),
    }
}

/// Those that don't answer, and why.
fn silent(endpoints: &[EndpointStatus]) -> String {
    let silent = endpoints.iter().filter(|endpoint| endpoint.state == EndpointState::Silent);
    let each: Vec<String> = silent.map(|e| format!("{}: {}", e.endpoint, e.message)).collect();
    if each.is_empty() { "nothing is known of the endpoints".to_owned() } else { each.join("; ") }
}

/// The step Watch: looks, each time by a new Job, until everything answered twice in a row.
pub(crate) fn watch(draft: &mut Draft<'_>, index: usize, policy: &str) -> Progress {
    let Some(known) = offline::of(&draft.status, policy) else { return gone(draft, policy) };
    if known.state == OfflineState::NotNeeded {
        return Progress::Skipped("all endpoints answer".to_owned());
    }
    let component = draft.seen.component(policy);
    let Some((component, wanted)) = component.and_then(|c| Some((c, wanted(draft.seen, c, Kind::Watch)?)))
    else {
        return gone(draft, policy);
    };
    let look = draft.status.steps[index].attempts.max(1);
    let name = mover::job_name(draft, Kind::Watch, policy, look);
    let job = draft.seen.jobs.get(&name);
    let last = draft.status.steps[index].message.clone();
    let endpoints = component.offline.iter().flat_map(|mode| &mode.endpoints);
    let (seen, why) = match job.map(|job| &job.state) {
        // What was seen last is worth more than that somebody looks again, unless nobody can.
        None | Some(JobState::Absent) => {
            return match mover::make(draft, look, name, wanted) {
                Progress::Acting { effects, note } if last.is_empty() => Progress::acting(effects, note),
                Progress::Acting { effects, .. } => Progress::acting(effects, last),
                other => other,
            };
        }
        Some(JobState::Running { waiting }) => {
            let running = if last.is_empty() { format!("Job {name} runs") } else { last };
            return Progress::acting(Vec::new(), waiting.clone().unwrap_or(running));
        }
        Some(JobState::Ended(Report::Diagnosed(diagnosed))) => {
            let seen = statuses(endpoints, diagnosed);
            let why = silent(&seen);
            (seen, why)
        }
        Some(JobState::Ended(Report::Failed(failure))) => (Vec::new(), failure.message.clone()),
        Some(JobState::Ended(other)) => return mover::unexpected(other),
        Some(JobState::Silent { why }) => (Vec::new(), format!("the last look told nothing: {why}")),
    };
    let ended = job.and_then(|job| job.ended).unwrap_or(draft.now);
    let good = all_answer(&seen);
    let again = known.answered.is_some_and(|before| before.checked_add(1) == Some(look));
    if let Some(known) = offline::of_mut(&mut draft.status, policy) {
        if !seen.is_empty() {
            known.endpoints = seen.clone();
        }
        if good && !again {
            known.answered = Some(look);
        }
    }
    if good && again {
        return Progress::Done(format!("{}, twice in a row", answers(&seen)));
    }
    let why = if good { format!("{}; once more, to be sure", answers(&seen)) } else { why };
    next(draft, ended, if good { 1 } else { look }, why)
}

/// The next look, once its time has come: it follows from the end of the last one's Job, which stays until then.
fn next(draft: &Draft<'_>, ended: Timestamp, looks: u32, why: String) -> Progress {
    let (first, most) = PAUSE;
    let pause = first.saturating_mul(1 << looks.saturating_sub(1).min(8)).min(most);
    let due = ended.checked_add(SignedDuration::from_secs(pause)).ok();
    match due.filter(|due| *due > draft.now) {
        Some(at) => {
            let note = format!("{why}; the next look follows at {}", at.strftime("%H:%M:%SZ"));
            Progress::Polling { effects: Vec::new(), note, at }
        }
        None => Progress::Another { note: why },
    }
}

/// Ends a run about the network.
pub(crate) fn report(draft: &mut Draft<'_>, numbers: Option<String>) -> Progress {
    let offline: Vec<String> = draft.status.offline.iter().filter_map(lasted).collect();
    let (reason, message) = match numbers {
        None => ("NotNeeded", "every endpoint answers, so nothing was changed".to_owned()),
        Some(numbers) => {
            let whole = texts::between(assess::declared(&draft.seen.run), draft.now);
            ("Recovered", format!("{}; {numbers}; {whole} in all", offline.join(", ")))
        }
    };
    draft.condition("Ready", Status::True, reason, message.clone());
    draft.condition("Complete", Status::True, reason, message.clone());
    draft.events.push(Event::normal(reason, message.clone()));
    Progress::Done(message)
}

/// For how long a component was offline.
fn lasted(known: &OfflineStatus) -> Option<String> {
    let (entered, left) = (known.entered?, known.left?);
    Some(format!("{} was offline for {}", known.policy, texts::between(entered, left)))
}

/// How a run that ended without success left its components.
pub(crate) fn world(draft: &Draft<'_>) -> String {
    let of = |wanted: fn(&OfflineStatus) -> bool| {
        let names = draft.status.offline.iter().filter(|known| wanted(known));
        names.map(|known| known.policy.as_str()).collect::<Vec<_>>().join(", ")
    };
    match of(offline::is_owed).as_str() {
        "" => "Nothing is offline by this run".to_owned(),
        still => format!("Still offline, until somebody gives back what was changed: {still}"),
    }
}

/// What to type for what is still offline.
pub(crate) fn next_actions(draft: &Draft<'_>) -> Vec<NextAction> {
    let namespace = &draft.seen.run.namespace;
    let mut actions = Vec::new();
    for known in draft.status.offline.iter().filter(|known| offline::is_owed(known)) {
        actions.extend(known.switch.iter().map(|SwitchMemory { config_map, key, before, .. }| {
            let patch = serde_json::json!({"data": {key: before}}).to_string().replace('\'', "'\\''");
            NextAction {
                name: format!("online-{}", texts::cut(&known.policy, 50)),
                message: format!("when the network is back: sets {key} to what it was"),
                command: texts::cut(
                    &format!("kubectl patch configmap {config_map} -n {namespace} --type=merge -p '{patch}'"),
                    1024,
                ),
            }
        }));
        actions.extend(known.suspended.iter().map(|suspended| {
            let (kind, name) = (suspended.workload.kind, &suspended.workload.name);
            let command = match kind {
                crds::reference::WorkloadKind::CronJob => {
                    format!(
                        "kubectl patch cronjob {name} -n {namespace} -p '{{\"spec\":{{\"suspend\":false}}}}'"
                    )
                }
                _ => format!(
                    "kubectl scale {}/{name} -n {namespace} --replicas={}",
                    kind.as_str().to_lowercase(),
                    suspended.replicas
                ),
            };
            NextAction {
                name: format!("resume-{}", texts::cut(name, 50)),
                message: format!("when the network is back: lets {} {name} go on", kind.as_str()),
                command,
            }
        }));
        actions.extend(known.readers.iter().map(|reader| NextAction {
            name: format!("restart-{}", texts::cut(&reader.workload.name, 50)),
            message: "after that: it reads the switch at its start".into(),
            command: format!(
                "kubectl rollout restart {}/{} -n {namespace}",
                reader.workload.kind.as_str().to_lowercase(),
                reader.workload.name
            ),
        }));
    }
    actions.truncate(8);
    actions
}
