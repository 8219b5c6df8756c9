//! Writes down in the bucket what is said of points: which are on hold, which are trusted or quarantined, and which were verified.

use crds::job::{HeldPoint, PointTrust, Report, RepositoryAccess, VerifiedPoint};
use engine::PointId;

use super::{Desk, id_of, writable};
use crate::failure::Result;
use crate::holds::Holds;
use crate::trust::Trust;
use crate::verified;

/// What is said of points.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub hold: &'a [HeldPoint],
    pub release: &'a [String],
    pub trust: &'a [PointTrust],
    pub verified: &'a [VerifiedPoint],
}

pub(super) async fn mark(desk: &Desk, access: &RepositoryAccess, said: Said<'_>) -> Result<Report> {
    let Said { hold, release, trust, verified } = said;
    writable(access, "no mark can be written")?;
    let held = hold.iter().map(|held| (held.point.as_str(), Some(held.reason.as_str())));
    let asked: Vec<(PointId, Option<&str>)> = held
        .chain(release.iter().map(|id| (id.as_str(), None)))
        .map(|(id, reason)| Ok((id_of(id)?, reason)))
        .collect::<Result<_>>()?;
    let judged: Vec<(PointId, &PointTrust)> =
        trust.iter().map(|said| Ok((id_of(&said.point)?, said))).collect::<Result<_>>()?;
    let passed: Vec<(PointId, &VerifiedPoint)> =
        verified.iter().map(|said| Ok((id_of(&said.point)?, said))).collect::<Result<_>>()?;
    let repository = desk.open_locking(access).await?;
    let now = || (desk.environment.clock)();
    // What nobody may restore comes first: should this be killed, nothing is the worse for it.
    if !judged.is_empty() {
        let mut marks = Trust::of(&repository).await?;
        for (point, said) in &judged {
            marks.set(&repository, *point, said, now()).await?;
        }
    }
    if !asked.is_empty() {
        let mut holds = Holds::of(&repository).await?;
        for (point, reason) in asked {
            holds.set(&repository, point, reason, now()).await?;
        }
    }
    for (point, VerifiedPoint { by, at, .. }) in &passed {
        verified::record(&repository, point, by, *at).await?;
    }
    desk.telling.say(format!(
        "{} points held, {} released, {} judged, {} verified",
        hold.len(),
        release.len(),
        judged.len(),
        passed.len()
    ));
    Ok(Report::Marked)
}
