//! Looks for the commit record of a capture whose Report was lost, and makes sure that the point is whole before it says so.

use crds::job::{FailureReason, Report, RepositoryAccess};
use engine::{Level, Point, Repository};

use super::Desk;
use crate::failure::{Failure, Result};
use crate::report;

pub(super) async fn confirm(desk: &Desk, access: &RepositoryAccess, attempt: &str) -> Result<Report> {
    let repository = desk.open(access).await?;
    match repository.find_by_attempt(attempt).await? {
        Some(point) => committed(desk, &repository, &point).await,
        None => Ok(Report::NotCommitted),
    }
}

/// The Report of a point that is there already: every object it needs is looked for first.
pub(super) async fn committed(desk: &Desk, repository: &Repository, point: &Point) -> Result<Report> {
    let seen = engine::verify(repository, point, Level::Manifest, desk.telling.stage("confirm")).await?;
    if let Some(finding) = seen.findings.first() {
        return Err(Failure::new(
            FailureReason::PointUnreadable,
            format!("point {} was committed but {} is broken: {}", point.id, finding.object, finding.what),
        ));
    }
    report::captured(point)
}
