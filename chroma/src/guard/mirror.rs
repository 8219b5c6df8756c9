//! The mirror on scratch storage: brought near to the source without a lock, levelled with it under the lock.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{
    error::GuardError,
    level::{Levelled, Leveller, Replaced},
    scan::{Stamp, Tree, scan},
};
use crate::files::{self, Part};

/// Timestamps are trusted to show a later change only when they were older than this at the time of reading: some filesystems
/// count in seconds.
const FRESH: Duration = Duration::from_secs(2);

/// The mirror and what is known of how near it is.
pub(super) struct Mirror {
    data: PathBuf,
    dir: PathBuf,
    leveller: Leveller,
    /// Where pages of the database go that are written over.
    replaced: Option<Replaced>,
    /// Files whose content was read when their stamp was this and no longer fresh.
    known: BTreeMap<PathBuf, Stamp>,
}

impl Mirror {
    pub fn open(data: &Path, dir: &Path, replaced: Option<&Path>) -> Result<Mirror, GuardError> {
        let (data, dir) = (real(data)?, real(dir)?);
        // Before anything is made: a mirror inside the source would be a write to it.
        if data.starts_with(&dir) || dir.starts_with(&data) {
            return Err(GuardError::MirrorOverlaps { mirror: dir, data });
        }
        fs::create_dir_all(&dir).map_err(|source| GuardError::Write { path: dir.clone(), source })?;
        let replaced = replaced.and_then(Replaced::at);
        Ok(Mirror { data, dir, leveller: Leveller::new(), replaced, known: BTreeMap::new() })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Copies what differs while writers go on. The result is near the source and consistent with nothing.
    pub fn bring_near(&mut self, tree: &Tree) -> Result<Levelled, GuardError> {
        let mut total = Levelled::default();
        self.shape(tree)?;
        for (path, stamp) in &tree.files {
            let begun = now();
            if self.is_known(path, stamp) {
                continue;
            }
            let done = self.level_one(path, &mut |_| Ok(()))?;
            total += done.unwrap_or_default();
            let settled = begun - stamp.changed() > FRESH.as_nanos() as i128;
            if settled && done.is_some() {
                self.known.insert(path.clone(), *stamp);
            } else {
                self.known.remove(path);
            }
        }
        Ok(total)
    }

    /// Makes the mirror equal to the source, which must not change meanwhile; whether it did is for the caller to see from
    /// stamps. The database is always compared whole: SQLite does not tell what changed.
    pub fn level(
        &mut self,
        tree: &Tree,
        tick: &mut dyn FnMut(u64) -> Result<(), GuardError>,
    ) -> Result<Levelled, GuardError> {
        let mut total = Levelled::default();
        self.shape(tree)?;
        for (path, stamp) in &tree.files {
            if files::part_of(path) != Part::Database && self.is_known(path, stamp) {
                continue;
            }
            let done = self.level_one(path, tick)?;
            total += done.unwrap_or_default();
        }
        Ok(total)
    }

    fn level_one(
        &mut self,
        path: &Path,
        tick: &mut dyn FnMut(u64) -> Result<(), GuardError>,
    ) -> Result<Option<Levelled>, GuardError> {
        let replaced = self.replaced.as_mut().filter(|_| files::part_of(path) == Part::Database);
        self.leveller.level(&self.data.join(path), &self.dir.join(path), replaced, tick)
    }

    /// How many bytes [`Mirror::level`] would have to read.
    pub fn unknown_bytes(&self, tree: &Tree) -> u64 {
        let unknown =
            |path: &Path, stamp| files::part_of(path) == Part::Database || !self.is_known(path, stamp);
        tree.files.iter().filter(|(path, stamp)| unknown(path, stamp)).map(|(_, stamp)| stamp.size).sum()
    }

    fn is_known(&self, path: &Path, stamp: &Stamp) -> bool {
        self.known.get(path) == Some(stamp)
    }

    /// Gives the mirror the source's directories and links, and takes away what the source no longer has.
    fn shape(&mut self, tree: &Tree) -> Result<(), GuardError> {
        let present = scan(&self.dir)?;
        let unwritable = |path: PathBuf| move |source| GuardError::Write { path, source };
        let gone = present.files.keys().filter(|path| !tree.files.contains_key(*path));
        let relinked = present.links.iter().filter(|(path, target)| tree.links.get(*path) != Some(target));
        for path in gone.chain(relinked.map(|(path, _)| path)) {
            self.known.remove(path);
            let path = self.dir.join(path);
            fs::remove_file(&path).map_err(unwritable(path))?;
        }
        for path in present.dirs.iter().rev().filter(|path| !tree.dirs.contains(*path)) {
            let path = self.dir.join(path);
            fs::remove_dir_all(&path).map_err(unwritable(path))?;
        }
        for path in &tree.dirs {
            let path = self.dir.join(path);
            fs::create_dir_all(&path).map_err(unwritable(path))?;
        }
        for (path, target) in &tree.links {
            let path = self.dir.join(path);
            match symlink(target, &path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(unwritable(path)(error));
                }
                _ => {}
            }
        }
        // A mirror that somebody opened with SQLite may have been left with a journal that would be applied to the next capture.
        for suffix in ["-journal", "-wal", "-shm"] {
            let path = self.dir.join(format!("{}{suffix}", files::DATABASE));
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unwritable(path)(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Gives the mirror's files and directories the permissions and times of the source's.
    pub fn dress(&self, tree: &Tree) -> Result<(), GuardError> {
        let unwritable = |path: &Path| {
            let path = path.to_owned();
            move |source| GuardError::Write { path, source }
        };
        for path in tree.files.keys().chain(tree.dirs.iter().rev()) {
            let Ok(metadata) = fs::metadata(self.data.join(path)) else { continue };
            let ours = self.dir.join(path);
            let file = fs::File::open(&ours).map_err(unwritable(&ours))?;
            let mut permissions = metadata.permissions();
            if metadata.is_dir() {
                // The next capture has to write into it.
                permissions.set_mode(permissions.mode() | 0o700);
            }
            file.set_permissions(permissions).map_err(unwritable(&ours))?;
            let modified = tree.files.get(path).and_then(|stamp| system_time(stamp.mtime));
            if let Some(modified) = modified {
                file.set_times(fs::FileTimes::new().set_modified(modified)).map_err(unwritable(&ours))?;
            }
        }
        Ok(())
    }
}

/// The path without links and dots, also where its end does not exist yet.
fn real(path: &Path) -> Result<PathBuf, GuardError> {
    let fail = |source| GuardError::Read { path: path.to_owned(), source };
    let path = std::path::absolute(path).map_err(fail)?;
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let rest = path.strip_prefix(existing).unwrap_or(Path::new(""));
    Ok(existing.canonicalize().map_err(fail)?.join(rest))
}

/// Nanoseconds since the epoch by the clock that the kernel stamps files with.
pub(super) fn now() -> i128 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    }
}

fn system_time(nanos: i128) -> Option<SystemTime> {
    u64::try_from(nanos).ok().map(|nanos| UNIX_EPOCH + Duration::from_nanos(nanos))
}
