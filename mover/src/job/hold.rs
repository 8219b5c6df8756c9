//! Writes down in the bucket which points are on hold.

use crds::job::{HeldPoint, Report, RepositoryAccess};
use engine::PointId;

use super::{Desk, id_of, writable};
use crate::failure::Result;
use crate::holds::Holds;

pub(super) async fn hold(
    desk: &Desk,
    access: &RepositoryAccess,
    hold: &[HeldPoint],
    release: &[String],
) -> Result<Report> {
    writable(access, "no hold can be written")?;
    let held = hold.iter().map(|held| (held.point.as_str(), Some(held.reason.as_str())));
    let asked: Vec<(PointId, Option<&str>)> = held
        .chain(release.iter().map(|id| (id.as_str(), None)))
        .map(|(id, reason)| Ok((id_of(id)?, reason)))
        .collect::<Result<_>>()?;
    let repository = desk.open_locking(access).await?;
    let mut holds = Holds::of(&repository).await?;
    for (point, reason) in asked {
        holds.set(&repository, point, reason, (desk.environment.clock)()).await?;
    }
    desk.telling.say(format!("{} points held, {} released", hold.len(), release.len()));
    Ok(Report::Held)
}
