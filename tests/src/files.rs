//! What is known of the files below a directory, to be compared with those below another.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs, io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use rustix::fs::{XattrFlags, lgetxattr, llistxattr, lsetxattr};

/// Everything about an entry that a recovery has to bring back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Kind and permissions.
    pub mode: u32,
    /// User and group.
    pub owner: (u32, u32),
    /// Seconds of its time.
    pub seconds: i64,
    /// The rest of its time.
    pub nanoseconds: i64,
    /// Extended attributes, the labels of the node left out.
    pub attributes: BTreeMap<OsString, Vec<u8>>,
    /// The first of its names, in the order of paths.
    pub name: PathBuf,
    /// Its bytes, or where a symbolic link leads.
    pub bytes: Vec<u8>,
}

/// What is known of a directory and of everything below it.
///
/// # Panics
/// When something can't be read.
pub fn facts(root: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut paths = vec![root.to_owned()];
    let mut open = paths.clone();
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry")) {
            open.extend(entry.file_type().expect("its kind").is_dir().then(|| entry.path()));
            paths.push(entry.path());
        }
    }
    paths.sort();
    let mut first = BTreeMap::new();
    let mut of = |path: PathBuf| {
        let meta = fs::symlink_metadata(&path)?;
        let within = path.strip_prefix(root).unwrap_or(&path).to_owned();
        let bytes = if meta.is_file() {
            fs::read(&path)?
        } else if meta.is_symlink() {
            fs::read_link(&path)?.into_os_string().into_vec()
        } else {
            Vec::new()
        };
        let facts = Facts {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            seconds: meta.mtime(),
            nanoseconds: meta.mtime_nsec(),
            attributes: attributes(&path)?,
            name: first.entry(meta.ino()).or_insert_with(|| within.clone()).clone(),
            bytes,
        };
        Ok::<_, io::Error>((within, facts))
    };
    paths
        .into_iter()
        .map(|path| of(path.clone()).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
        .collect()
}

fn attributes(path: &Path) -> io::Result<BTreeMap<OsString, Vec<u8>>> {
    let (mut list, mut value) = (vec![0; 65_536], vec![0; 65_536]);
    let length = llistxattr(path, &mut list[..])?;
    let names =
        list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(OsStr::from_bytes);
    let mut found = BTreeMap::new();
    for name in names.filter(|name| name.as_bytes() != b"security.selinux") {
        let length = lgetxattr(path, name, &mut value[..])?;
        found.insert(name.to_owned(), value[..length].to_vec());
    }
    Ok(found)
}

/// Sets an extended attribute.
///
/// # Panics
/// When the file system takes none: nothing is left out silently.
pub fn set_attribute(path: impl AsRef<Path>, name: impl AsRef<OsStr>, value: &[u8]) {
    let (path, name) = (path.as_ref(), name.as_ref());
    if let Err(e) = lsetxattr(path, name, value, XattrFlags::empty()) {
        panic!("{} of {} can't be set: {e}; set TMPDIR to where it can", name.display(), path.display());
    }
}
