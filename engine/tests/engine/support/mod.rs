//! A repository in a temporary directory, a source beside it, and ways to look at both.
#![allow(dead_code, reason = "each test file uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

pub mod clocked;
pub mod faulty;
pub mod locking;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::store::{DirStore, Store};
use engine::{Backup, Layout, Password, PointAttributes, Repository, silent};
use jiff::Timestamp;

/// A repository, a source, and scratch space, gone when dropped.
pub struct Bench {
    dir: tempfile::TempDir,
    pub repo: Repository,
}

impl Bench {
    pub async fn new() -> Self {
        Self::inside(tempdir()).await
    }

    /// Where files may have extended attributes of users.
    pub async fn with_xattrs() -> Self {
        let candidates =
            [std::env::temp_dir(), env!("CARGO_TARGET_TMPDIR").into(), "/var/tmp".into(), "/dev/shm".into()];
        let takes = |dir: &PathBuf| {
            let made = tempfile::tempdir_in(dir).ok()?;
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(made.path(), "user.probe", b"x", flags).ok()?;
            rustix::fs::removexattr(made.path(), "user.probe").ok()?;
            Some(made)
        };
        let dir = candidates.iter().find_map(takes);
        let dir = dir.unwrap_or_else(|| {
            panic!("no file system of {candidates:?} takes user attributes: set TMPDIR to a directory on one that does")
        });
        Self::inside(dir).await
    }

    async fn inside(dir: tempfile::TempDir) -> Self {
        fs::create_dir(dir.path().join("source")).unwrap();
        let store: Arc<dyn Store> = Arc::new(DirStore::new(dir.path().join("store")));
        let repo = Repository::init(store, &password(), at(0)).await.unwrap();
        Self { dir, repo }
    }

    /// Another one with the same source and the same objects.
    pub async fn copy(other: &Self, password: &Password) -> Self {
        let dir = tempdir();
        for part in ["source", "store"] {
            let from = other.dir.path().join(part);
            let done = std::process::Command::new("cp").arg("-a").arg(from).arg(dir.path()).status().unwrap();
            assert!(done.success());
        }
        let store: Arc<dyn Store> = Arc::new(DirStore::new(dir.path().join("store")));
        let repo = Repository::open(store, password).await.unwrap();
        Self { dir, repo }
    }

    pub fn source(&self) -> &Path {
        // Leaked once a test: keeps the signatures plain.
        Box::leak(self.dir.path().join("source").into_boxed_path())
    }

    pub fn store_path(&self) -> &Path {
        Box::leak(self.dir.path().join("store").into_boxed_path())
    }

    pub fn store(&self) -> Arc<dyn Store> {
        Arc::new(DirStore::new(self.store_path()))
    }

    pub fn scratch(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.source().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    pub fn stored_bytes(&self) -> u64 {
        tree_of(self.store_path()).values().map(|b| b.len() as u64).sum()
    }
}

/// In memory where there is room: thousands of repositories are made, killed and looked at, and none outlives its test.
fn tempdir() -> tempfile::TempDir {
    const ROOM: u64 = 2 << 30;
    let memory = Path::new("/dev/shm");
    let free = rustix::fs::statvfs(memory).map_or(0, |seen| seen.f_bavail.saturating_mul(seen.f_frsize));
    if free < ROOM { tempfile::tempdir().unwrap() } else { tempfile::tempdir_in(memory).unwrap() }
}

/// A generated key, which opens without a slow derivation.
pub fn password() -> Password {
    Password::new(format!("hfkey1-{}\n", "5a".repeat(32))).unwrap()
}

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

pub fn attributes(attempt: &str) -> PointAttributes {
    PointAttributes {
        component: "chroma".into(),
        consistency_time: at(10),
        started: at(5),
        tags: BTreeMap::new(),
        body: serde_json::Value::Null,
        attempt: Some(attempt.into()),
    }
}

/// A capture that cuts the way a Chroma volume is cut.
pub fn request(source: &Path, attempt: &str) -> Backup {
    let layout = |path: &Path, _: &Path| match path.extension().and_then(|e| e.to_str()) {
        Some("sqlite3") => Layout::Pages { size: 4096 },
        Some("bin") => Layout::Records { stride: 1676, columns: vec![132, 1536, 8] },
        _ => Layout::Stream,
    };
    let layout = Arc::new(layout);
    Backup {
        source: source.to_owned(),
        layout,
        attributes: attributes(attempt),
        progress: silent(),
        aside: None,
    }
}

/// Bytes that depend on nothing but the seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Every path below, with the bytes of files; a directory's and a link's stand for their kind.
pub fn tree_of(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let bytes = if meta.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            Vec::new()
        } else if meta.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
        } else {
            fs::read(&path).unwrap()
        };
        found.insert(path.strip_prefix(root).unwrap().to_owned(), bytes);
    }
    found
}

/// For each file the first of its names, in the order of paths.
pub fn names_of(root: &Path) -> BTreeMap<PathBuf, PathBuf> {
    let (mut first, mut found) = (BTreeMap::new(), BTreeMap::new());
    for path in tree_of(root).into_keys() {
        let meta = fs::symlink_metadata(root.join(&path)).unwrap();
        if meta.is_file() {
            found.insert(path.clone(), first.entry(meta.ino()).or_insert(path).clone());
        }
    }
    found
}

/// Asserts that two trees have the same paths, bytes, kinds, modes, owners and times.
pub fn same_tree(left: &Path, right: &Path) {
    let (a, b) = (tree_of(left), tree_of(right));
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    for (path, bytes) in &a {
        assert!(bytes == &b[path], "{path:?} differs");
        let facts = |root: &Path| {
            let meta = fs::symlink_metadata(root.join(path)).unwrap();
            let kind = meta.file_type();
            (kind, meta.permissions().mode(), meta.uid(), meta.gid(), meta.mtime(), meta.mtime_nsec())
        };
        assert_eq!(facts(left), facts(right), "{path:?}");
    }
}
