//! Flushes of vector files in the way of a lock: waiting for the end of one, and telling one that was met halfway.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{
    error::GuardError,
    mirror::now,
    scan::{Tree, scan},
};
use crate::check;

const GLANCE: Duration = Duration::from_millis(5);

/// A flush writes its files before its transaction, so one may be under way although we hold the lock. It cannot commit and
/// no other can follow it (one actor does them all), so waiting until nothing changes is enough. Costs nothing when no
/// segment was written lately. The check of the mirror's structure catches a flush that was starved for longer.
pub(super) fn settle(
    data: &Path,
    quiet: Duration,
    budget: &Budget,
) -> Result<Result<Tree, String>, GuardError> {
    let mut tree = scan(data)?;
    loop {
        let newest = tree.segment_files().max_by_key(|(_, stamp)| stamp.changed());
        let Some((path, stamp)) = newest else { return Ok(Ok(tree)) };
        if now() - stamp.changed() >= quiet.as_nanos() as i128 {
            return Ok(Ok(tree));
        }
        if budget.since.elapsed() > budget.allowed / 4 {
            return Ok(Err(format!("{} kept changing under the lock", path.display())));
        }
        thread::sleep(GLANCE);
        tree = scan(data)?;
    }
}

/// Segments written shortly before the lock whose structure is not whole in `dir`: a flush that the settling missed.
pub(super) fn suspects(dir: &Path, tree: &Tree) -> Vec<String> {
    // In nanoseconds. With ten seconds here a flush on a node short of processor time passed for damage, in all likelihood because
    // more than that lay between two of its files. A segment that was damaged within these minutes costs a capture the patience
    // below, and is captured as it is then.
    const LATELY: i128 = 120_000_000_000;
    let mut fresh: Vec<_> = tree
        .segment_files()
        .filter(|(_, stamp)| now() - stamp.changed() < LATELY)
        .filter_map(|(path, _)| path.parent().filter(|parent| !parent.as_os_str().is_empty()))
        .collect();
    fresh.dedup();
    fresh
        .into_iter()
        .filter(|segment| !check::segment_is_whole(&dir.join(segment)))
        .map(|segment| segment.display().to_string())
        .collect()
}

/// How long flushes that were caught halfway are waited for, in all attempts together: a server that is short of processor time
/// may need seconds between two files.
pub(super) const FLUSH_PATIENCE: Duration = Duration::from_secs(20);

/// Waits, while writers go on, until the source's own segments are whole: the next attempt shall not meet the same flush.
pub(super) fn await_flush(data: &Path, suspects: &[String], patience: &mut Duration) {
    let begun = Instant::now();
    let mut glance = GLANCE;
    while begun.elapsed() < *patience
        && !suspects.iter().all(|segment| check::segment_is_whole(&data.join(segment)))
    {
        thread::sleep(glance);
        glance = (glance * 2).min(Duration::from_secs(1));
    }
    *patience = patience.saturating_sub(begun.elapsed());
}

/// The time that writers may be made to wait, and how much of it is gone. A tenth is kept for the release.
pub(super) struct Budget {
    pub(super) since: Instant,
    pub(super) allowed: Duration,
}

impl Budget {
    pub(super) fn start(allowed: Duration) -> Budget {
        Budget { since: Instant::now(), allowed }
    }

    pub(super) fn check(&self, done: u64, expected: u64) -> Result<(), GuardError> {
        let gone = self.since.elapsed();
        if gone <= self.allowed / 10 * 9 {
            return Ok(());
        }
        let share = if done == 0 { 0.5 } else { done as f64 / expected.max(done) as f64 };
        Err(GuardError::WriterPauseExceeded { allowed: self.allowed, needed: gone.div_f64(share) })
    }
}
