//! The attempts of a live capture: bring near, lock, level, look again, release; torn means once more.

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    error::GuardError,
    flush::{Budget, FLUSH_PATIENCE, await_flush, settle, suspects},
    held::{HeldLock, LockCommand, Released},
    hold::LockRequest,
    level::Levelled,
    mirror::Mirror,
    scan::{Tree, scan},
    source::inspect_source,
};
use crate::files;

/// A mirror is near when a pass took no longer than this and copied no more than that: one kept from the capture before mostly is.
const NEAR_ENOUGH: Duration = Duration::from_secs(2);
const NEAR_ENOUGH_BYTES: u64 = 32 << 20;

/// What to capture and how patient to be with it.
#[derive(Debug, Clone)]
pub struct CaptureOptions {
    /// The directory that the server persists to.
    pub data_dir: PathBuf,
    /// The program that holds the lock.
    pub lock_command: LockCommand,
    /// No hold lasts longer. A writer's own pause may be up to 100 ms longer: SQLite looks for the lock that seldom.
    pub max_writer_pause: Duration,
    /// How long to try to get the lock while writers have it.
    pub lock_wait: Duration,
    /// How often to try when a capture is torn.
    pub attempts: NonZeroU32,
    /// How long a segment's files must stay as they are before a flush is taken for finished.
    pub quiet: Duration,
    /// Capture although locks may not reach the server. Nothing is guaranteed then.
    pub allow_unshared_locks: bool,
    /// A file that gets the pages of the database which an earlier mirror had and this one no longer has, 4,096 bytes each, 64 MiB of
    /// them at most. Whoever compares with what was there before need not look for them.
    pub replaced: Option<PathBuf>,
}

impl CaptureOptions {
    /// The defaults: writers wait 10 s at most, 30 s for the lock, 8 attempts, 30 ms of quiet.
    pub fn new(data_dir: impl Into<PathBuf>, lock_command: LockCommand) -> CaptureOptions {
        CaptureOptions {
            data_dir: data_dir.into(),
            lock_command,
            max_writer_pause: Duration::from_secs(10),
            lock_wait: Duration::from_secs(30),
            attempts: NonZeroU32::new(8).expect("8 is not 0"),
            quiet: Duration::from_millis(30),
            allow_unshared_locks: false,
            replaced: None,
        }
    }
}

/// What a capture made and what it cost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Captured {
    /// The instant that the mirror shows: what was acknowledged before it is there, what was sent after the release is not.
    pub consistency_time: Timestamp,
    /// When the lock of the attempt that succeeded was got. The same instant.
    pub locked_at: Timestamp,
    /// When it was let go.
    pub released_at: Timestamp,
    /// The longest hold of all attempts, in milliseconds.
    pub longest_hold_ms: u64,
    /// Attempts made, the successful one included.
    pub attempts: u32,
    /// Why the attempts before were given up.
    pub torn_because: Vec<String>,
    /// Bytes in the mirror.
    pub total_bytes: u64,
    /// Files in the mirror.
    pub files: u64,
    /// Bytes compared under the lock.
    pub compared_under_lock: u64,
    /// Bytes written to the mirror under the lock.
    pub written_under_lock: u64,
    /// Sockets, pipes and the like, which have no content to capture.
    pub skipped: Vec<String>,
    /// Files that are not Chroma's and changed while they were read: their content is of no single instant.
    pub unstable: Vec<String>,
    /// Segments that looked torn in every attempt. Damaged rather than torn, if the check of the mirror says so too.
    pub suspect_segments: Vec<String>,
    /// The filesystem that the source is on.
    pub filesystem: String,
}

/// The moments of a capture, for progress and for tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// The mirror is near; the lock is asked for next.
    Near,
    /// The lock is held, nothing was read under it yet.
    Locked,
    /// No flush is under way; the content is read from here on.
    Settled,
    /// Everything was read; the lock is still held.
    Levelled,
    /// The lock is released.
    Released,
    /// The capture met a flush halfway, and waits for its end without the lock.
    FlushAwaited,
}

/// Captures `options.data_dir` into `mirror_dir`, which may hold an earlier mirror and then costs only what changed.
///
/// Guarantees: on success the mirror's Chroma files are byte for byte what the source held while the write lock was held,
/// with no change of them in that time. The source is only read. No hold exceeds `max_writer_pause`. Memory is bounded.
/// Blocks: call it from a blocking thread.
pub fn capture_live(options: &CaptureOptions, mirror_dir: &Path) -> Result<Captured, GuardError> {
    capture_live_watched(options, mirror_dir, &mut |_| {})
}

/// Like [`capture_live`], telling each moment.
pub fn capture_live_watched(
    options: &CaptureOptions,
    mirror_dir: &Path,
    watch: &mut dyn FnMut(Moment),
) -> Result<Captured, GuardError> {
    let source = inspect_source(&options.data_dir, options.allow_unshared_locks)?;
    let mut mirror = Mirror::open(&options.data_dir, mirror_dir, options.replaced.as_deref())?;
    let begun = Instant::now();
    let copied = mirror.bring_near(&scan(&options.data_dir)?)?;
    // A pass that took long, or had much to copy, is followed by another one: what changed meanwhile would be copied under the lock.
    let took = begun.elapsed();
    let enough = took < NEAR_ENOUGH.min(options.max_writer_pause) && copied.written < NEAR_ENOUGH_BYTES;
    let mut near = enough.then_some(took);
    let mut longest_hold = Duration::ZERO;
    let mut torn_because = Vec::new();
    let mut patience = FLUSH_PATIENCE;
    for attempt in 1..=options.attempts.get() {
        let took = match near.take() {
            Some(took) => took,
            None => {
                let begun = Instant::now();
                mirror.bring_near(&scan(&options.data_dir)?)?;
                begun.elapsed()
            }
        };
        refuse_hopeless(options, took)?;
        watch(Moment::Near);
        let torn = match attempt_under_lock(options, &mut mirror, watch) {
            // The first comparison may have read a cold disk; the second tells the truth.
            Err(error @ GuardError::WriterPauseExceeded { .. })
                if attempt == 1 && options.attempts.get() > 1 =>
            {
                Attempt::Torn { because: error.to_string(), held: options.max_writer_pause }
            }
            tried => tried?,
        };
        let torn = match torn {
            Attempt::Whole(whole) => {
                longest_hold = longest_hold.max(whole.released.held);
                watch(Moment::Released);
                mirror.dress(&whole.tree)?;
                let suspects = suspects(mirror.dir(), &whole.tree);
                if suspects.is_empty() || attempt == options.attempts.get() {
                    let cost = Cost { longest_hold, attempts: attempt, torn_because };
                    return Ok(captured(*whole, cost, suspects, source.filesystem));
                }
                watch(Moment::FlushAwaited);
                await_flush(&options.data_dir, &suspects, &mut patience);
                format!("segment {} was being flushed", suspects.join(", "))
            }
            Attempt::Torn { because, held } => {
                longest_hold = longest_hold.max(held);
                watch(Moment::Released);
                because
            }
        };
        tracing::info!(attempt, because = %torn, "capture was torn");
        torn_because.push(torn);
    }
    let last = torn_because.pop().unwrap_or_default();
    Err(GuardError::Torn { attempts: options.attempts.get(), last })
}

/// A comparison without writers in the way that took longer than the bound will not be quicker under the lock.
fn refuse_hopeless(options: &CaptureOptions, compared: Duration) -> Result<(), GuardError> {
    if compared > options.max_writer_pause * 2 {
        return Err(GuardError::WriterPauseExceeded { allowed: options.max_writer_pause, needed: compared });
    }
    Ok(())
}

struct Whole {
    released: Released,
    tree: Tree,
    levelled: Levelled,
    unstable: Vec<String>,
}

enum Attempt {
    Whole(Box<Whole>),
    Torn { because: String, held: Duration },
}

fn attempt_under_lock(
    options: &CaptureOptions,
    mirror: &mut Mirror,
    watch: &mut dyn FnMut(Moment),
) -> Result<Attempt, GuardError> {
    let request = LockRequest {
        db: options.data_dir.join(files::DATABASE),
        wait: options.lock_wait,
        deadline: options.max_writer_pause,
    };
    let lock = HeldLock::acquire(&options.lock_command, &request)?;
    let budget = Budget::start(options.max_writer_pause);
    watch(Moment::Locked);
    let read = read_under_lock(options, mirror, &budget, watch);
    watch(Moment::Levelled);
    let released = lock.release();
    let held = budget.since.elapsed();
    // A bound that was exceeded or a disk that failed is the better news than a lock that ended because of it.
    let read = read?;
    let released = match released {
        Ok(released) => released,
        Err(error) => {
            return Ok(Attempt::Torn { because: format!("the lock was not held to the end: {error}"), held });
        }
    };
    Ok(match read {
        Ok((tree, levelled, unstable)) => {
            Attempt::Whole(Box::new(Whole { released, tree, levelled, unstable }))
        }
        Err(because) => Attempt::Torn { because, held: released.held },
    })
}

type Read = Result<(Tree, Levelled, Vec<String>), String>;

fn read_under_lock(
    options: &CaptureOptions,
    mirror: &mut Mirror,
    budget: &Budget,
    watch: &mut dyn FnMut(Moment),
) -> Result<Read, GuardError> {
    let before = match settle(&options.data_dir, options.quiet, budget)? {
        Ok(tree) => tree,
        Err(because) => return Ok(Err(because)),
    };
    watch(Moment::Settled);
    let expected = mirror.unknown_bytes(&before);
    let mut done = 0;
    let levelled = mirror.level(&before, &mut |bytes| {
        done += bytes;
        budget.check(done, expected)
    })?;
    let after = scan(&options.data_dir)?;
    if let Some(because) = before.difference(&after) {
        return Ok(Err(because));
    }
    let unstable = before
        .files
        .iter()
        .filter(|(path, stamp)| after.files.get(*path) != Some(stamp))
        .map(|(path, _)| path.display().to_string())
        .collect();
    Ok(Ok((before, levelled, unstable)))
}

struct Cost {
    longest_hold: Duration,
    attempts: u32,
    torn_because: Vec<String>,
}

fn captured(whole: Whole, cost: Cost, suspect_segments: Vec<String>, filesystem: String) -> Captured {
    let Whole { released, tree, levelled, unstable } = whole;
    Captured {
        consistency_time: released.locked_at,
        locked_at: released.locked_at,
        released_at: released.released_at,
        longest_hold_ms: cost.longest_hold.as_millis() as u64,
        attempts: cost.attempts,
        torn_because: cost.torn_because,
        total_bytes: tree.bytes(),
        files: tree.files.len() as u64,
        compared_under_lock: levelled.read,
        written_under_lock: levelled.written,
        skipped: tree.skipped.iter().map(|path| path.display().to_string()).collect(),
        unstable,
        suspect_segments,
        filesystem,
    }
}
