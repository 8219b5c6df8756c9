//! Looks at a volume that may be corrupted. The original is only read plainly: opening it by SQLite would roll back a hot
//! journal and so change the evidence. What can't be read is a finding, not a failure.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use chroma::check::{CheckOptions, check_dir_with};
use chroma::files::{Part, part_of};
use crds::job::{Finding, Report};

use super::Desk;
use crate::capture::{blocking, unwritable};
use crate::failure::{Failure, Result};
use crate::places::data_dir;
use crate::report::{checked, finding};

/// Bytes that are read at once, and given up at once when they can't be.
const PIECE: usize = 1 << 20;
/// Directories of a segment lie directly below; deeper is nothing of Chroma's.
const DEEPEST: usize = 2;

pub(super) async fn check(desk: &Desk, claim: &str, data_path: &str) -> Result<Report> {
    let source = data_dir(&desk.places.source(claim)?, data_path)?;
    let scratch = desk.places.scratch();
    let telling = desk.telling.clone();
    blocking(move || {
        if !source.is_dir() {
            return Ok(Report::Checked(checked_nothing(&source)));
        }
        telling.say(format!("copy {} to look at the copy", source.display()));
        let copy = scratch.join("integrity");
        let mut unread = Vec::new();
        copy_dir(&source, Path::new(""), &copy, 0, &mut unread)?;
        telling.say("check the copy");
        let options = CheckOptions { scratch: Some(scratch.join("rolled-back")), ..CheckOptions::default() };
        let report =
            check_dir_with(&copy, &options).map_err(|e| Failure::unexpected("can't check the copy", &e))?;
        Ok(Report::Checked(checked(&report, unread)))
    })
    .await
}

fn checked_nothing(source: &Path) -> crds::job::Checked {
    let missing = finding(source.display().to_string(), "the data directory does not exist");
    crds::job::Checked {
        findings: vec![missing],
        finding_count: 1,
        migrations: None,
        unchecked: None,
        repair: None,
    }
}

/// Copies Chroma's own files, the journal included: it belongs to the state that is judged.
pub(super) fn copy_dir(
    from: &Path,
    within: &Path,
    to: &Path,
    depth: usize,
    unread: &mut Vec<Finding>,
) -> Result<()> {
    fs::create_dir_all(to.join(within)).map_err(|e| unwritable(to, &e))?;
    let entries = match fs::read_dir(from.join(within)) {
        Ok(entries) => entries,
        Err(e) => {
            unread.push(finding(shown(within), format!("can't be listed: {e}")));
            return Ok(());
        }
    };
    for entry in entries {
        let (path, kind) =
            match entry.and_then(|entry| Ok((within.join(entry.file_name()), entry.file_type()?))) {
                Ok(seen) => seen,
                Err(e) => {
                    unread.push(finding(shown(within), format!("can't be listed: {e}")));
                    continue;
                }
            };
        if kind.is_dir() && depth < DEEPEST {
            copy_dir(from, &path, to, depth + 1, unread)?;
        } else if kind.is_file() && part_of(&path) != Part::Other {
            copy_file(from, &path, to, unread)?;
        }
    }
    Ok(())
}

/// Copies a file piece by piece; a piece that can't be read stays zeros and is named by its offset.
fn copy_file(from: &Path, path: &Path, to: &Path, unread: &mut Vec<Finding>) -> Result<()> {
    let mut source = match File::open(from.join(path)) {
        Ok(file) => file,
        Err(e) => {
            unread.push(finding(shown(path), format!("can't be opened: {e}")));
            return Ok(());
        }
    };
    let place = to.join(path);
    let mut target = File::create(&place).map_err(|e| unwritable(&place, &e))?;
    let length = source.metadata().map_or(0, |m| m.len());
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < length {
        match read_at(&mut source, at, &mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                let written =
                    target.seek(SeekFrom::Start(at)).and_then(|_| target.write_all(&buffer[..read]));
                written.map_err(|e| unwritable(&place, &e))?;
                at += read as u64;
            }
            Err(e) => {
                let end = length.min(at + PIECE as u64);
                unread.push(finding(shown(path), format!("bytes {at} to {end} can't be read: {e}")));
                at = end;
            }
        }
    }
    target.set_len(length).map_err(|e| unwritable(&place, &e))
}

fn read_at(file: &mut File, at: u64, buffer: &mut [u8]) -> io::Result<usize> {
    file.seek(SeekFrom::Start(at))?;
    file.read(buffer)
}

fn shown(path: &Path) -> String {
    if path.as_os_str().is_empty() { ".".to_owned() } else { path.display().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_chromas_files_are_copied_and_the_original_is_left_as_it_was() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let segment = "c03507a1-ab9b-417f-ab21-fa635468b284";
        fs::create_dir(from.path().join(segment)).unwrap();
        for (name, bytes) in [
            ("chroma.sqlite3".to_owned(), vec![1u8; 3 * PIECE + 5]),
            ("chroma.sqlite3-journal".to_owned(), vec![2; 10]),
            (format!("{segment}/header.bin"), vec![3; 100]),
            ("other.txt".to_owned(), vec![4; 10]),
        ] {
            fs::write(from.path().join(name), bytes).unwrap();
        }
        let mut unread = Vec::new();
        copy_dir(from.path(), Path::new(""), to.path(), 0, &mut unread).unwrap();
        assert!(unread.is_empty(), "{unread:?}");
        for name in ["chroma.sqlite3", "chroma.sqlite3-journal", &format!("{segment}/header.bin")] {
            assert_eq!(
                fs::read(from.path().join(name)).unwrap(),
                fs::read(to.path().join(name)).unwrap(),
                "{name}"
            );
        }
        assert!(!to.path().join("other.txt").exists());
        assert!(from.path().join("chroma.sqlite3-journal").exists());
    }

    #[test]
    fn what_cannot_be_opened_is_a_finding() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        // A directory in the place of a file can be opened but not read, also by root.
        let db = from.path().join("chroma.sqlite3");
        fs::create_dir(&db).unwrap();
        fs::set_permissions(&db, fs::Permissions::from_mode(0o700)).unwrap();
        let mut unread = Vec::new();
        copy_file(from.path(), Path::new("chroma.sqlite3"), to.path(), &mut unread).unwrap();
        assert_eq!(unread[0].subject, "chroma.sqlite3");
        assert!(unread[0].message.contains("can't be read"), "{unread:?}");
    }
}
