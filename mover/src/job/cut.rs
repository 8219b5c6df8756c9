//! Has the storage cut snapshots: beside a ChromaDB while its writers are held, else as a power failure would find the volumes.

use std::time::Duration;

use chroma::guard::{FreezeError, Frozen, GuardError, Moment, freeze};
use crds::job::{FailureReason, HeldDatabase, Report, Snapshots};
use crds::policy::Cut;
use jiff::SignedDuration;

use super::{Desk, positive};
use crate::capture::{blocking, guarded};
use crate::failure::{Failure, Result};
use crate::places::data_dir;
use crate::snapshots::Snapshotter;
use crate::telling::Telling;

pub(super) async fn cut(
    desk: &Desk,
    snapshots: Snapshots,
    held: Option<HeldDatabase>,
    patience: SignedDuration,
) -> Result<Report> {
    // Before a writer is held: without it the cut would fail.
    let cluster = Snapshotter::of_this_pod(&desk.environment, &desk.places).await?;
    let Some(held) = held else {
        let at = (desk.environment.clock)();
        cluster.cut(&snapshots, 1, positive("patience", patience)?).await?;
        let until = (desk.environment.clock)();
        return Ok(Report::Cut(Cut { at, until, held_ms: 0, attempts: 1, filesystem: String::new() }));
    };
    let pause = positive("maxWriterPause", held.max_writer_pause)?;
    let options = guarded(&data_dir(&desk.places.source(&held.claim)?, &held.data_path)?, pause)?;
    let (telling, runtime) = (desk.telling.clone(), tokio::runtime::Handle::current());
    let frozen = blocking(move || {
        freeze(&options, &mut |moment| tell(&telling, moment), |attempt, left| {
            runtime.block_on(cluster.cut(&snapshots, attempt, left))
        })
        .map_err(|error| failure(error, pause))
    })
    .await?;
    let Frozen { made: (), locked_at, released_at, longest_hold_ms, attempts, filesystem } = frozen;
    desk.telling.say(format!("writers held {longest_hold_ms} ms at most, attempt {attempts}"));
    let cut = Cut { at: locked_at, until: released_at, held_ms: longest_hold_ms, attempts, filesystem };
    Ok(Report::Cut(cut))
}

fn tell(telling: &Telling, moment: Moment) {
    telling.say(match moment {
        Moment::Near => "the volume is synced; asking for the write lock",
        Moment::Locked => "write lock held, writers wait",
        Moment::Settled => "no flush is under way; asking for the snapshot",
        Moment::Levelled => "the volume is looked at once more",
        Moment::Released => "write lock released",
        Moment::FlushAwaited => "a flush was met halfway; waiting for its end without the lock",
    });
}

/// Words of the guard are about a copy; here nothing is copied.
fn failure(error: FreezeError<Failure>, pause: Duration) -> Failure {
    match error {
        FreezeError::Guard(GuardError::WriterPauseExceeded { needed, .. }) => Failure::new(
            FailureReason::WriterPauseExceeded,
            format!(
                "writers were held for {needed:.1?}, and maxWriterPause is {pause:?}: the snapshot may show more than one instant and is thrown away. Raise capture.snapshot.maxWriterPause, or look at why the storage is slow"
            ),
        ),
        FreezeError::Guard(GuardError::Torn { attempts, last }) => Failure::new(
            FailureReason::Torn,
            format!(
                "every one of {attempts} tries was torn, the last because {last}; what was cut is thrown away"
            ),
        ),
        FreezeError::Guard(error) => error.into(),
        FreezeError::Action(failure) => failure,
    }
}
