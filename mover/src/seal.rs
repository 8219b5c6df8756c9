//! What a sealed repository takes: nothing is removed and no key is added, which the engine sees to; of captures it takes evidence alone.

use crds::job::{FailureReason, RepositoryAccess};
use crds::repository::SealMark;
use engine::{Repository, Sealed};

use crate::failure::{Failure, Result};

/// The seal in the bucket, in the words of the contract.
pub async fn seal(repository: &Repository) -> Result<Option<SealMark>> {
    Ok(repository.sealed().await?.map(mark))
}

/// A seal in the words of the contract.
pub fn mark(sealed: Sealed) -> SealMark {
    let Sealed { by, reason, since } = sealed;
    SealMark { by, reason, since }
}

/// Refuses what the Request's repository doesn't take because its spec says Sealed.
pub fn spec_allows(access: &RepositoryAccess, refused: &str) -> Result<()> {
    match access.sealed {
        false => Ok(()),
        true => {
            let why = format!(
                "spec.mode of the repository is Sealed: {refused}. Set spec.mode: ReadWrite once nothing in it is evidence"
            );
            Err(Failure::new(FailureReason::Sealed, why))
        }
    }
}

/// Refuses a capture into a sealed repository, unless it is of evidence.
pub async fn takes_captures(repository: &Repository, evidence: bool) -> Result<()> {
    let Some(SealMark { by, reason, since }) = seal(repository).await?.filter(|_| !evidence) else {
        return Ok(());
    };
    let why = format!(
        "{} is sealed (by {by}, {since:.0}: {reason}), so nothing but evidence is captured into it. Capture to another repository, or unseal it: \
         holdfast repo unseal, with its key",
        repository.place()
    );
    Err(Failure::new(FailureReason::Sealed, why))
}
