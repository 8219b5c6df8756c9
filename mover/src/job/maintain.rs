//! What no retention rule keeps: first it is said, then, once the controller has written it down, removed.

use std::collections::{BTreeMap, BTreeSet};

use crds::job::{ComponentRules, FailureReason, Judged, MAX_POINTS, Pruned, Report, RepositoryAccess};
use engine::{Point, PointId, Prune};
use jiff::tz::TimeZone;

use super::probe::held;
use super::{Desk, id_of};
use crate::failure::{Failure, Result};
use crate::holds::Holds;
use crate::retention::{WAIT, WASTE, judge as judge_points};
use crate::seal::spec_allows;
use crate::trust::Trust;

pub(super) async fn judge(
    desk: &Desk,
    access: &RepositoryAccess,
    rules: &[ComponentRules],
    held: &[String],
) -> Result<Report> {
    let repository = desk.open(access).await?;
    let is_held = |point: &Point| held.contains(&point.id.to_string());
    let mut of_policy = BTreeMap::new();
    for of in rules {
        let zone = TimeZone::get(&of.time_zone).map_err(|_| {
            let why =
                format!("`{}` of policy {} is no time zone such as Europe/Berlin", of.time_zone, of.policy);
            Failure::new(FailureReason::InvalidRequest, why)
        })?;
        of_policy.insert(of.policy.as_str(), (retention(&of.retention), zone));
    }
    let rules = |component: &str| of_policy.get(component).cloned();
    let judged = judge_points(&repository, rules, is_held, (desk.environment.clock)()).await?;
    let mut going: Vec<Point> =
        judged.into_iter().filter(|(_, kept)| kept.is_empty()).map(|(point, _)| point).collect();
    going.sort_by_key(|point| (point.attributes.consistency_time, point.id));
    desk.telling.say(format!("{} points are kept by no rule", going.len()));
    let more = going.len() > MAX_POINTS;
    let remove = going.into_iter().take(MAX_POINTS).map(|point| point.id.to_string()).collect();
    Ok(Report::Judged(Judged { remove, more }))
}

fn retention(of: &crds::retention::Retention) -> engine::Retention {
    engine::Retention {
        last: of.last,
        hourly: of.hourly,
        daily: of.daily,
        weekly: of.weekly,
        monthly: of.monthly,
        yearly: of.yearly,
        minimum: of.minimum,
        keep_verified: of.verified,
        max_age: of.max_age.map(crds::Span::to_duration),
    }
}

pub(super) async fn prune(desk: &Desk, access: &RepositoryAccess, remove: &[String]) -> Result<Report> {
    spec_allows(access, "nothing is removed")?;
    let asked: BTreeSet<PointId> = remove.iter().map(|id| id_of(id)).collect::<Result<_>>()?;
    let repository = desk.open(access).await?;
    // Whoever asked may not know of a hold or a quarantine that was written from elsewhere.
    let holds = Holds::of(&repository).await?;
    let trust = Trust::of(&repository).await?;
    let stays = |point: &PointId| holds.reason(point).is_some() || trust.quarantine(point).is_some();
    let request = Prune {
        remove: asked.iter().filter(|point| !stays(point)).copied().collect(),
        wait: WAIT,
        waste: WASTE,
        dry_run: false,
        now: (desk.environment.clock)(),
    };
    let done = engine::prune(&repository, &request, desk.telling.stage("look at what points need")).await?;
    desk.telling.end_stage();
    let kept = held(repository.store()).await?;
    let left = asked.iter().map(PointId::to_string).filter(|id| kept.points.contains(id));
    Ok(Report::Pruned(Pruned {
        left: left.collect(),
        locked_until: done.locked_until,
        bytes_swept: done.bytes_swept,
        bytes_condemned: done.bytes_condemned,
        points: kept.points.len() as u64,
        bytes: kept.bytes,
    }))
}
