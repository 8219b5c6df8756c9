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
    held::{HeldLock, Released},
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

/// Carries out `action` while no writer of `options.data_dir` may write, telling it the number of the attempt and how long it may take.
///
/// Guarantees: on success nothing of the ChromaDB changed from before the action until after it, no flush of vectors was halfway, and
/// everything was synced to the disk before: ChromaDB itself never syncs its vector files. No hold exceeds `max_writer_pause`. An
/// attempt that was torn is made again, with the action; what the action made before is useless then. An action that fails ends it.
/// Blocks: call it from a blocking thread.
///
/// # Errors
/// When the source can't be captured, no lock is to be had, the action fails, or every attempt was torn.
pub fn freeze<T, E>(
    options: &CaptureOptions,
    watch: &mut dyn FnMut(Moment),
    mut action: impl FnMut(u32, Duration) -> Result<T, E>,
) -> Result<Frozen<T>, FreezeError<E>> {
    let data = options.data_dir.as_path();
    let filesystem = inspect_source(data, options.allow_unshared_locks)?.filesystem;
    let attempts = options.attempts.get();
    let (mut longest, mut patience) = (Duration::ZERO, FLUSH_PATIENCE);
    let mut last = String::new();
    for attempt in 1..=attempts {
        // The bulk of it without a lock, so that little is left to sync under it.
        sync(data)?;
        watch(Moment::Near);
        let mut act = |left| action(attempt, left);
        let tried = under_lock(options, attempt == attempts, watch, &mut act)?;
        watch(Moment::Released);
        longest = longest.max(tried.held);
        match tried.came_to {
            Ok((made, released)) => {
                return Ok(Frozen {
                    made,
                    locked_at: released.locked_at,
                    released_at: released.released_at,
                    longest_hold_ms: longest.as_millis() as u64,
                    attempts: attempt,
                    filesystem,
                });
            }
            Err(Torn { because, flushing }) => {
                tracing::info!(attempt, because, "torn");
                if !flushing.is_empty() {
                    watch(Moment::FlushAwaited);
                    await_flush(data, &flushing, &mut patience);
                }
                last = because;
            }
        }
    }
    Err(GuardError::Torn { attempts, last }.into())
}

/// One attempt.
struct Tried<T> {
    held: Duration,
    came_to: Result<(T, Released), Torn>,
}

/// Why it was for nothing, and the segments that were being flushed, where that is why.
struct Torn {
    because: String,
    flushing: Vec<String>,
}

fn under_lock<T, E>(
    options: &CaptureOptions,
    last: bool,
    watch: &mut dyn FnMut(Moment),
    action: &mut dyn FnMut(Duration) -> Result<T, E>,
) -> Result<Tried<T>, FreezeError<E>> {
    let data = options.data_dir.as_path();
    let request = LockRequest {
        db: data.join(files::DATABASE),
        wait: options.lock_wait,
        deadline: options.max_writer_pause,
    };
    let lock = HeldLock::acquire(&options.lock_command, &request)?;
    let budget = Budget::start(options.max_writer_pause);
    watch(Moment::Locked);
    let torn =
        |because, flushing| Tried { held: budget.since.elapsed(), came_to: Err(Torn { because, flushing }) };
    let before = match settle(data, options.quiet, &budget)? {
        Ok(tree) => tree,
        Err(because) => return Ok(torn(because, Vec::new())),
    };
    let flushing = suspects(data, &before);
    // Met in every attempt it is damage and no flush, and is captured as it is.
    if !flushing.is_empty() && !last {
        return Ok(torn(format!("segment {} was being flushed", flushing.join(", ")), flushing));
    }
    watch(Moment::Settled);
    let made = act(data, &budget, action);
    let unchanged = scan(data).map(|after| before.difference(&after));
    watch(Moment::Levelled);
    let released = lock.release();
    let held = budget.since.elapsed();
    let made = made?;
    // Held to the end, or what was made may show a state that no lock vouches for.
    let released = match released {
        Ok(released) => released,
        Err(_) if held >= options.max_writer_pause => {
            return Err(too_long(options.max_writer_pause, held).into());
        }
        Err(error) => return Ok(torn(format!("the lock was not held to the end: {error}"), Vec::new())),
    };
    match unchanged? {
        Some(because) => Ok(torn(because, Vec::new())),
        None => Ok(Tried { held: released.held, came_to: Ok((made, released)) }),
    }
}

/// What is left to sync, and the action within what is left of the time.
fn act<T, E>(
    data: &Path,
    budget: &Budget,
    action: &mut dyn FnMut(Duration) -> Result<T, E>,
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
