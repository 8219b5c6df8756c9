//! What can still be read of a volume, copied to scratch storage: files plainly, one after the other, no lock, no server, no database
//! opened. Where the storage gives an error the rest is read in smaller and smaller pieces, so that only what is really unreadable is
//! lost: zeros stand in its place, and file, offset and length are said. It refuses nothing; only scratch space that fails ends it.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::path::{Path, PathBuf};

use crds::job::UnreadableRange;

use crate::application::dress;
use crate::body::FileFinding;
use crate::capture::unwritable;
use crate::failure::Result;

/// Where what belongs to no volume and is no object lies in a point.
pub const EVIDENCE: &str = "evidence";
/// The file there with the whole list of what could not be read.
pub const LIST: &str = "unreadable.json";

/// How much is read at once: less where that fails, and where the least fails it is lost.
const SIZES: [u64; 3] = [1 << 20, 64 << 10, 4 << 10];

/// What became of the files of one or more directories.
#[derive(Debug, Default, serde::Serialize)]
pub struct Preserved {
    /// Ranges of bytes that could not be read.
    pub unreadable: Vec<UnreadableRange>,
    /// Files and directories that are not there at all.
    pub missed: Vec<FileFinding>,
    /// Files that changed while they were read.
    pub unstable: Vec<String>,
    /// Files whose owner the copy has not.
    #[serde(skip)]
    pub owners_left: u64,
    /// Number of files.
    #[serde(skip)]
    pub files: u64,
}

impl Preserved {
    /// Copies what lies below `from` to `to`. `name` stands before its files where they are named. Blocks.
    pub fn copy(&mut self, name: &str, from: &Path, to: &Path) -> Result<()> {
        Tree { name, from, to, seen: self }.directory(Path::new(""))
    }

    /// Whether everything was read.
    pub fn is_complete(&self) -> bool {
        self.unreadable.is_empty() && self.missed.is_empty()
    }

    /// Says of something that it is not there.
    pub fn miss(&mut self, file: impl Into<String>, what: impl Into<String>) {
        self.missed.push(FileFinding { file: file.into(), what: what.into() });
    }
}

struct Tree<'a> {
    name: &'a str,
    from: &'a Path,
    to: &'a Path,
    seen: &'a mut Preserved,
}

impl Tree<'_> {
    fn shown(&self, path: &Path) -> String {
        match path.as_os_str().is_empty() {
            true => self.name.to_owned(),
            false => format!("{}/{}", self.name, path.display()),
        }
    }

    fn miss(&mut self, path: &Path, what: String) {
        let shown = self.shown(path);
        self.seen.miss(shown, what);
    }

    fn directory(&mut self, within: &Path) -> Result<()> {
        let (from, to) = (self.from.join(within), self.to.join(within));
        fs::create_dir_all(&to).map_err(|e| unwritable(&to, &e))?;
        for path in self.listed(within, &from) {
            let kind = match fs::symlink_metadata(self.from.join(&path)) {
                Ok(meta) => meta.file_type(),
                Err(e) => {
                    self.miss(&path, gone_or(&e, "can't be looked at"));
                    continue;
                }
            };
            if kind.is_dir() {
                // The filesystem's own, and for root alone.
                if path != Path::new("lost+found") {
                    self.directory(&path)?;
                }
            } else if kind.is_symlink() {
                self.link(&path)?;
            } else if kind.is_file() {
                self.file(&path)?;
            }
            // Sockets, FIFOs and devices hold nothing to copy.
        }
        self.seen.owners_left += dress(&from, &to)?;
        Ok(())
    }

    /// What a directory holds, as far as it says.
    fn listed(&mut self, within: &Path, from: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        match fs::read_dir(from) {
            Err(e) => self.miss(within, gone_or(&e, "can't be listed")),
            Ok(entries) => {
                for entry in entries {
                    match entry {
                        Ok(entry) => found.push(within.join(entry.file_name())),
                        Err(e) => self.miss(within, format!("can't be listed to its end: {e}")),
                    }
                }
            }
        }
        found.sort();
        found
    }

    fn link(&mut self, path: &Path) -> Result<()> {
        let to = self.to.join(path);
        match fs::read_link(self.from.join(path)) {
            Ok(target) => symlink(target, &to).map_err(|e| unwritable(&to, &e)),
            Err(e) => {
                self.miss(path, gone_or(&e, "can't be read"));
                Ok(())
            }
        }
    }

    fn file(&mut self, path: &Path) -> Result<()> {
        let (from, to) = (self.from.join(path), self.to.join(path));
        let opened = File::open(&from).and_then(|file| Ok((file.metadata()?, file)));
        let (before, source) = match opened {
            Ok(opened) => opened,
            Err(e) => {
                self.miss(path, gone_or(&e, "can't be opened"));
                return Ok(());
            }
        };
        let target = File::create(&to).map_err(|e| unwritable(&to, &e))?;
        let holes = bytes(&Reading(&source), before.len(), &target).map_err(|e| unwritable(&to, &e))?;
        let file = self.shown(path);
        if fs::symlink_metadata(&from).is_ok_and(|after| stamp(&before) != stamp(&after)) {
            self.seen.unstable.push(file.clone());
        }
        let range = |(offset, length)| UnreadableRange { file: file.clone(), offset, length };
        self.seen.unreadable.extend(holes.into_iter().map(range));
        self.seen.files += 1;
        self.seen.owners_left += dress(&from, &to)?;
        Ok(())
    }
}

/// What the time of a change and the like say of a file.
fn stamp(meta: &Metadata) -> impl PartialEq + use<> {
    (meta.ino(), meta.len(), meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec())
}

fn gone_or(error: &io::Error, what: &str) -> String {
    match error.kind() {
        ErrorKind::NotFound => "it was removed before it could be read".to_owned(),
        _ => format!("{what}: {error}"),
    }
}

/// A file to read, or what stands for one.
trait Read {
    fn at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

struct Reading<'a>(&'a File);

impl Read for Reading<'_> {
    fn at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
}

/// Copies a file of `length` bytes, or what it has grown to. Returns where bytes could not be read, with their number; the copy has zeros
/// there.
///
/// # Errors
/// Those of writing.
fn bytes(source: &impl Read, length: u64, target: &File) -> io::Result<Vec<(u64, u64)>> {
    let mut holes: Vec<(u64, u64)> = Vec::new();
    let mut buffer = vec![0; SIZES[0] as usize];
    let (mut at, mut level) = (0, 0);
    loop {
        // Pieces stand on multiples of their size: what can't be read is told in blocks of the storage.
        let size = SIZES[level] - at % SIZES[level];
        match source.at(at, &mut buffer[..size as usize]) {
            Ok(0) => break,
            Ok(read) => {
                target.write_all_at(&buffer[..read], at)?;
                at += read as u64;
            }
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(_) if level + 1 < SIZES.len() => {
                level += 1;
                continue;
            }
            Err(_) if at >= length => break,
            Err(_) => {
                let lost = size.min(length - at);
                match holes.last_mut() {
                    Some((offset, length)) if *offset + *length == at => *length += lost,
                    _ => holes.push((at, lost)),
                }
                at += lost;
            }
        }
        while level > 0 && at % SIZES[level - 1] == 0 {
            level -= 1;
        }
    }
    // A hole at the end is part of the file.
    target.set_len(at)?;
    Ok(holes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of which some can't be read.
    struct Broken {
        bytes: Vec<u8>,
        bad: Vec<(u64, u64)>,
        most: usize,
    }

    impl Read for Broken {
        fn at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.bytes.len() as u64;
            let end = length.min(offset + buffer.len().min(self.most) as u64);
            if self.bad.iter().any(|(bad, count)| offset < bad + count && *bad < end) {
                return Err(io::Error::from_raw_os_error(5));
            }
            let read = &self.bytes[offset.min(end) as usize..end as usize];
            buffer[..read.len()].copy_from_slice(read);
            Ok(read.len())
        }
    }

    fn copied(broken: &Broken) -> (Vec<u8>, Vec<(u64, u64)>) {
        let to = tempfile::NamedTempFile::new().unwrap();
        let holes = bytes(broken, broken.bytes.len() as u64, to.as_file()).unwrap();
        (fs::read(to.path()).unwrap(), holes)
    }

    #[test]
    fn only_blocks_that_cannot_be_read_are_lost_wherever_they_lie_and_however_little_is_read_at_once() {
        let length = (5 << 20) / 2 + 123;
        let content: Vec<u8> = (0..length).map(|at: usize| (at % 251) as u8 + 1).collect();
        for bad in [
            vec![],
            vec![(0, 1)],
            vec![(4096, 4096), (8192, 1)],
            vec![(1 << 20, 1), ((1 << 20) - 1, 1)],
            vec![(length as u64 - 1, 1)],
            vec![(700_000, 200_000), (1_300_000, 5)],
            vec![(0, length as u64)],
        ] {
            for most in [1 << 30, 64 << 10, 5000, 511] {
                let broken = Broken { bytes: content.clone(), bad: bad.clone(), most };
                let (copy, holes) = copied(&broken);
                assert_eq!(copy.len(), content.len(), "{bad:?}");
                let in_hole = |at: u64| holes.iter().any(|(from, count)| (*from..from + count).contains(&at));
                for (at, (ours, theirs)) in copy.iter().zip(&content).enumerate() {
                    let at = at as u64;
                    assert_eq!(*ours, if in_hole(at) { 0 } else { *theirs }, "{at} of {bad:?}");
                }
                for (from, count) in &bad {
                    assert!(in_hole(*from) && in_hole(from + count - 1), "{bad:?} {holes:?}");
                }
                // Nothing is lost but blocks that have a bad byte, from where a short read has ended, and neighbours are one range.
                for (from, count) in &holes {
                    assert!(from % 4096 == 0 || most % 4096 != 0, "{holes:?}");
                    assert!((from + count) % 4096 == 0 || from + count == length as u64, "{holes:?}");
                }
                assert!(holes.windows(2).all(|two| two[0].0 + two[0].1 < two[1].0), "{holes:?}");
                let lost: u64 = holes.iter().map(|(_, count)| count).sum();
                let blocks: u64 =
                    bad.iter().map(|(from, count)| (from + count - 1) / 4096 - from / 4096 + 1).sum();
                assert!(lost <= blocks * 4096, "{bad:?} {holes:?}");
            }
        }
    }

    #[test]
    fn a_tree_is_copied_with_links_and_permissions_and_what_is_not_there_is_named() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir_all(from.path().join("a/b")).unwrap();
        fs::create_dir_all(from.path().join("lost+found")).unwrap();
        fs::write(from.path().join("a/b/file"), "content").unwrap();
        symlink("b/file", from.path().join("a/link")).unwrap();
        let mut seen = Preserved::default();
        seen.copy("data", from.path(), &to.path().join("data")).unwrap();
        assert!(seen.is_complete() && seen.files == 1, "{seen:?}");
        assert_eq!(fs::read(to.path().join("data/a/b/file")).unwrap(), b"content");
        assert_eq!(fs::read_link(to.path().join("data/a/link")).unwrap(), Path::new("b/file"));
        assert!(!to.path().join("data/lost+found").exists());
        seen.copy("gone", &from.path().join("nowhere"), &to.path().join("gone")).unwrap();
        assert_eq!(seen.missed[0].file, "gone");
        assert!(to.path().join("gone").is_dir() && !seen.is_complete());
    }
}
