//! What a repository says of its namespace: whether any of it is covered by no policy. It is looked at now and then; in between stands what
//! was seen last.

use crds::condition::{self, Status};

use super::{Observed, Plan};
use crate::coverage::{self, Look};

const KIND: &str = "CoverageComplete";

/// Says what was seen.
pub(super) fn follow(seen: &Observed<'_>, plan: &mut Plan) {
    let (status, reason, message) = match &seen.coverage {
        Look::NotNow => return,
        Look::Unprotected => {
            plan.status.coverage = None;
            condition::clear(&mut plan.status.conditions, KIND);
            return;
        }
        Look::Failed(why) => {
            let message =
                format!("it could not be seen what the namespace has: {why}. Tried again within the hour");
            (Status::Unknown, "NotSeen", message)
        }
        Look::Seen(found) => {
            let complete = found.uncovered.is_empty();
            plan.status.coverage = Some(found.clone());
            (complete.into(), if complete { "Complete" } else { "Uncovered" }, coverage::told(found))
        }
    };
    let generation = seen.repository.metadata.generation.unwrap_or_default();
    condition::set(&mut plan.status.conditions, KIND, status, reason, message, generation, seen.now);
}

#[cfg(test)]
mod tests {
    use crds::repository::{Coverage, CoveredKind, Uncovered};
    use jiff::Timestamp;

    use super::super::simulated::ready;
    use super::super::{Observed, Plan, plan};
    use crate::coverage::Look;
    use crate::effect::JobState;

    fn look(repository: &crds::RecoveryRepository, coverage: Look) -> Plan {
        plan(&Observed {
            repository,
            terminating: false,
            job: JobState::Absent,
            catalogue: JobState::Absent,
            marks: JobState::Absent,
            maintenance: JobState::Absent,
            ended_jobs: vec![],
            run: None,
            sealing: None,
            coverage,
            policies: &[],
            points: &[],
            now: "2026-11-23T09:41:00Z".parse::<Timestamp>().unwrap(),
        })
    }

    #[test]
    fn what_was_seen_stands_until_it_is_seen_otherwise() {
        let mut repository = ready();
        let drift = Coverage {
            counts: vec![crds::repository::UncoveredCount { kind: CoveredKind::Deployment, count: 1 }],
            uncovered: vec![Uncovered { kind: CoveredKind::Deployment, name: "dashboard".into() }],
        };
        let condition = |plan: &Plan| {
            let found = crds::condition::get(&plan.status.conditions, "CoverageComplete");
            found.map(|found| (found.status.clone(), found.reason.clone()))
        };
        let is = |status: &str, reason: &str| Some((status.to_owned(), reason.to_owned()));
        let first = look(&repository, Look::Seen(drift.clone()));
        assert_eq!(condition(&first), is("False", "Uncovered"));
        assert_eq!(first.status.coverage, Some(drift.clone()));
        assert!(first.events.iter().any(|event| event.reason == "Uncovered"), "{:?}", first.events);
        repository.status = Some(first.status.clone());
        let between = look(&repository, Look::NotNow);
        assert_eq!(
            (&between.status.coverage, condition(&between)),
            (&first.status.coverage, condition(&first))
        );
        let failed = look(&repository, Look::Failed("403".into()));
        assert_eq!(condition(&failed), is("Unknown", "NotSeen"));
        assert_eq!(failed.status.coverage, Some(drift), "what was seen last is still told");
        let complete = look(&repository, Look::Seen(Coverage::default()));
        assert_eq!(condition(&complete), is("True", "Complete"));
        let gone = look(&repository, Look::Unprotected);
        assert_eq!((condition(&gone), gone.status.coverage), (None, None));
    }
}
