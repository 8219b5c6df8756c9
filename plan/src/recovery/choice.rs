//! Which point is restored. A Quarantined point is never chosen, and why it was passed over is said.

use crds::condition::Status;
use crds::run::{ChosenPoint, PointChoice, Scenario};
use jiff::Timestamp;

use super::levels::{self, Passage};
use super::seen::{Component, Observed, PointSeen, PointState, Role};
use super::{Draft, Progress, preserve, texts};
use crate::effect::Event;

/// A point, and what was passed over for it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Choice {
    pub(crate) point: PointSeen,
    pub(crate) consistency_time: Timestamp,
    /// Newer points that are not healthy, and why.
    pub(crate) passed_over: Vec<(String, String)>,
    /// Reason of SourceResolved.
    pub(crate) reason: &'static str,
    /// It is younger than the point of this component, which it depends on: it may know of what that one has lost.
    pub(crate) ahead_of: Option<(String, Timestamp)>,
}

/// Why there is none: a reason of the condition Failed and a sentence.
pub(crate) type Refusal = (&'static str, String);

/// Chooses a point for `component`.
pub(crate) fn choose(seen: &Observed, component: &Component) -> Result<Choice, Refusal> {
    let choice = seen.run.spec.point.clone().unwrap_or_default();
    match &choice {
        PointChoice { named: Some(named), .. } => named_point(seen, component, &named.name),
        PointChoice { as_of: Some(as_of), .. } => newest(seen, component, Some(as_of.time)),
        PointChoice { latest: _, named: None, as_of: None } => behind(seen, component),
    }
}

/// The newest point that is not younger than those of the components which this one works with; where there is none, the newest of all.
fn behind(seen: &Observed, component: &Component) -> Result<Choice, Refusal> {
    let needed = component.depends_on.iter().filter_map(|policy| seen.component(policy));
    let needed = needed.filter(|needed| needed.role == Role::Restored);
    // A circle was refused before, so this comes to an end.
    let oldest = needed
        .filter_map(|needed| Some((needed.policy.clone(), choose(seen, needed).ok()?.consistency_time)))
        .min_by_key(|(_, time)| *time);
    let newest_of_all = newest(seen, component, None)?;
    let Some((policy, time)) = oldest else { return Ok(newest_of_all) };
    if newest_of_all.consistency_time <= time {
        return Ok(newest_of_all);
    }
    match newest(seen, component, Some(time)) {
        Ok(older) => Ok(Choice { reason: "Latest", ..older }),
        Err(_) => Ok(Choice { ahead_of: Some((policy, time)), ..newest_of_all }),
    }
}

/// Why a point can't be restored, when it can't: it is not healthy, or not of what the component is now.
fn unfit(component: &Component, point: &PointSeen) -> Option<String> {
    match &point.state {
        PointState::Quarantined(why) => Some(why.clone()),
        PointState::Emergency => Some("EmergencyCapture".to_owned()),
        PointState::Available if point.chroma == component.application => {
            Some(if point.chroma { "it holds a ChromaDB" } else { "it holds no ChromaDB" }.to_owned())
        }
        PointState::Available | PointState::Unknown => None,
    }
}

fn named_point(seen: &Observed, component: &Component, name: &str) -> Result<Choice, Refusal> {
    let namespace = &seen.run.namespace;
    let policy = &component.policy;
    let Some(point) = seen.points.iter().find(|point| point.name == name) else {
        return Err((
            "PointNotFound",
            format!(
                "point {name} does not exist in namespace {namespace}; list those of the policy: kubectl get hfpoint -n {namespace} -l holdfast.dev/policy={policy}"
            ),
        ));
    };
    if point.policy != *policy {
        return Err((
            "PointNotFound",
            format!(
                "point {name} belongs to policy {}, not to {policy}; name a point of {policy}, or recover {}",
                point.policy, point.policy
            ),
        ));
    }
    if point.repository != component.repository {
        return Err((
            "PointNotFound",
            format!(
                "point {name} is in repository {}, but policy {policy} uses {}; name a point of {}",
                point.repository, component.repository, component.repository
            ),
        ));
    }
    match (unfit(component, point), point.consistency_time.filter(|_| point.state == PointState::Available)) {
        (Some(why), _) => Err((
            "PointQuarantined",
            format!(
                "point {name} is Quarantined ({why}) and is not restored; name an Available one, or use latest: {{}}"
            ),
        )),
        (None, Some(time)) => Ok(Choice {
            point: point.clone(),
            consistency_time: time,
            passed_over: Vec::new(),
            reason: "Named",
            ahead_of: None,
        }),
        (None, None) => Err((
            "PointNotFound",
            format!(
                "point {name} is not Available: its record is not complete; look at kubectl get hfpoint {name} -n {namespace}, or use latest: {{}}"
            ),
        )),
    }
}

fn newest(seen: &Observed, component: &Component, until: Option<Timestamp>) -> Result<Choice, Refusal> {
    let policy = &component.policy;
    let mut candidates: Vec<(Timestamp, &PointSeen)> = seen
        .points
        .iter()
        .filter(|point| point.policy == *policy && point.repository == component.repository)
        .filter(|point| point.state != PointState::Emergency)
        .filter_map(|point| point.consistency_time.map(|time| (time, point)))
        .filter(|(time, _)| until.is_none_or(|until| *time <= until))
        .collect();
    candidates.sort_by(|(a, x), (b, y)| b.cmp(a).then_with(|| y.name.cmp(&x.name)));
    let mut passed_over = Vec::new();
    for (time, point) in candidates {
        match (unfit(component, point), &point.state) {
            (None, PointState::Available) => {
                let reason = match (until, passed_over.is_empty()) {
                    (Some(_), _) => "AsOf",
                    (None, true) => "Latest",
                    (None, false) => "LatestHealthy",
                };
                let ahead_of = None;
                return Ok(Choice {
                    point: point.clone(),
                    consistency_time: time,
                    passed_over,
                    reason,
                    ahead_of,
                });
            }
            (Some(why), _) => passed_over.push((point.name.clone(), why)),
            (None, _) => {}
        }
    }
    let which = match until {
        Some(until) => format!("not younger than {}", until.strftime("%Y-%m-%dT%H:%M:%SZ")),
        None => "at all".to_owned(),
    };
    let passed = match passed_over.len() {
        0 => String::new(),
        n => format!(" ({} Quarantined, the newest {}: {})", n, passed_over[0].0, passed_over[0].1),
    };
    Err((
        "NoHealthyPoint",
        format!(
            "policy {policy} has no Available point {which} in repository {}{passed}; nothing can be restored",
            component.repository
        ),
    ))
}

/// The step SelectPoint: fixes the point once the volume is stopped.
pub(crate) fn select(draft: &mut Draft<'_>, policy: &str) -> Progress {
    let Some(component) = draft.seen.component(policy) else {
        return super::assess::policy_gone(draft, policy);
    };
    let preserved = draft.status.preserved.iter().find(|preserved| preserved.policy == policy).cloned();
    if let Some(preserved) = preserved.as_ref().filter(|_| preserve::is_wanted(&draft.seen.run.spec))
        && preserve::is_restorable(preserved)
    {
        return preserve::select(draft, component, preserved);
    }
    let evidence = preserved.as_ref().map(preserve::evidence);
    let choice = match choose(draft.seen, component) {
        Ok(choice) => choice,
        Err((reason, message)) => {
            let message = [Some(message), evidence].into_iter().flatten().collect::<Vec<_>>().join("; ");
            draft.condition("SourceResolved", false, reason, message.clone());
            return Progress::failed(reason, message);
        }
    };
    let live =
        draft.status.levels.iter().find(|live| live.policy == policy).map(|live| live.migrations.clone());
    let passage = levels::passage(choice.point.migrations.as_deref(), live.as_deref());
    let levels = format!(
        "point {} is of migration levels {}, the server's volume of {}",
        choice.point.name,
        choice.point.migrations.as_deref().unwrap_or_default(),
        live.as_deref().unwrap_or_default()
    );
    if passage == Passage::Refused {
        let message = format!(
            "{levels}: an older ChromaDB can't open it. Name an older point (spec.point), or start the image that wrote this one first (kubectl get hfpoint {} -o jsonpath='{{.status.chromaDB.image}}')",
            choice.point.name
        );
        draft.condition("SourceResolved", false, "DowngradeRefused", message.clone());
        return Progress::failed("DowngradeRefused", message);
    }
    for (name, why) in choice.passed_over.iter().take(8) {
        draft.events.push(Event::warning("PointPassedOver", format!("{name} is Quarantined: {why}")));
    }
    let mut message = describe(&choice);
    if draft.seen.run.spec.scenario == Scenario::StorageFailure {
        let since = choice.consistency_time.strftime("%Y-%m-%dT%H:%M:%SZ");
        message.push_str(&format!("; what was written since {since} is lost"));
        if let Some(evidence) = evidence {
            message.push_str(&format!("; {evidence}"));
        }
    }
    if passage == Passage::OneWay {
        let warning = format!(
            "{levels}: the server migrates it at its start, and an older one can't open it from then on"
        );
        draft.events.push(Event::warning("OneWay", warning));
        message.push_str("; migrated by the server, which is one-way");
    }
    draft.condition("SourceResolved", Status::True, choice.reason, message.clone());
    draft.status.points.retain(|point| point.policy != policy);
    draft.status.points.push(ChosenPoint {
        policy: policy.to_owned(),
        name: choice.point.name,
        id: choice.point.id,
        repository: choice.point.repository,
        consistency_time: choice.consistency_time,
    });
    Progress::Done(message)
}

/// The choice in words.
pub(crate) fn describe(choice: &Choice) -> String {
    let mut text = choice.point.name.clone();
    if !choice.passed_over.is_empty() {
        let names: Vec<String> = choice
            .passed_over
            .iter()
            .map(|(name, why)| format!("{name} (Quarantined: {})", texts::cut(why, 120)))
            .collect();
        text.push_str("; passed over ");
        text.push_str(&names.join(", "));
    }
    if let Some((policy, time)) = &choice.ahead_of {
        let ahead = texts::between(*time, choice.consistency_time);
        text.push_str(&format!("; {ahead} younger than the point of {policy}, which it depends on: it may know of what {policy} has lost"));
    }
    text
}
