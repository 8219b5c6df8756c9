//! The steps Seal, MarkPoints and Unseal: from a breach on nothing is removed from the repositories, and what they received since somebody may have been
//! inside is restored by nobody. Both stand in the bucket, so that they hold where this cluster does not reach. A repository that can't be told never
//! holds a recovery up; that is said.

use std::collections::{BTreeMap, BTreeSet};

use crds::job::{PointTrust, Report, Request};
use crds::point::{TrustMark, TrustReason, TrustWord};
use crds::run::{RecoveryRunStatus, StepPhase};

use super::effect::Effect;
use super::mover::{self, Outcome, Wanted};
use super::seen::{Access, Observed, PointSeen, PointState};
use super::steps::Kind;
use super::{Draft, Progress, assess, choice, texts};
use crate::effect::Event;

/// Most points that one mover is told of, the newest first: what it is asked has to fit its environment.
const MOST: usize = 256;

/// The repositories of what is restored, with how to reach each.
pub(crate) fn repositories(seen: &Observed) -> BTreeMap<&str, &Access> {
    let of = seen.restored().filter_map(|c| Some((c.repository.as_str(), c.access.as_ref().ok()?)));
    of.collect()
}

/// Their names: what the Jobs of the steps about them are called after.
pub(crate) fn names(seen: &Observed) -> BTreeSet<&str> {
    seen.restored().map(|component| component.repository.as_str()).collect()
}

/// Who says what is written down.
pub(crate) fn by(seen: &Observed) -> String {
    texts::cut(&format!("run/{}", seen.run.name), 256)
}

fn wanted(kind: Kind, name: &str, request: Request, access: &Access) -> Wanted {
    Wanted { keys: Some(access.keys.clone()), ..Wanted::bare(kind, name.to_owned(), request) }
}

/// The steps Seal and Unseal.
pub(crate) fn seal(draft: &mut Draft<'_>, index: usize, kind: Kind) -> Progress {
    let seal = kind == Kind::Seal;
    if !seal && !is_sealed(&draft.status) {
        return Progress::Skipped("nothing was sealed".to_owned());
    }
    let (mut done, mut not) = (Vec::new(), Vec::new());
    for (name, access) in repositories(draft.seen) {
        let request = Request::Seal {
            repository: access.access.clone(),
            seal,
            by: by(draft.seen),
            reason: if seal { "SecurityBreach" } else { "the breach is over" }.to_owned(),
        };
        match mover::drive(draft, index, wanted(kind, name, request, access)) {
            Outcome::Pending(progress) => return progress,
            Outcome::Said(Report::Sealed { seal: found }) if found.is_some() == seal => done.push(name),
            Outcome::Said(other) => not.push(format!("{name}: it answered {}", mover::kind_of(&other))),
            Outcome::GaveUp(failure) => not.push(format!("{name}: {}", failure.message)),
        }
    }
    let (is, is_not) = match seal {
        true => ("nothing is removed from it any more, and nothing but evidence captured", "is not sealed"),
        false => ("captures and maintenance go on", "stays sealed"),
    };
    let told = (!done.is_empty()).then(|| format!("{}: {is}", done.join(", ")));
    let failed = (!not.is_empty()).then(|| format!("{is_not}: {}", not.join("; ")));
    if let Some(failed) = &failed {
        draft.events.push(Event::warning(format!("{}Failed", kind.as_str()), failed.clone()));
    }
    let any = !done.is_empty();
    let message = told.into_iter().chain(failed).collect::<Vec<_>>().join("; ");
    if any { Progress::Done(message) } else { Progress::Skipped(message) }
}

/// Whether the run has sealed a repository and not unsealed it.
pub(crate) fn is_sealed(status: &RecoveryRunStatus) -> bool {
    let done =
        |name: &str| status.steps.iter().any(|step| step.name == name && step.phase == StepPhase::Done);
    done("Seal") && !done("Unseal")
}

/// What is said of a run that ends and leaves repositories sealed.
pub(crate) fn stays(draft: &Draft<'_>) -> Option<String> {
    is_sealed(&draft.status).then(|| {
        let names: Vec<&str> = names(draft.seen).into_iter().collect();
        format!("Repository {} stays sealed: holdfast repo unseal, with the key", names.join(", "))
    })
}

/// The points of a policy that its repository received since somebody may have been inside, the newest first. No emergency capture: those are
/// never chosen, and whoever looks into a breach reads them.
fn suspected<'a>(seen: &'a Observed, policy: &str) -> Vec<&'a PointSeen> {
    let of = seen.points.iter().filter(|point| {
        point.policy == policy && point.state != PointState::Emergency && choice::is_suspected(seen, point)
    });
    let mut of: Vec<&PointSeen> = of.collect();
    of.sort_by(|a, b| (b.stored_at, &b.name).cmp(&(a.stored_at, &a.name)));
    of.truncate(MOST);
    of
}

/// What the step MarkPoints would do.
pub(crate) fn foretell(seen: &Observed, policy: &str) -> String {
    let suspected = suspected(seen, policy);
    let names: Vec<&str> = suspected.iter().map(|point| point.name.as_str()).collect();
    match names.as_slice() {
        [] => "no point was stored since somebody may have been inside".to_owned(),
        names => format!(
            "quarantine what was stored since somebody may have been inside, {}; undo: spec.trust: Trusted",
            texts::cut(&names.join(", "), 400)
        ),
    }
}

/// Whether nobody restores it, whatever its capture found.
fn is_marked(point: &PointSeen) -> bool {
    matches!(&point.state, PointState::Quarantined(why) if why == TrustReason::SuspectedBreach.as_str() || why == "ByUser")
}

/// The step MarkPoints.
pub(crate) fn mark(draft: &mut Draft<'_>, index: usize, policy: &str) -> Progress {
    let seen = draft.seen;
    let Some(component) = seen.component(policy) else { return assess::policy_gone(draft, policy) };
    let suspected: Vec<&PointSeen> =
        suspected(seen, policy).into_iter().filter(|p| p.repository == component.repository).collect();
    if suspected.is_empty() {
        return Progress::Skipped("no point was stored since somebody may have been inside".to_owned());
    }
    let access = match &component.access {
        Ok(access) => access,
        Err(why) => return Progress::acting(Vec::new(), why.clone()),
    };
    let say = |point: &&PointSeen| PointTrust {
        point: point.id.clone(),
        word: TrustWord::Quarantined,
        reason: TrustReason::SuspectedBreach,
        by: by(seen),
    };
    let request = Request::Mark {
        repository: access.access.clone(),
        hold: Vec::new(),
        release: Vec::new(),
        trust: suspected.iter().map(say).collect(),
        verified: Vec::new(),
    };
    let failed = match mover::drive(draft, index, wanted(Kind::MarkPoints, policy, request, access)) {
        Outcome::Pending(progress) => return progress,
        Outcome::Said(Report::Marked) => None,
        Outcome::Said(other) => Some(format!("the mover answered {}", mover::kind_of(&other))),
        Outcome::GaveUp(failure) => Some(failure.message),
    };
    // Here they count whatever the bucket says.
    let open = suspected.iter().filter(|point| !is_marked(point));
    let effects: Vec<Effect> = open
        .map(|point| Effect::QuarantinePoint {
            name: point.name.clone(),
            mark: TrustMark {
                word: TrustWord::Quarantined,
                reason: TrustReason::SuspectedBreach,
                by: by(seen),
                since: draft.now,
            },
        })
        .collect();
    if !effects.is_empty() {
        return Progress::acting(effects, "quarantining what was stored since somebody may have been inside");
    }
    let names: Vec<&str> = suspected.iter().take(8).map(|point| point.name.as_str()).collect();
    let more = suspected.len().saturating_sub(names.len());
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let count = texts::count(suspected.len() as u64, "point");
    let mut message = format!("{count} quarantined: {}{more}", names.join(", "));
    if let Some(why) = failed {
        message.push_str(&format!("; the bucket was not told, so it counts in this cluster alone: {why}"));
        draft.events.push(Event::warning("MarkPointsFailed", message.clone()));
    }
    Progress::Done(message)
}
