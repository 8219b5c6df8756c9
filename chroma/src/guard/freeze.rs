//! Writers held while somebody else cuts the volume: the same lock and the same guard as a live capture's, around an action.

use std::{
    fs::File,
    path::Path,
    time::{Duration, Instant},
};

use jiff::Timestamp;

use super::{
    capture::{CaptureOptions, Moment},
    error::GuardError,
    flush::{Budget, FLUSH_PATIENCE, await_flush, settle, suspects},
    held::HeldLock,
    hold::LockRequest,
    scan::scan,
    source::inspect_source,
};
use crate::files;

/// An action that was carried out while writers were held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frozen<T> {
    /// What it returned.
    pub made: T,
    /// Writers were held from here: what was acknowledged before is on the disk.
    pub locked_at: Timestamp,
    /// To here.
    pub released_at: Timestamp,
    /// The longest hold of all attempts, in milliseconds.
    pub longest_hold_ms: u64,
    /// Attempts made, the successful one included.
    pub attempts: u32,
    /// The filesystem that the source is on.
    pub filesystem: String,
}

/// Why nothing usable was made.
#[derive(Debug)]
pub enum FreezeError<E> {
    /// The guard's reason.
    Guard(GuardError),
    /// The action failed.
    Action(E),
}

impl<E> From<GuardError> for FreezeError<E> {
    fn from(error: GuardError) -> Self {
        Self::Guard(error)
    }
}

/// Carries out `action` while no writer of `options.data_dir` may write, telling it how long it may take.
///
/// Guarantees: on success nothing of the ChromaDB changed from before the action until after it, no flush of vectors was halfway, and
/// everything was synced to the disk before: ChromaDB itself never syncs its vector files. No hold exceeds `max_writer_pause`. The
/// action is carried out once at most, since what it made while the lock was lost is useless: only what comes before is tried again.
/// Blocks: call it from a blocking thread.
///
/// # Errors
/// When the source can't be captured, no lock is to be had, a flush never ends, or something changed under the lock all the same.
pub fn freeze<T, E>(
    options: &CaptureOptions,
    watch: &mut dyn FnMut(Moment),
    action: impl FnOnce(Duration) -> Result<T, E>,
) -> Result<Frozen<T>, FreezeError<E>> {
    let data = options.data_dir.as_path();
    let filesystem = inspect_source(data, options.allow_unshared_locks)?.filesystem;
    let request = LockRequest {
        db: data.join(files::DATABASE),
        wait: options.lock_wait,
        deadline: options.max_writer_pause,
    };
    let mut longest = Duration::ZERO;
    let mut patience = FLUSH_PATIENCE;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let last = attempt >= options.attempts.get();
        // The bulk of it without a lock, so that little is left to sync under it.
        sync(data)?;
        watch(Moment::Near);
        let lock = HeldLock::acquire(&options.lock_command, &request)?;
        let budget = Budget::start(options.max_writer_pause);
        watch(Moment::Locked);
        let flushing = match settle(data, options.quiet, &budget)? {
            Err(because) => Err((because, Vec::new())),
            Ok(tree) => match suspects(data, &tree) {
                // Met in every attempt it is damage and no flush, and is captured as it is.
                suspects if suspects.is_empty() || last => Ok(tree),
                suspects => Err((format!("segment {} was being flushed", suspects.join(", ")), suspects)),
            },
        };
        let before = match flushing {
            Ok(before) => before,
            Err((because, suspects)) => {
                drop(lock);
                longest = longest.max(budget.since.elapsed());
                watch(Moment::Released);
                tracing::info!(attempt, because, "no snapshot is cut yet");
                if last {
                    return Err(GuardError::Torn { attempts: attempt, last: because }.into());
                }
                watch(Moment::FlushAwaited);
                await_flush(data, &suspects, &mut patience);
                continue;
            }
        };
        watch(Moment::Settled);
        let made = act(data, &budget, action);
        let unchanged = scan(data).map(|after| before.difference(&after));
        watch(Moment::Levelled);
        let released = lock.release();
        let held = budget.since.elapsed();
        watch(Moment::Released);
        let made = made?;
        // Held to the end, or what was made may show a state that no lock vouches for.
        let released = released.map_err(|error| match held >= options.max_writer_pause {
            true => too_long(options.max_writer_pause, held),
            false => error,
        })?;
        if let Some(because) = unchanged? {
            return Err(GuardError::Torn { attempts: attempt, last: because }.into());
        }
        return Ok(Frozen {
            made,
            locked_at: released.locked_at,
            released_at: released.released_at,
            longest_hold_ms: longest.max(released.held).as_millis() as u64,
            attempts: attempt,
            filesystem,
        });
    }
}

/// What is left to sync, and the action within what is left of the time.
fn act<T, E>(
    data: &Path,
    budget: &Budget,
    action: impl FnOnce(Duration) -> Result<T, E>,
) -> Result<T, FreezeError<E>> {
    sync(data)?;
    let left = (budget.allowed / 10 * 9).saturating_sub(budget.since.elapsed());
    if left.is_zero() {
        return Err(too_long(budget.allowed, budget.since.elapsed()).into());
    }
    action(left).map_err(FreezeError::Action)
}

fn too_long(allowed: Duration, held: Duration) -> GuardError {
    GuardError::WriterPauseExceeded { allowed, needed: held }
}

/// Syncs the whole filesystem of the volume.
fn sync(data: &Path) -> Result<(), GuardError> {
    let begun = Instant::now();
    File::open(data)
        .and_then(|dir| Ok(rustix::fs::syncfs(dir)?))
        .map_err(|source| GuardError::Read { path: data.to_owned(), source })?;
    tracing::debug!(took = ?begun.elapsed(), "synced");
    Ok(())
}
