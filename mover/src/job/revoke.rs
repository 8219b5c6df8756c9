//! Writes down in the bucket that values of Secrets are void, so that no point brings them back: see [`Void`].

use crds::job::{Report, RepositoryAccess, Revoked};
use crds::names;

use super::{Desk, writable};
use crate::failure::Result;
use crate::void::Void;

pub(super) async fn revoke(
    desk: &Desk,
    access: &RepositoryAccess,
    keeper: &str,
    values: &[Revoked],
    by: &str,
) -> Result<Report> {
    writable(access, "no mark can be written")?;
    let repository = desk.open_locking(access).await?;
    let mut void = Void::of(&repository).await?;
    let mut said = 0;
    for of in values {
        let old = desk.places.mounted(keeper, &names::revoked_key(&of.secret, &of.key))?;
        // A provider may have left it as it was: then it is what counts, and not void.
        let Some(old) = old.filter(|old| !old.is_empty()) else { continue };
        if desk.places.mounted(&of.secret, &of.key)?.as_ref() == Some(&old) {
            continue;
        }
        void.say(&repository, of, &old, (by, (desk.environment.clock)())).await?;
        said += 1;
    }
    desk.telling.say(format!("{said} values are void"));
    Ok(Report::Marked)
}
