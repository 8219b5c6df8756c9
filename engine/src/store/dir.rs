//! A repository in a directory: an object is a file. Atomic and durable by the old recipe: write a temporary file,
//! fsync it, link or rename it to its name, fsync the directory. It refuses names that could leave its root.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use jiff::Timestamp;

use super::{Answer, Object, Put, Store, StoreError};
use crate::error::Category;
use crate::repository::blocking;

/// Where unfinished files lie; never listed.
const UNFINISHED: &str = "tmp";

/// Objects as files below one directory.
#[derive(Debug, Clone)]
pub struct DirStore {
    root: Arc<PathBuf>,
}

impl DirStore {
    /// A store in this directory. The directory is made by the first write if only its last part is missing.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: Arc::new(root.into()) }
    }

    fn failed(&self, action: &'static str, object: &str, cause: &io::Error) -> StoreError {
        let category = match cause.kind() {
            io::ErrorKind::NotFound if !self.root.is_dir() => Category::BucketMissing,
            io::ErrorKind::NotFound => Category::NotFound,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Category::AccessDenied,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Category::Full,
            io::ErrorKind::UnexpectedEof => Category::Corrupt,
            io::ErrorKind::InvalidInput | io::ErrorKind::NotADirectory => Category::Input,
            _ => Category::Unreachable,
        };
        let detail = match category {
            Category::BucketMissing => format!("the directory {} does not exist", self.root.display()),
            _ => cause.to_string(),
        };
        StoreError { category, action, object: object.to_owned(), place: self.place(), detail }
    }

    /// Runs blocking file work off the async threads.
    fn run<'a, T: Send + 'static>(
        &'a self,
        action: &'static str,
        object: &'a str,
        work: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> Answer<'a, T> {
        let root = Arc::clone(&self.root);
        async move {
            let done = blocking(move || work(&root)).await;
            done.map_err(|cause| self.failed(action, object, &cause))
        }
        .boxed()
    }
}

fn path_of(root: &Path, name: &str) -> io::Result<PathBuf> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    let sound = name.len() <= 200
        && name.split('/').all(|part| !part.is_empty() && !part.starts_with('.') && part.chars().all(plain));
    if !sound || name.split('/').next() == Some(UNFINISHED) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("`{name}` is no object name")));
    }
    Ok(root.join(name))
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes a directory below the root, and the root itself if only its last part is missing, durably.
fn make_dir(root: &Path, dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let Some(parent) = dir.parent() else { return Ok(()) };
    if dir != root {
        make_dir(root, parent)?;
    }
    match fs::create_dir(dir) {
        Ok(()) => sync_dir(parent),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(e),
    }
}

/// Writes the bytes durably under a temporary name.
fn write_unfinished(root: &Path, body: &[u8]) -> io::Result<PathBuf> {
    let dir = root.join(UNFINISHED);
    make_dir(root, &dir)?;
    let path = dir.join(hex::encode(crate::seal::random::<16>()));
    let written = File::create_new(&path).and_then(|mut file| {
        file.write_all(body)?;
        file.sync_all()
    });
    if let Err(cause) = written {
        let _ = fs::remove_file(&path);
        return Err(cause);
    }
    Ok(path)
}

fn link_if_absent(from: &Path, to: &Path) -> io::Result<Put> {
    let linked = match fs::hard_link(from, to) {
        // Filesystems without hard links (FAT, some FUSE) may still know the conditional rename.
        Err(e)
            if e.raw_os_error() == Some(rustix::io::Errno::PERM.raw_os_error())
                || e.kind() == io::ErrorKind::Unsupported =>
        {
            rustix::fs::renameat_with(
                rustix::fs::CWD,
                from,
                rustix::fs::CWD,
                to,
                rustix::fs::RenameFlags::NOREPLACE,
            )
            .map_err(io::Error::from)
        }
        other => other,
    };
    let put = match linked {
        Ok(()) => Put::Created,
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Put::Exists,
        Err(e) => {
            let _ = fs::remove_file(from);
            return Err(e);
        }
    };
    let _ = fs::remove_file(from);
    Ok(put)
}

fn object(root: &Path, path: &Path, meta: &fs::Metadata) -> Object {
    let name = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
    let modified = meta.modified().ok().and_then(|t| Timestamp::try_from(t).ok());
    Object { name, size: meta.len(), modified, locked: None, rewritten: false }
}

/// Every object below. What somebody takes away meanwhile is left out, and nothing else: half a list would be taken for all of it.
fn walk(root: &Path, dir: &Path, found: &mut Vec<Object>) -> io::Result<()> {
    let Some(entries) = unless_gone(fs::read_dir(dir))? else { return Ok(()) };
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        let Some(kind) = unless_gone(entry.file_type())? else { continue };
        if kind.is_dir() {
            let ours = dir != root || (entry.file_name() != UNFINISHED && entry.file_name() != "lost+found");
            if ours {
                walk(root, &path, found)?;
            }
        } else if kind.is_file()
            && let Some(meta) = unless_gone(entry.metadata())?
        {
            found.push(object(root, &path, &meta));
        }
    }
    Ok(())
}

/// Nothing, when it is not there any more.
fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

impl Store for DirStore {
    fn place(&self) -> String {
        format!("file://{}", self.root.display())
    }

    fn get<'a>(&'a self, name: &'a str, range: Option<Range<u64>>) -> Answer<'a, Bytes> {
        let key = name.to_owned();
        self.run("read", name, move |root| {
            let mut file = File::open(path_of(root, &key)?)?;
            let mut bytes = Vec::new();
            match range {
                None => {
                    file.read_to_end(&mut bytes)?;
                }
                Some(range) => {
                    // One call, where reading to an end that is not known takes ten.
                    bytes = vec![0; range.end.saturating_sub(range.start) as usize];
                    file.read_exact_at(&mut bytes, range.start).map_err(|e| match e.kind() {
                        io::ErrorKind::UnexpectedEof => {
                            io::Error::new(e.kind(), format!("it ends before byte {}", range.end))
                        }
                        _ => e,
                    })?;
                }
            }
            Ok(Bytes::from(bytes))
        })
    }

    fn put_if_absent<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, Put> {
        let key = name.to_owned();
        self.run("write", name, move |root| {
            let path = path_of(root, &key)?;
            let dir = path.parent().unwrap_or(root).to_owned();
            make_dir(root, &dir)?;
            let unfinished = write_unfinished(root, &body)?;
            let put = link_if_absent(&unfinished, &path)?;
            sync_dir(&dir)?;
            Ok(put)
        })
    }

    fn put<'a>(&'a self, name: &'a str, body: Bytes) -> Answer<'a, ()> {
        let key = name.to_owned();
        self.run("write", name, move |root| {
            let path = path_of(root, &key)?;
            let dir = path.parent().unwrap_or(root).to_owned();
            make_dir(root, &dir)?;
            let unfinished = write_unfinished(root, &body)?;
            fs::rename(unfinished, &path)?;
            sync_dir(&dir)
        })
    }

    fn list<'a>(&'a self, prefix: &'a str) -> Answer<'a, Vec<Object>> {
        let key = prefix.trim_end_matches('/').to_owned();
        self.run("list", prefix, move |root| {
            // A missing root is a failure, a missing part below it only means that nothing was written there yet.
            fs::read_dir(root)?;
            let dir = if key.is_empty() { root.to_owned() } else { path_of(root, &key)? };
            let mut found = Vec::new();
            walk(root, &dir, &mut found)?;
            found.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(found)
        })
    }

    fn head<'a>(&'a self, name: &'a str) -> Answer<'a, Object> {
        let key = name.to_owned();
        self.run("look at", name, move |root| {
            let path = path_of(root, &key)?;
            let meta = fs::metadata(&path)?;
            Ok(object(root, &path, &meta))
        })
    }

    fn delete<'a>(&'a self, name: &'a str) -> Answer<'a, ()> {
        let key = name.to_owned();
        self.run("delete", name, move |root| {
            let path = path_of(root, &key)?;
            match fs::remove_file(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(e) => Err(e),
                Ok(()) => sync_dir(path.parent().unwrap_or(root)),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_listing_lacks_nothing_but_what_was_taken_away_meanwhile() {
        let root = tempfile::tempdir().unwrap();
        let keys = root.path().join("keys");
        fs::create_dir(&keys).unwrap();
        let staying: Vec<String> = (0..20).map(|n| format!("keys/stays-{n:02}")).collect();
        staying.iter().for_each(|name| fs::write(root.path().join(name), "x").unwrap());
        let stop = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let names: Vec<_> = (0..20).map(|n| keys.join(format!("goes-{n}"))).collect();
                    names.iter().for_each(|name| fs::write(name, "x").unwrap());
                    names.iter().for_each(|name| fs::remove_file(name).unwrap());
                }
            });
            for _ in 0..500 {
                let mut found = Vec::new();
                let listed = walk(root.path(), &keys, &mut found);
                let there = |name: &&String| !found.iter().any(|object| object.name == **name);
                let missing: Vec<_> = staying.iter().filter(there).collect();
                if listed.is_err() || !missing.is_empty() {
                    stop.store(true, Ordering::Relaxed);
                    panic!("{listed:?}; missing: {missing:?}");
                }
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}
