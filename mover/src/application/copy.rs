//! One file, link or directory to the mirror, with its permissions and times, and its owner as far as that may be set.

use std::fs::{self, File, FileTimes, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::Duration;

use crate::capture::{unreadable, unwritable};
use crate::failure::Result;

/// How long to wait before a file is read again.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(20),
    Duration::from_millis(100),
    Duration::from_millis(300),
    Duration::from_millis(600),
];

/// How a file was copied.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Copied {
    /// It stood still meanwhile.
    Still,
    /// It changed whenever it was read.
    Changing,
    /// It was removed before it could be read.
    Gone,
}

/// Copies a file, again while it changes and there is patience left.
pub(super) fn file(from: &Path, to: &Path, patience: &mut Duration) -> Result<Copied> {
    for pause in PAUSES {
        match once(from, to)? {
            Copied::Changing if !patience.is_zero() => {
                let pause = pause.min(*patience);
                *patience -= pause;
                std::thread::sleep(pause);
            }
            done => return Ok(done),
        }
    }
    once(from, to)
}

fn once(from: &Path, to: &Path) -> Result<Copied> {
    let mut source = match File::open(from) {
        Ok(file) => file,
        Err(e) if is_gone(&e) => return forget(to),
        Err(e) => return Err(unreadable(from, &e)),
    };
    let before = source.metadata().map_err(|e| unreadable(from, &e))?;
    // Not written over: a file that shrank must not keep its end.
    let mut target = File::create(to).map_err(|e| unwritable(to, &e))?;
    copied(&mut source, &mut target, from, to)?;
    let after = match fs::symlink_metadata(from) {
        Ok(meta) => meta,
        Err(e) if is_gone(&e) => return forget(to),
        Err(e) => return Err(unreadable(from, &e)),
    };
    Ok(if stamp(&before) == stamp(&after) { Copied::Still } else { Copied::Changing })
}

/// Copies the rest of a file. Which side failed tells `io::copy` not.
pub(super) fn copied(source: &mut File, target: &mut File, from: &Path, to: &Path) -> Result<u64> {
    io::copy(source, target).map_err(|e| match crate::failure::is_full(&e) {
        true => unwritable(to, &e),
        false => unreadable(from, &e),
    })
}

fn forget(to: &Path) -> Result<Copied> {
    match fs::remove_file(to) {
        Err(e) if !is_gone(&e) => Err(unwritable(to, &e)),
        _ => Ok(Copied::Gone),
    }
}

fn stamp(meta: &Metadata) -> impl PartialEq + use<> {
    (meta.dev(), meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
}

/// Copies a symbolic link.
pub(super) fn link(from: &Path, to: &Path) -> Result<()> {
    match fs::read_link(from) {
        Ok(target) => symlink(target, to).map_err(|e| unwritable(to, &e)),
        Err(e) if is_gone(&e) => Ok(()),
        Err(e) => Err(unreadable(from, &e)),
    }
}

/// Gives the copy what the original has besides its bytes. Returns 1 when its owner could not be set, else 0.
pub fn dress(from: &Path, to: &Path) -> Result<u64> {
    let Ok(meta) = fs::symlink_metadata(from) else { return Ok(0) };
    let dressed = File::open(to).and_then(|file| {
        let mut permissions = meta.permissions();
        if meta.is_dir() {
            // Ours is still read and removed.
            permissions.set_mode(permissions.mode() | 0o700);
        }
        file.set_permissions(permissions)?;
        file.set_times(FileTimes::new().set_modified(meta.modified()?))
    });
    dressed.map_err(|e| unwritable(to, &e))?;
    let ours = fs::symlink_metadata(to).map_err(|e| unwritable(to, &e))?;
    if (ours.uid(), ours.gid()) == (meta.uid(), meta.gid()) {
        return Ok(0);
    }
    // The group may be set by whoever is in it, the owner by root alone.
    let all = chown(to, Some(meta.uid()), Some(meta.gid()));
    let done = all.or_else(|e| match ours.uid() == meta.uid() {
        true => chown(to, None, Some(meta.gid())),
        false => Err(e),
    });
    Ok(u64::from(done.is_err()))
}

pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_file_is_copied_with_its_permissions_and_time_and_replaces_a_longer_one() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&from, "new").unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o640)).unwrap();
        let then = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::open(&from).unwrap().set_times(FileTimes::new().set_modified(then)).unwrap();
        fs::write(&to, "older and longer").unwrap();
        assert_eq!(once(&from, &to).unwrap(), Copied::Still);
        assert_eq!(dress(&from, &to).unwrap(), 0);
        let meta = fs::metadata(&to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"new");
        assert_eq!((meta.mode() & 0o777, meta.modified().unwrap()), (0o640, then));
    }

    #[test]
    fn a_file_that_never_stands_still_is_told_once_the_patience_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("log"), dir.path().join("copy"));
        // Large enough to be read for longer than it takes to append to it.
        fs::write(&from, vec![0; 32 << 20]).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut log = File::options().append(true).open(&from).unwrap();
                while !stop.load(Ordering::Relaxed) {
                    log.write_all(b"line\n").unwrap();
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            let mut patience = Duration::from_millis(30);
            let copied = file(&from, &to, &mut patience).unwrap();
            stop.store(true, Ordering::Relaxed);
            assert_eq!((copied, patience), (Copied::Changing, Duration::ZERO));
        });
        assert_eq!(once(&from, &to).unwrap(), Copied::Still);
        assert_eq!(fs::read(&from).unwrap(), fs::read(&to).unwrap());
    }

    #[test]
    fn what_is_removed_meanwhile_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("gone"), dir.path().join("copy"));
        fs::write(&to, "half").unwrap();
        assert_eq!(once(&from, &to).unwrap(), Copied::Gone);
        assert!(!to.exists());
    }
}
