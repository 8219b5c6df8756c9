//! What a restore does to directories, links and attributes of the target. All of it blocking.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, PermissionsExt, fchown, lchown, symlink as make_symlink,
};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Timespec, Timestamps};

use super::{MARKER, RestoreMode, unwritable};
use crate::error::{Error, Result};
use crate::tree::Entry;
use crate::xattr::{Bearer, Left};

/// Makes sure of the root, refuses what the mode doesn't allow, and leaves the marker.
pub(super) fn begin(root: &Path, mode: RestoreMode) -> Result<()> {
    match fs::create_dir(root) {
        Ok(()) => {}
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
        Err(e) => return Err(unwritable(root)(e)),
    }
    let marker = root.join(MARKER);
    if mode == RestoreMode::EmptyTarget {
        if fs::symlink_metadata(&marker).is_ok() {
            return Err(Error::TargetInterrupted { path: root.to_owned() });
        }
        for entry in fs::read_dir(root).map_err(unwritable(root))? {
            let name = entry.map_err(unwritable(root))?.file_name();
            if name != "lost+found" {
                let example = name.to_string_lossy().into_owned();
                return Err(Error::TargetNotEmpty { path: root.to_owned(), example });
            }
        }
    }
    clear(&marker)?;
    File::create_new(&marker).and_then(|f| f.sync_all()).map_err(unwritable(&marker))?;
    sync_dir(root)
}

/// Finishes the directories, the deepest first, and takes the marker away. Returns what they couldn't be given.
pub(super) fn end(root: &Path, directories: Vec<(PathBuf, Entry)>) -> Result<Left> {
    let marker = root.join(MARKER);
    let mut left = Left::default();
    let (mut roots, mut below): (Vec<_>, Vec<_>) =
        directories.into_iter().partition(|(path, _)| path == root);
    below.reverse();
    for (path, entry) in &below {
        left.add(finish_dir(path, entry)?);
    }
    sync_dir(root)?;
    // Everything is in place and durable: only now the target stops being unfinished.
    fs::remove_file(&marker).map_err(unwritable(&marker))?;
    for (path, entry) in roots.drain(..) {
        left.add(finish_dir(&path, &entry)?);
    }
    sync_dir(root)?;
    Ok(left)
}

fn finish_dir(path: &Path, entry: &Entry) -> Result<Left> {
    let dir = File::open(path).map_err(unwritable(path))?;
    let left = set_attributes(&dir, path, entry)?;
    dir.sync_all().map_err(unwritable(path))?;
    Ok(left)
}

fn sync_dir(path: &Path) -> Result<()> {
    File::open(path).and_then(|d| d.sync_all()).map_err(unwritable(path))
}

/// Removes whatever is at this path, never following a link; nothing there is fine.
pub(super) fn clear(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    removed.map_err(unwritable(path))
}

/// Makes a directory, or keeps a real one that exists.
pub(super) fn directory(path: &Path, existing: bool) -> Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) if existing => clear(path)?,
        _ => {}
    }
    DirBuilder::new().mode(0o700).create(path).map_err(unwritable(path))
}

/// Makes a further name of a file that was written before. One that is right already stays.
pub(super) fn link(first: &Path, path: &Path, existing: bool) -> Result<()> {
    if existing {
        if is_same(first, path) {
            return Ok(());
        }
        clear(path)?;
    }
    fs::hard_link(first, path).map_err(|e| {
        let why = format!("{e}; it is a further name of {}, which takes hard links", first.display());
        unwritable(path)(io::Error::new(e.kind(), why))
    })
}

/// How many names the file at this path has in the target: itself, and those of `others` that lead to it over real
/// directories. Others may lead out of the target.
pub(super) fn names_within(root: &Path, path: &Path, others: &[PathBuf]) -> u64 {
    let within = |other: &&PathBuf| {
        let mut above = other.ancestors().skip(1).take_while(|above| *above != root);
        above.all(|above| fs::symlink_metadata(above).is_ok_and(|meta| meta.is_dir()))
    };
    1 + others.iter().filter(within).filter(|other| is_same(path, other)).count() as u64
}

fn is_same(one: &Path, other: &Path) -> bool {
    let inode = |path| fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
    inode(one).is_some_and(|one| inode(other) == Some(one))
}

/// Makes a symbolic link. Returns what it couldn't be given.
pub(super) fn symlink(path: &Path, to: &OsStr, entry: &Entry, existing: bool) -> Result<Left> {
    if existing {
        clear(path)?;
    }
    make_symlink(to, path).map_err(unwritable(path))?;
    let meta = fs::symlink_metadata(path).map_err(unwritable(path))?;
    let owner = (meta.uid(), meta.gid()) == (entry.uid, entry.gid);
    let owner_set =
        owner || permitted(lchown(path, Some(entry.uid), Some(entry.gid))).map_err(unwritable(path))?;
    let mut left = Bearer::Path(path).bring(&entry.xattrs, shown(entry)).map_err(unwritable(path))?;
    rustix::fs::utimensat(rustix::fs::CWD, path, &times(entry), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| unwritable(path)(e.into()))?;
    left.owners = u64::from(!owner_set);
    Ok(left)
}

/// Owner, extended attributes, mode and times, in this order: a change of owner drops setuid and capabilities, an ACL
/// changes the mode. Returns what couldn't be set. What belongs to somebody else, such as the root of a volume that its
/// driver made, stays as it is.
pub(super) fn set_attributes(file: &File, path: &Path, entry: &Entry) -> Result<Left> {
    let meta = file.metadata().map_err(unwritable(path))?;
    let owner = (meta.uid(), meta.gid()) == (entry.uid, entry.gid);
    let owner_set =
        owner || permitted(fchown(file, Some(entry.uid), Some(entry.gid))).map_err(unwritable(path))?;
    let mut left = Bearer::Open(file).bring(&entry.xattrs, shown(entry)).map_err(unwritable(path))?;
    left.owners = u64::from(!owner_set);
    if owner_set || meta.mode() & 0o7777 != entry.mode {
        // setuid and setgid mean nothing good under another owner.
        let mode = if owner_set { entry.mode } else { entry.mode & 0o1777 };
        let set = permitted(file.set_permissions(Permissions::from_mode(mode))).map_err(unwritable(path))?;
        if !set {
            left.owners = 1;
            return Ok(left);
        }
    }
    let timed = rustix::fs::futimens(file, &times(entry)).map_err(io::Error::from);
    permitted(timed).map_err(unwritable(path))?;
    Ok(left)
}

fn shown(entry: &Entry) -> &Path {
    Path::new(&entry.path)
}

fn times(entry: &Entry) -> Timestamps {
    let (secs, nanos) = entry.mtime;
    let time = Timespec { tv_sec: secs, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn permitted(set: io::Result<()>) -> io::Result<bool> {
    match set {
        Ok(()) => Ok(true),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(false),
        Err(e) => Err(e),
    }
}

/// Removes what the point doesn't have. Returns how many entries went, a tree counting once.
pub(super) fn remove_foreign(root: &Path, known: &HashSet<OsString>) -> Result<u64> {
    let mut removed = 0;
    let mut open = vec![PathBuf::new()];
    while let Some(within) = open.pop() {
        let dir = root.join(&within);
        for entry in fs::read_dir(&dir).map_err(unwritable(&dir))? {
            let entry = entry.map_err(unwritable(&dir))?;
            let (name, path) = (entry.file_name(), within.join(entry.file_name()));
            if within.as_os_str().is_empty() && (name == "lost+found" || name == MARKER) {
                continue;
            }
            if !known.contains(path.as_os_str()) {
                clear(&entry.path())?;
                removed += 1;
            } else if entry.file_type().map_err(unwritable(&dir))?.is_dir() {
                open.push(path);
            }
        }
    }
    Ok(removed)
}
