//! Files of several names. The first name in the order of the tree carries the content; what comes later names the first.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::scan::{Identity, changed};
use crate::error::Result;

/// The files that may have a further name. One whose names were all met is forgotten, one of a single name never known.
#[derive(Default)]
pub(super) struct Names {
    met: HashMap<(u64, u64), First>,
}

struct First {
    path: OsString,
    identity: Identity,
    /// How many names are still to come, in the source or outside of it.
    more: u64,
}

impl Names {
    /// Learns of a file that was captured under its first name.
    pub(super) fn meet(&mut self, within: &Path, meta: &Metadata) {
        if let Some(more) = meta.nlink().checked_sub(1).filter(|more| *more > 0) {
            let first = First { path: within.as_os_str().to_owned(), identity: Identity::of(meta), more };
            self.met.insert((meta.dev(), meta.ino()), first);
        }
    }

    /// The first name of the file, if this is a further one. It must be as it was when it was read.
    pub(super) fn first_of(&mut self, within: &Path, meta: &Metadata) -> Result<Option<OsString>> {
        let key = (meta.dev(), meta.ino());
        let Some(first) = self.met.get_mut(&key) else { return Ok(None) };
        if first.identity != Identity::of(meta) {
            return Err(changed(within, "its size or times moved since it was read under another name"));
        }
        let path = first.path.clone();
        first.more -= 1;
        if first.more == 0 {
            self.met.remove(&key);
        }
        Ok(Some(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_further_name_leads_to_the_first_and_nothing_is_remembered_that_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let meta = |name: &str| fs::symlink_metadata(at(name)).unwrap();
        for name in ["a", "alone"] {
            fs::write(at(name), b"x").unwrap();
        }
        for name in ["b", "c"] {
            fs::hard_link(at("a"), at(name)).unwrap();
        }
        let mut names = Names::default();
        for name in ["a", "alone"] {
            assert_eq!(names.first_of(Path::new(name), &meta(name)).unwrap(), None);
            names.meet(Path::new(name), &meta(name));
        }
        assert_eq!(names.met.len(), 1);
        assert_eq!(names.first_of(Path::new("b"), &meta("b")).unwrap(), Some("a".into()));
        assert_eq!(names.first_of(Path::new("c"), &meta("c")).unwrap(), Some("a".into()));
        assert!(names.met.is_empty(), "all its names were met");
        names.meet(Path::new("a"), &meta("a"));
        fs::write(at("b"), b"other").unwrap();
        let refused = names.first_of(Path::new("b"), &meta("b")).unwrap_err();
        assert!(refused.to_string().contains("under another name"), "{refused}");
    }
}
