//! Writes down in the bucket what is said of points: which are on hold, and which are trusted or quarantined.

use crds::job::{HeldPoint, PointTrust, Report, RepositoryAccess};
use engine::PointId;

use super::{Desk, id_of, writable};
use crate::failure::Result;
use crate::holds::Holds;
use crate::trust::Trust;

pub(super) async fn mark(
    desk: &Desk,
    access: &RepositoryAccess,
    hold: &[HeldPoint],
    release: &[String],
    trust: &[PointTrust],
) -> Result<Report> {
    writable(access, "no mark can be written")?;
    let held = hold.iter().map(|held| (held.point.as_str(), Some(held.reason.as_str())));
    let asked: Vec<(PointId, Option<&str>)> = held
        .chain(release.iter().map(|id| (id.as_str(), None)))
        .map(|(id, reason)| Ok((id_of(id)?, reason)))
        .collect::<Result<_>>()?;
    let judged: Vec<(PointId, &PointTrust)> =
        trust.iter().map(|said| Ok((id_of(&said.point)?, said))).collect::<Result<_>>()?;
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
    desk.telling.say(format!(
        "{} points held, {} released, {} judged",
        hold.len(),
        release.len(),
        judged.len()
    ));
    Ok(Report::Marked)
}
