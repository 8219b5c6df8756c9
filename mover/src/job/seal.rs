//! Seals the repository by a mark in the bucket, or unseals it.

use crds::job::{Report, RepositoryAccess};

use super::{Desk, writable};
use crate::failure::Result;
use crate::seal::mark;

pub(super) async fn seal(
    desk: &Desk,
    access: &RepositoryAccess,
    seal: bool,
    by: &str,
    reason: &str,
) -> Result<Report> {
    writable(access, "no seal can be written")?;
    let repository = desk.open_locking(access).await?;
    let sealed = repository.set_seal(seal, by, reason, (desk.environment.clock)()).await?;
    let what = if sealed.is_some() { "sealed" } else { "not sealed" };
    desk.telling.say(format!("{} is {what}", repository.place()));
    Ok(Report::Sealed { seal: sealed.map(mark) })
}
