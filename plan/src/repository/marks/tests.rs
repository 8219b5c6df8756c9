use std::collections::BTreeMap;

use crds::RecoveryPoint;
use crds::point::{Hold, PointPhase, RecoveryPointSpec, RecoveryPointStatus, Trust, TrustWord};
use crds::reference::NameRef;
use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::repository::plan;
use crate::repository::simulated::{Jobs, Writes, ready};
use crate::repository::tests::alone;

fn point(id: &str, hold: Option<&str>) -> RecoveryPoint {
    let spec = RecoveryPointSpec {
        policy: "chromadb".into(),
        repository_ref: NameRef::new("primary"),
        id: id.into(),
        deletion_policy: Default::default(),
        hold: hold.map(|reason| Hold { reason: reason.into() }),
        trust: Trust::Auto,
    };
    let mut point = RecoveryPoint::new(&format!("chromadb-{id}"), spec);
    let phase = Some(PointPhase::Available);
    point.status = Some(RecoveryPointStatus { phase, ..RecoveryPointStatus::default() });
    point
}

struct World {
    repository: RecoveryRepository,
    points: Vec<RecoveryPoint>,
    /// What the bucket says.
    bucket: BTreeMap<String, String>,
    /// What it says of trust, the last last.
    words: Vec<(String, TrustWord)>,
    /// Points that it says were verified.
    verified: Vec<String>,
    jobs: Jobs,
    now: Timestamp,
}

impl World {
    fn new(points: Vec<RecoveryPoint>) -> Self {
        Self {
            repository: ready(),
            points,
            bucket: BTreeMap::new(),
            words: Vec::new(),
            verified: Vec::new(),
            jobs: Jobs::default(),
            now: "2026-11-23T09:40:01Z".parse().unwrap(),
        }
    }

    /// One look; the controller dies after so many of its writes.
    fn look(&mut self, writes: usize) {
        let round = self.repository.status.as_ref().and_then(|status| status.marks.as_ref());
        let plan = plan(&Observed {
            marks: self.jobs.state(round.map(|round| job_name(&self.repository, round))),
            ended_jobs: self.jobs.ended(),
            points: &self.points,
            ..alone(&self.repository, self.now)
        });
        let mut writes = Writes(writes);
        for (name, status) in plan.judged {
            let judged = self.points.iter_mut().find(|point| point.metadata.name.as_ref() == Some(&name));
            if let Some(point) = judged
                && writes.come_through()
            {
                point.status = Some(status);
            }
        }
        if self.repository.status.as_ref() != Some(&plan.status) && writes.come_through() {
            self.repository.status = Some(plan.status);
        }
        self.jobs.carry_out(&plan.over, plan.mark, &mut writes);
    }

    fn movers(&mut self) {
        let Self { jobs, bucket, words, verified, .. } = self;
        jobs.work(|job| {
            let Request::Mark { hold, release, trust, verified: passed, .. } = &job.request else {
                panic!("{:?}", job.request)
            };
            bucket.extend(hold.iter().map(|held| (held.point.clone(), held.reason.clone())));
            release.iter().for_each(|point| drop(bucket.remove(point)));
            words.extend(trust.iter().map(|said| (said.point.clone(), said.word)));
            verified.extend(passed.iter().map(|said| said.point.clone()));
            Report::Marked
        });
    }

    fn settle(&mut self) {
        for _ in 0..20 {
            self.look(usize::MAX);
            self.movers();
        }
    }

    fn reason(&self) -> Option<&str> {
        let conditions = &self.repository.status.as_ref().unwrap().conditions;
        condition::get(conditions, "MarksRecorded").map(|condition| condition.reason.as_str())
    }

    fn said(&self) -> Vec<(&str, &str)> {
        self.bucket.iter().map(|(point, reason)| (point.as_str(), reason.as_str())).collect()
    }
}

#[test]
fn what_is_held_here_is_held_in_the_bucket_and_released_there() {
    let mut world = World::new(vec![point("1", Some("INC-1")), point("2", None), point("3", Some("INC-3"))]);
    world.settle();
    assert_eq!((world.said(), world.reason()), (vec![("1", "INC-1"), ("3", "INC-3")], Some("Recorded")));
    assert_eq!(world.jobs.started.len(), 1, "once for all of them");
    world.points = vec![point("1", None), point("2", Some("INC-2")), point("3", Some("INC-3, longer"))];
    world.settle();
    assert_eq!(world.said(), [("2", "INC-2"), ("3", "INC-3, longer")]);
    assert_eq!(world.jobs.started.len(), 2);
    assert!(world.jobs.is_empty());
}

#[test]
fn where_nothing_was_ever_held_nothing_is_done_or_said() {
    let mut world = World::new(vec![point("1", None)]);
    world.settle();
    assert_eq!((world.jobs.started.len(), world.reason()), (0, None));
}

#[test]
fn an_object_that_is_deleted_releases_nothing() {
    let mut world = World::new(vec![point("1", Some("INC-1")), point("2", Some("INC-2"))]);
    world.settle();
    world.points.remove(0);
    world.settle();
    assert_eq!(world.said(), [("1", "INC-1"), ("2", "INC-2")]);
    // Found again, with its hold, by the catalogue; then it is taken away.
    world.points.insert(0, point("1", Some("INC-1")));
    world.settle();
    world.points[0] = point("1", None);
    world.settle();
    assert_eq!(world.said(), [("2", "INC-2")]);
}

#[test]
fn a_failure_is_told_and_tried_again() {
    for state in [JobState::Silent { why: "evicted".into() }, JobState::Ended(Report::NotCommitted)] {
        let mut world = World::new(vec![point("1", Some("INC-1"))]);
        world.look(usize::MAX);
        world.jobs.fails = Some(state);
        world.movers();
        world.look(usize::MAX);
        assert_eq!(world.reason(), Some("NotWritten"));
        world.look(usize::MAX);
        assert_eq!(world.jobs.started.len(), 1, "not at once");
        world.now += SignedDuration::from_mins(10);
        world.settle();
        assert_eq!((world.said(), world.reason()), (vec![("1", "INC-1")], Some("Recorded")));
    }
}

#[test]
fn what_can_not_be_written_down_is_said() {
    let mut world = World::new(vec![point("1", Some("INC-1"))]);
    world.repository.spec.mode = RepositoryMode::ReadOnly;
    world.settle();
    assert_eq!((world.jobs.started.len(), world.reason()), (0, Some("ReadOnly")));
    world.repository.spec.mode = RepositoryMode::ReadWrite;
    world.settle();
    assert_eq!(world.said().len(), 1);
    world.points = (0..130).map(|n| point(&format!("{n:03}"), Some("INC"))).collect();
    world.settle();
    assert_eq!(world.reason(), Some("TooMany"));
}

#[test]
fn i5_killed_after_any_write_the_bucket_says_what_is_held() {
    for dies_at in 0..12 {
        for writes in 0..4 {
            let mut world = World::new(vec![point("1", Some("INC-1")), point("2", Some("INC-2"))]);
            for step in 0..24 {
                if step == 6 {
                    world.points = vec![point("1", None), point("2", Some("INC-2"))];
                }
                world.look(if step == dies_at { writes } else { usize::MAX });
                world.movers();
            }
            assert_eq!(world.said(), [("2", "INC-2")], "look {dies_at}, {writes} writes");
            assert!(world.jobs.is_empty(), "look {dies_at}, {writes} writes: a Job is left");
        }
    }
}

impl World {
    fn says(&mut self, index: usize, trust: Trust) {
        self.points[index].spec.trust = trust;
        self.settle();
    }

    /// Phase, and whether a mark is known.
    fn of(&self, index: usize) -> (PointPhase, Option<TrustWord>) {
        let status = self.points[index].status.as_ref().unwrap();
        (status.phase.unwrap(), status.trust.as_ref().map(|mark| mark.word))
    }
}

#[test]
fn what_people_say_of_trust_is_told_once_and_nothing_that_is_taken_back_lifts_it() {
    let mut world = World::new(vec![point("1", None), point("2", None)]);
    world.says(0, Trust::Quarantined);
    let told = |word| ("1".to_owned(), word);
    assert_eq!(world.words, [told(TrustWord::Quarantined)]);
    assert_eq!(world.of(0), (PointPhase::Quarantined, Some(TrustWord::Quarantined)));
    assert_eq!(world.of(1), (PointPhase::Available, None));
    // As a sync from Git may do.
    world.says(0, Trust::Auto);
    assert_eq!(world.of(0), (PointPhase::Quarantined, Some(TrustWord::Quarantined)));
    world.says(0, Trust::Trusted);
    assert_eq!(world.words, [told(TrustWord::Quarantined), told(TrustWord::Trusted)]);
    assert_eq!(world.of(0), (PointPhase::Available, Some(TrustWord::Trusted)));
    assert!(world.jobs.is_empty());
}

#[test]
fn what_was_said_before_a_break_in_does_not_lift_the_quarantine_that_it_brought() {
    let mut world = World::new(vec![point("1", None)]);
    world.says(0, Trust::Trusted);
    let status = world.points[0].status.as_mut().unwrap();
    let mark = status.trust.as_mut().unwrap();
    (mark.word, mark.reason) = (TrustWord::Quarantined, TrustReason::SuspectedBreach);
    world.settle();
    assert_eq!(world.of(0).0, PointPhase::Quarantined);
    // Another word brings another round; this one is not said again.
    world.points.push(point("2", None));
    world.says(1, Trust::Quarantined);
    assert_eq!(world.words.len(), 2);
    assert_eq!(world.of(0), (PointPhase::Quarantined, Some(TrustWord::Quarantined)));
    world.says(0, Trust::Auto);
    world.says(0, Trust::Trusted);
    assert_eq!(world.of(0), (PointPhase::Available, Some(TrustWord::Trusted)));
}

#[test]
fn a_quarantine_counts_here_before_the_bucket_can_be_told() {
    let mut world = World::new(vec![point("1", None)]);
    world.repository.spec.mode = RepositoryMode::ReadOnly;
    world.says(0, Trust::Quarantined);
    assert_eq!((world.words.len(), world.reason()), (0, Some("ReadOnly")));
    assert_eq!(world.of(0), (PointPhase::Quarantined, None));
    // Trust, on the other hand, only when the bucket knows: a mover would refuse the point.
    world.points[0].spec.trust = Trust::Auto;
    world.repository.spec.mode = RepositoryMode::ReadWrite;
    world.settle();
    assert_eq!(world.of(0).0, PointPhase::Available);
}

#[test]
fn i5_killed_after_any_write_what_is_said_of_trust_is_told_and_shown() {
    for dies_at in 0..8 {
        for writes in 0..5 {
            let mut world = World::new(vec![point("1", None), point("2", None), point("3", None)]);
            (world.points[0].spec.trust, world.points[2].spec.trust) = (Trust::Quarantined, Trust::Trusted);
            for step in 0..20 {
                world.look(if step == dies_at { writes } else { usize::MAX });
                world.movers();
            }
            assert_eq!(world.of(0), (PointPhase::Quarantined, Some(TrustWord::Quarantined)));
            assert_eq!(world.of(1), (PointPhase::Available, None));
            assert_eq!(world.of(2), (PointPhase::Available, Some(TrustWord::Trusted)));
            assert_eq!(world.words.len(), 2, "look {dies_at}, {writes} writes");
            assert!(world.jobs.is_empty());
        }
    }
}

/// A point that a run has verified.
fn stamped(id: &str, verdict: Verdict) -> RecoveryPoint {
    let mut point = point(id, None);
    let time = "2026-11-23T09:39:00Z".parse().unwrap();
    let stamp = crate::verification::Stamp {
        name: point.metadata.name.clone().unwrap(),
        verification: Verification { verdict, time, by: "run/drill-1".into(), recorded: false },
        found: "its hash is not the point's".into(),
    };
    point.status = crate::verification::stamped(&point, &stamp, time);
    point
}

#[test]
fn what_was_verified_is_written_down_in_the_bucket_once_whenever_the_controller_dies() {
    for writes in 1..6 {
        let points = vec![stamped("1", Verdict::Passed), stamped("2", Verdict::Failed), point("3", None)];
        let mut world = World::new(points);
        for _ in 0..40 {
            world.look(writes);
            world.movers();
        }
        assert_eq!(world.verified, ["1"], "killed after every {writes} writes");
        assert_eq!(world.words, [("2".to_owned(), TrustWord::Quarantined)]);
        let recorded = |point: &RecoveryPoint| {
            point.status.as_ref().and_then(|status| status.verification.as_ref()).map(|known| known.recorded)
        };
        assert_eq!(world.points.iter().map(recorded).collect::<Vec<_>>(), [Some(true), Some(true), None]);
        assert_eq!(world.jobs.started.len(), 1, "all of them in one round");
        let failed = world.points[1].status.as_ref().unwrap();
        assert_eq!(failed.phase, Some(PointPhase::Quarantined));
    }
}

#[test]
fn what_is_verified_while_a_job_tells_is_told_by_the_next() {
    let mut world = World::new(vec![stamped("1", Verdict::Passed)]);
    world.look(usize::MAX);
    let mut later = stamped("2", Verdict::Passed);
    let time = world.now + SignedDuration::from_secs(1);
    later.status.as_mut().unwrap().verification.as_mut().unwrap().time = time;
    world.points.push(later);
    world.now = time + SignedDuration::from_secs(1);
    world.settle();
    assert_eq!(world.verified, ["1", "2"]);
    assert_eq!(world.jobs.started.len(), 2);
}
