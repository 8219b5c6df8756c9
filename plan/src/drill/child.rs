//! The run of a drill: an ordinary RecoveryRun in a sandbox, on the same code path as a real one; or one that verifies points, which needs none.

use crds::RecoveryRun;
use crds::drill::{DrDrillStatus, DrillTest, RunningDrill};
use crds::reference::DRILL_LABEL;
use crds::run::{
    DesiredState, Incident, LastKnownGood, PointChoice, RecoveryRunSpec, RunMode, Scenario, Target,
};
use jiff::{SignedDuration, Timestamp};

use super::Observed;
use crate::recovery;

/// How long the API server may refuse a run before the drill is given up.
const CREATED_WITHIN: SignedDuration = SignedDuration::from_mins(10);

/// A run to create. The drill is its controller.
#[derive(Clone, Debug, PartialEq)]
pub struct Child {
    /// Name.
    pub name: String,
    /// What it does.
    pub spec: RecoveryRunSpec,
}

/// What is known of the run under way.
pub(super) enum Seen<'a> {
    /// It is to be created.
    Wanted,
    /// It is there.
    There(&'a RecoveryRun),
    /// It was there and is not any more, or can't be: why.
    Lost(&'static str, String),
}

/// Whether `run` was made for this drill, and not for one of the same name before it.
#[must_use]
pub fn is_of(run: &RecoveryRun, drill: &crds::DrDrill) -> bool {
    let labelled = run.metadata.labels.as_ref().is_some_and(|labels| labels.contains_key(DRILL_LABEL));
    let owners = run.metadata.owner_references.iter().flatten();
    labelled
        && owners
            .into_iter()
            .any(|owner| owner.kind == "DrDrill" && Some(&owner.uid) == drill.metadata.uid.as_ref())
}

pub(super) fn look<'a>(seen: &Observed<'a>, running: &RunningDrill) -> Seen<'a> {
    let found = seen.runs.iter().find(|run| run.metadata.name.as_ref() == Some(&running.run));
    match (found, &running.uid) {
        (Some(run), _) if !is_of(run, seen.drill) => {
            let why = format!(
                "a RecoveryRun {} exists that is not this drill's; delete it or ask again",
                running.run
            );
            Seen::Lost("NameTaken", why)
        }
        (Some(run), Some(uid)) if run.metadata.uid.as_ref() != Some(uid) => {
            Seen::Lost("RunDeleted", deleted(running))
        }
        (Some(run), _) => Seen::There(run),
        (None, Some(_)) => Seen::Lost("RunDeleted", deleted(running)),
        (None, None) if seen.now.duration_since(running.started) > CREATED_WITHIN => {
            let why = format!(
                "RecoveryRun {} could not be created within 10m; the events of the drill (Refused) and the controller's log say why",
                running.run
            );
            Seen::Lost("NotCreated", why)
        }
        (None, None) => Seen::Wanted,
    }
}

fn deleted(running: &RunningDrill) -> String {
    format!("RecoveryRun {} was deleted before it ended", running.run)
}

/// The run to create, when one is announced and not there.
pub(super) fn wanted(seen: &Observed<'_>, status: &DrDrillStatus) -> Option<Child> {
    let running = status.running.as_ref()?;
    matches!(look(seen, running), Seen::Wanted).then(|| of(seen, running))
}

fn of(seen: &Observed<'_>, running: &RunningDrill) -> Child {
    let spec = &seen.drill.spec;
    let breach = spec.test == DrillTest::SecurityBreach;
    let name = seen.drill.metadata.name.as_deref().unwrap_or_default();
    let last_known_good = breach.then(LastKnownGood::default);
    Child {
        name: running.run.clone(),
        spec: RecoveryRunSpec {
            scenario: spec.test.scenario(),
            policies: spec.policies.clone(),
            point: last_known_good.map(|good| PointChoice {
                last_known_good: Some(good),
                latest: None,
                named: None,
                as_of: None,
            }),
            target: (spec.test != DrillTest::BackupVerification)
                .then(|| Target { in_place: None, sandbox: Some(spec.sandbox.clone().unwrap_or_default()) }),
            mode: RunMode::Run,
            deadline: spec.deadline,
            quarantine_for: None,
            gates: vec![],
            decisions: vec![],
            attestations: vec![],
            credential_rotations: vec![],
            desired_state: DesiredState::Running,
            incident: Some(Incident {
                summary: Some(format!("DrDrill {name}: {} rehearsed", spec.test.as_str())),
                detected_at: Some(running.started),
                suspected_since: breach.then_some(running.started),
                ..Incident::default()
            }),
        },
    }
}

/// What keeps a drill from being started now: a recovery comes first, and drills of one namespace take turns, so that an outage is not
/// followed by all of them at once.
pub(super) fn in_the_way(seen: &Observed<'_>) -> Option<String> {
    let under_way = |run: &&RecoveryRun| {
        let rehearsal = run.spec.sandbox().is_some();
        // An outage may last for days, and touches no volume.
        let network = run.spec.scenario == Scenario::NetworkFailure && !rehearsal;
        run.spec.mode == RunMode::Run && !network && !run.status.as_ref().is_some_and(recovery::ended)
    };
    let run = seen.runs.iter().find(under_way)?;
    Some(format!(
        "RecoveryRun {} of this namespace is under way; the drill follows when it has ended",
        run.metadata.name.as_deref().unwrap_or_default()
    ))
}

/// Whether a run of this name was there already.
pub(super) fn is_taken(seen: &Observed<'_>, status: &DrDrillStatus, name: &str) -> bool {
    status.results.iter().any(|result| result.run == name)
        || seen.runs.iter().any(|run| run.metadata.name.as_deref() == Some(name))
}

/// When a drill that can't create its run is given up.
pub(super) fn given_up_at(running: &RunningDrill) -> Timestamp {
    running.started.checked_add(CREATED_WITHIN + SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX)
}
