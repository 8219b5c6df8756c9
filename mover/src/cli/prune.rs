//! `holdfast prune`: which points go is decided by the engine's rules; what goes with them takes two runs, a day apart.

use std::collections::BTreeSet;

use crds::job::FailureReason;
use engine::{Point, PointId, Prune, PruneReport, Reason, Repository, Retention};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use serde::Serialize;

use super::backup::tag;
use super::output::row;
use super::{Output, RepositoryArgs};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::holds::Holds;
use crate::retention::WASTE;
use crate::telling::{Telling, bytes};
use crate::trust::Trust;

#[derive(Debug, clap::Args)]
pub struct PruneArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    #[command(flatten)]
    keep: KeepArgs,
    /// Apply the rules to this component only; else to each by itself
    #[arg(long, value_name = "NAME")]
    component: Option<String>,
    /// Remove this point, whatever the rules say; may be repeated
    #[arg(long = "remove", value_name = "ID")]
    remove: Vec<PointId>,
    /// How long what nothing needs any more lies condemned before it is deleted: longer than any capture lasts
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = days)]
    wait: SignedDuration,
    /// Repack a pack of which more than this is waste
    #[arg(long, value_name = "PERCENT", default_value_t = WASTE, value_parser = clap::value_parser!(u8).range(..=100))]
    waste: u8,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
}

/// Without any of these, points stay, and only what no point needs goes.
#[derive(Debug, clap::Args)]
struct KeepArgs {
    /// Keep the newest points
    #[arg(long, value_name = "N", default_value_t)]
    keep_last: u32,
    /// Keep one point an hour, of the newest hours that have one
    #[arg(long, value_name = "N", default_value_t)]
    keep_hourly: u32,
    /// Keep one point a day
    #[arg(long, value_name = "N", default_value_t)]
    keep_daily: u32,
    /// Keep one point a week
    #[arg(long, value_name = "N", default_value_t)]
    keep_weekly: u32,
    /// Keep one point a month
    #[arg(long, value_name = "N", default_value_t)]
    keep_monthly: u32,
    /// Keep one point a year
    #[arg(long, value_name = "N", default_value_t)]
    keep_yearly: u32,
    /// Keep at least so many healthy points, whatever their age
    #[arg(long, value_name = "N", default_value_t)]
    keep_minimum: u32,
    /// Keep at least so many points that verify --record passed, whatever their age
    #[arg(long, value_name = "N", default_value_t)]
    keep_verified: u32,
    /// Keep points with this tag
    #[arg(long = "keep-tag", value_name = "KEY=VALUE", value_parser = tag)]
    keep_tags: Vec<(String, String)>,
    /// Keep nothing older, such as 90d, but for the last three kinds
    #[arg(long, value_name = "DURATION", value_parser = days)]
    max_age: Option<SignedDuration>,
    /// Whose hours, days and weeks, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = zone)]
    zone: TimeZone,
}

/// A duration that may be given in days and weeks.
pub(super) fn days(text: &str) -> std::result::Result<SignedDuration, String> {
    let span: Span = text.parse().map_err(|e| format!("{e}; write 24h, 90d or 12w"))?;
    span.to_duration(jiff::SpanRelativeTo::days_are_24_hours())
        .map_err(|_| "months and years differ in length; write days or weeks, such as 90d or 12w".to_owned())
}

fn zone(name: &str) -> std::result::Result<TimeZone, String> {
    TimeZone::get(name).map_err(|_| format!("`{name}` is no time zone such as Europe/Berlin"))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    dry_run: bool,
    points: Vec<Judged>,
    #[serde(flatten)]
    report: PruneReport,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Judged {
    point: String,
    component: String,
    consistency_time: Timestamp,
    /// Why it is kept; empty when it goes.
    kept: Vec<Reason>,
}

pub async fn run(
    args: PruneArgs,
    output: Output,
    environment: &Environment,
    telling: &Telling,
) -> Result<Exit> {
    let repository = args.repository.open(environment).await?;
    let now = (environment.clock)();
    let holds = Holds::of(&repository).await?;
    if let Some((point, why)) = args.remove.iter().find_map(|point| Some((point, holds.reason(point)?))) {
        let why = format!("point {point} is on hold ({why}): holdfast release --point {point} first");
        return Err(Failure::new(FailureReason::InvalidRequest, why));
    }
    let trust = Trust::of(&repository).await?;
    if let Some((point, mark)) = args.remove.iter().find_map(|point| Some((point, trust.quarantine(point)?)))
    {
        let why = format!(
            "point {point} is Quarantined ({}, by {}), so it may be evidence: holdfast trust --point {point} first",
            mark.reason.as_str(),
            mark.by
        );
        return Err(Failure::new(FailureReason::InvalidRequest, why));
    }
    let points = judge(&repository, &args, now).await?;
    let mut remove: BTreeSet<PointId> =
        points.iter().filter(|(_, kept)| kept.is_empty()).map(|(point, _)| point.id).collect();
    remove.extend(&args.remove);
    let request = Prune { remove, wait: args.wait, waste: args.waste, dry_run: args.dry_run, now };
    let report = engine::prune(&repository, &request, telling.stage("look at what points need")).await?;
    telling.end_stage();
    telling.clear();
    for object in &report.held {
        eprintln!("warning: the store does not let go of {object}: it stays, and the next prune tries again");
    }
    if let Some(end) = report.locked_until {
        let PruneReport { points_locked, packs_locked, others_locked, .. } = report;
        telling.say(format!(
            "locked and left: {points_locked} points, {packs_locked} packs that nothing needs, {others_locked} other objects; the first \
             lock ends {end:.0}, and a prune after that takes what it kept"
        ));
    }
    let done = Done {
        dry_run: args.dry_run,
        points: points.into_iter().map(|(p, k)| judged(&p, k)).collect(),
        report,
    };
    output.print(&done, &rows(&done));
    Ok(if done.report.held.is_empty() { Exit::Done } else { Exit::Denied })
}

/// Every point with the reasons to keep it.
async fn judge(
    repository: &Repository,
    args: &PruneArgs,
    now: Timestamp,
) -> Result<Vec<(Point, BTreeSet<Reason>)>> {
    let keep = &args.keep;
    let rules = Retention {
        last: keep.keep_last,
        hourly: keep.keep_hourly,
        daily: keep.keep_daily,
        weekly: keep.keep_weekly,
        monthly: keep.keep_monthly,
        yearly: keep.keep_yearly,
        minimum: keep.keep_minimum,
        keep_verified: keep.keep_verified,
        max_age: keep.max_age,
    };
    let held = |point: &Point| {
        keep.keep_tags.iter().any(|(key, value)| point.attributes.tags.get(key) == Some(value))
    };
    let of = |component: &str| {
        let asked = args.component.as_deref().is_none_or(|asked| asked == component);
        asked.then(|| (rules.clone(), keep.zone.clone()))
    };
    let mut judged = crate::retention::judge(repository, of, held, now).await?;
    for (_, kept) in judged.iter_mut().filter(|(point, _)| args.remove.contains(&point.id)) {
        kept.clear();
    }
    Ok(judged)
}

fn judged(point: &Point, kept: BTreeSet<Reason>) -> Judged {
    Judged {
        point: point.id.to_string(),
        component: point.attributes.component.clone(),
        consistency_time: point.attributes.consistency_time,
        kept: kept.into_iter().collect(),
    }
}

fn rows(done: &Done) -> Vec<Vec<String>> {
    let mut rows = vec![row(["POINT", "COMPONENT", "CONSISTENT", "KEPT"])];
    for point in &done.points {
        let reasons: Vec<String> = point.kept.iter().map(|reason| format!("{reason:?}")).collect();
        let why = if reasons.is_empty() { "no".to_owned() } else { reasons.join(",") };
        rows.push(row([&point.point, &point.component, &format!("{:.0}", point.consistency_time), &why]));
    }
    let report = &done.report;
    rows.push(Vec::new());
    rows.push(row([if done.dry_run { "WOULD" } else { "DONE" }, "PACKS", "SIZE"]));
    let mut line =
        |what: &str, packs: u64, size: u64| rows.push(row([what, &packs.to_string(), &bytes(size)]));
    line("deleted", report.packs_swept, report.bytes_swept);
    line("condemned", report.packs_condemned, report.bytes_condemned);
    line("waiting", report.packs_waiting, report.bytes_waiting);
    line("locked", report.packs_locked, report.bytes_locked);
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_may_be_given_in_days_and_weeks_and_months_are_refused() {
        assert_eq!(days("90d"), Ok(SignedDuration::from_hours(90 * 24)));
        assert_eq!(days("2w"), Ok(SignedDuration::from_hours(14 * 24)));
        assert_eq!(days("36h"), Ok(SignedDuration::from_hours(36)));
        assert!(days("3mo").is_err() && days("soon").is_err());
        assert!(zone("Europe/Berlin").is_ok() && zone("Atlantis").is_err());
    }
}
