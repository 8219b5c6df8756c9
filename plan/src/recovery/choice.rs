//! Which point is restored. A Quarantined point is never chosen, and why it was passed over is said. Whether a point is older than a break-in
//! (`lastKnownGood`) the store's clock decides, never the writer's: whoever broke in has the writer's.

use crds::condition::Status;
use crds::run::{ChosenPoint, LastKnownGood, PointChoice, RecoveryRunSpec, Scenario};
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
    /// Newer points that are not healthy or not trusted, and why: `Quarantined: OfflineCheckFailed`.
    pub(crate) passed_over: Vec<(String, String)>,
    /// Reason of SourceResolved.
    pub(crate) reason: &'static str,
    /// It is younger than the point of this component, which it depends on: it may know of what that one has lost.
    pub(crate) ahead_of: Option<(String, Timestamp)>,
}

/// So many points that were passed over are named.
const NAMED: usize = 4;

/// Why there is none: a reason of the condition Failed and a sentence.
pub(crate) type Refusal = (&'static str, String);

/// Chooses a point for `component`.
pub(crate) fn choose(seen: &Observed, component: &Component) -> Result<Choice, Refusal> {
    let choice = wanted(&seen.run.spec);
    match &choice {
        PointChoice { named: Some(named), .. } => named_point(seen, component, &named.name),
        PointChoice { as_of: Some(as_of), .. } => {
            newest(seen, component, Limits { until: Some(as_of.time), stored_before: None })
        }
        PointChoice { last_known_good: Some(good), .. } => {
            let stored_before = Some(trusted_before(&seen.run.spec, good)?);
            behind(seen, component, Limits { until: None, stored_before })
        }
        PointChoice { latest: _, named: None, as_of: None, last_known_good: None } => {
            behind(seen, component, Limits::default())
        }
    }
}

/// Which point a run is to restore: what was asked for, else what its scenario says.
fn wanted(spec: &RecoveryRunSpec) -> PointChoice {
    let last_known_good = (spec.scenario == Scenario::SecurityBreach).then(LastKnownGood::default);
    spec.point.clone().unwrap_or(PointChoice { last_known_good, ..PointChoice::default() })
}

/// Which points come into question.
#[derive(Clone, Copy, Default)]
struct Limits {
    /// Those that show no later instant.
    until: Option<Timestamp>,
    /// Those that their repository received before this time.
    stored_before: Option<Timestamp>,
}

impl Limits {
    /// Why a point is not trusted, where it is not.
    fn untrusted(self, point: &PointSeen) -> Option<String> {
        let before = self.stored_before?;
        match point.stored_at {
            Some(stored) if stored < before => None,
            Some(stored) => Some(format!("stored at {stored:.0}, not before {before:.0}")),
            None => Some("stored at a time that is not known here: delete its object, and it is recorded again with that time".to_owned()),
        }
    }

    /// What orders points, the newest last.
    fn age(self, time: Timestamp, point: &PointSeen) -> (Timestamp, Timestamp) {
        match self.stored_before {
            Some(_) => (point.stored_at.unwrap_or(Timestamp::MAX), time),
            None => (time, time),
        }
    }
}

/// Before which time points are trusted.
fn trusted_before(spec: &RecoveryRunSpec, good: &LastKnownGood) -> Result<Timestamp, Refusal> {
    let suspected = spec.incident.as_ref().and_then(|incident| incident.suspected_since);
    good.before.or(suspected).map(second).ok_or_else(|| {
        (
            "InvalidSpec",
            "spec.point.lastKnownGood says no time: write before: TIME, or incident.suspectedSince: TIME, in a new run".to_owned(),
        )
    })
}

/// The second that a time lies in. A store tells the second in which it received something: what came in the one of the given time may
/// be from after it.
fn second(time: Timestamp) -> Timestamp {
    let seconds = time.as_nanosecond().div_euclid(1_000_000_000);
    i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or(time)
}

/// Whether the run takes `point` for one from before a break-in; of a run that does not ask, every point is.
pub(crate) fn is_trusted(seen: &Observed, point: &PointSeen) -> bool {
    let good = wanted(&seen.run.spec).last_known_good;
    let stored_before = good.map(|good| trusted_before(&seen.run.spec, &good).unwrap_or(Timestamp::MIN));
    Limits { until: None, stored_before }.untrusted(point).is_none()
}

/// Whether a breach takes `point` for one that its repository received since somebody may have been inside; whatever says no time is one.
pub(crate) fn is_suspected(seen: &Observed, point: &PointSeen) -> bool {
    let suspected = seen.run.spec.incident.as_ref().and_then(|incident| incident.suspected_since);
    let stored_before = suspected.map(second);
    Limits { until: None, stored_before }.untrusted(point).is_some()
}

/// The newest point that is not younger than those of the components which this one works with; where there is none, the newest of all.
fn behind(seen: &Observed, component: &Component, limits: Limits) -> Result<Choice, Refusal> {
    let needed = component.depends_on.iter().filter_map(|policy| seen.component(policy));
    let needed = needed.filter(|needed| needed.role == Role::Restored);
    // A circle was refused before, so this comes to an end.
    let oldest = needed
        .filter_map(|needed| Some((needed.policy.clone(), choose(seen, needed).ok()?.consistency_time)))
        .min_by_key(|(_, time)| *time);
    let newest_of_all = newest(seen, component, limits)?;
    let Some((policy, time)) = oldest else { return Ok(newest_of_all) };
    if newest_of_all.consistency_time <= time {
        return Ok(newest_of_all);
    }
    let reason = limits.stored_before.map_or("Latest", |_| "LastKnownGood");
    match newest(seen, component, Limits { until: Some(time), ..limits }) {
        Ok(older) => Ok(Choice { reason, ..older }),
        Err(_) => Ok(Choice { ahead_of: Some((policy, time)), ..newest_of_all }),
    }
}

/// Why a point can't be restored, when it can't: it is not healthy, or not of what the component is now.
fn unfit(component: &Component, point: &PointSeen) -> Option<String> {
    match &point.state {
        PointState::Quarantined(why) | PointState::ByName(why) => Some(why.clone()),
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
    // Whoever names what people trust although it is damaged gets it.
    let trusted = match &point.state {
        PointState::ByName(_) => PointSeen { state: PointState::Available, ..point.clone() },
        _ => point.clone(),
    };
    match (
        unfit(component, &trusted),
        point.consistency_time.filter(|_| trusted.state == PointState::Available),
    ) {
        (Some(why), _) => Err((
            "PointQuarantined",
            format!(
                "point {name} is Quarantined ({why}) and is not restored; name an Available one, or use latest: {{}}. If it was looked at and found good, say so first: kubectl patch hfpoint {name} -n {namespace} --type merge -p '{{\"spec\":{{\"trust\":\"Trusted\"}}}}'"
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

fn newest(seen: &Observed, component: &Component, limits: Limits) -> Result<Choice, Refusal> {
    let Limits { until, stored_before } = limits;
    let policy = &component.policy;
    let mut candidates: Vec<(Timestamp, &PointSeen)> = seen
        .points
        .iter()
        .filter(|point| point.policy == *policy && point.repository == component.repository)
        .filter(|point| point.state != PointState::Emergency)
        .filter_map(|point| point.consistency_time.map(|time| (time, point)))
        .filter(|(time, _)| until.is_none_or(|until| *time <= until))
        .collect();
    candidates.sort_by(|(a, x), (b, y)| {
        limits.age(*b, y).cmp(&limits.age(*a, x)).then_with(|| y.name.cmp(&x.name))
    });
    let mut passed_over = Vec::new();
    for (time, point) in candidates {
        if point.state != PointState::Unknown
            && let Some(why) = limits.untrusted(point)
        {
            passed_over.push((point.name.clone(), why));
            continue;
        }
        match (unfit(component, point), &point.state) {
            (None, PointState::Available) => {
                let reason = match (stored_before, until, passed_over.is_empty()) {
                    (Some(_), _, _) => "LastKnownGood",
                    (None, Some(_), _) => "AsOf",
                    (None, None, true) => "Latest",
                    (None, None, false) => "LatestHealthy",
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
            (Some(why), _) => passed_over.push((point.name.clone(), format!("Quarantined: {why}"))),
            (None, _) => {}
        }
    }
    let (which, remedy) = match (stored_before, until) {
        (Some(before), _) => (
            format!("that the store received before {before:.0}"),
            "nothing is known to be good. Look for one to name (spec.point.named), or give a later time, in a new run",
        ),
        (None, Some(until)) => (format!("not younger than {until:.0}"), "nothing can be restored"),
        (None, None) => ("at all".to_owned(), "nothing can be restored"),
    };
    let passed = match passed_over.first() {
        None => String::new(),
        Some((name, why)) => {
            format!(" ({} passed over, the newest of them {name}: {why})", passed_over.len())
        }
    };
    Err((
        "NoHealthyPoint",
        format!(
            "policy {policy} has no Available point {which} in repository {}{passed}; {remedy}",
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
        draft.events.push(Event::warning("PointPassedOver", format!("{name} is {why}")));
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
        let named = choice.passed_over.iter().take(NAMED);
        let names: Vec<String> =
            named.map(|(name, why)| format!("{name} ({})", texts::cut(why, 120))).collect();
        text.push_str("; passed over ");
        text.push_str(&names.join(", "));
        match choice.passed_over.len().saturating_sub(NAMED) {
            0 => {}
            more => text.push_str(&format!(" and {more} more")),
        }
    }
    if let Some((policy, time)) = &choice.ahead_of {
        let ahead = texts::between(*time, choice.consistency_time);
        text.push_str(&format!("; {ahead} younger than the point of {policy}, which it depends on: it may know of what {policy} has lost"));
    }
    text
}
