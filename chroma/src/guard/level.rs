//! Making one file equal to another by comparing blocks and writing only what differs. What is written over can be laid aside.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
};

use super::error::GuardError;

/// Both blocks fit a core's own cache, so that what was read is compared there.
const BLOCK: usize = 256 << 10;
/// Writes are cut to this, SQLite's page: a changed page shall not rewrite its whole block.
const GRAIN: usize = 4096;

/// Grains that are laid aside at most, 64 MiB: more has changed than comparing by them is worth.
const LAID_ASIDE: usize = 16 << 10;

/// Where grains go that are written over, end to end.
pub(super) struct Replaced {
    file: File,
    room: usize,
}

impl Replaced {
    /// An empty one. None, and nothing is laid aside, where it can't be written: nobody needs it.
    pub fn at(path: &Path) -> Option<Replaced> {
        let made = File::create(path).inspect_err(|error| {
            tracing::warn!("what changes is not laid aside in {}: {error}", path.display());
        });
        Some(Replaced { file: made.ok()?, room: LAID_ASIDE })
    }

    /// Lays whole grains aside.
    fn take(&mut self, grains: &[u8]) {
        let whole = (grains.len() / GRAIN).min(self.room);
        self.room -= whole;
        if let Err(error) = self.file.write_all(&grains[..whole * GRAIN]) {
            tracing::debug!("what changes is not laid aside any more: {error}");
            self.room = 0;
        }
    }
}

/// Two blocks of memory, whatever the files' sizes.
pub(super) struct Leveller {
    theirs: Vec<u8>,
    ours: Vec<u8>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Levelled {
    pub read: u64,
    pub written: u64,
}

impl std::ops::AddAssign for Levelled {
    fn add_assign(&mut self, other: Levelled) {
        self.read += other.read;
        self.written += other.written;
    }
}

impl Leveller {
    pub fn new() -> Leveller {
        Leveller { theirs: vec![0; BLOCK], ours: vec![0; BLOCK] }
    }

    /// Makes `target` equal to what `source` holds while it is read. `tick` is called with the bytes of each block and may stop
    /// the work by an error. What is written over is laid aside in `replaced`. Returns None when the source is gone.
    pub fn level(
        &mut self,
        source: &Path,
        target: &Path,
        mut replaced: Option<&mut Replaced>,
        tick: &mut dyn FnMut(u64) -> Result<(), GuardError>,
    ) -> Result<Option<Levelled>, GuardError> {
        let unreadable = |error| GuardError::Read { path: source.to_owned(), source: error };
        let unwritable = |error| GuardError::Write { path: target.to_owned(), source: error };
        let theirs = match File::open(source) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error)),
        };
        let ours = open_for_change(target).map_err(unwritable)?;
        let mut done = Levelled::default();
        loop {
            let wanted = fill(&theirs, &mut self.theirs, done.read).map_err(unreadable)?;
            if wanted == 0 {
                break;
            }
            let present = fill(&ours, &mut self.ours[..wanted], done.read).map_err(unwritable)?;
            if self.theirs[..wanted] != self.ours[..present] {
                done.written += self
                    .write_differences(&ours, wanted, present, done.read, replaced.as_deref_mut())
                    .map_err(unwritable)?;
            }
            done.read += wanted as u64;
            tick(wanted as u64)?;
        }
        ours.set_len(done.read).map_err(unwritable)?;
        Ok(Some(done))
    }

    fn write_differences(
        &self,
        ours: &File,
        wanted: usize,
        present: usize,
        at: u64,
        mut replaced: Option<&mut Replaced>,
    ) -> io::Result<u64> {
        let mut written = 0;
        let mut start = 0;
        while start < wanted {
            let differs = |from: usize| {
                let to = (from + GRAIN).min(wanted);
                to > present || self.theirs[from..to] != self.ours[from..to]
            };
            if !differs(start) {
                start += GRAIN;
                continue;
            }
            let mut end = start + GRAIN;
            while end < wanted && differs(end) {
                end += GRAIN;
            }
            let end = end.min(wanted);
            if let Some(replaced) = &mut replaced {
                replaced.take(&self.ours[start.min(present)..end.min(present)]);
            }
            ours.write_all_at(&self.theirs[start..end], at + start as u64)?;
            written += (end - start) as u64;
            start = end;
        }
        Ok(written)
    }
}

/// A mirror kept from an earlier capture carries the source's permissions, which may deny writing.
fn open_for_change(target: &Path) -> io::Result<File> {
    let open = || OpenOptions::new().read(true).write(true).create(true).truncate(false).open(target);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            fs::set_permissions(target, fs::Permissions::from_mode(0o600))?;
            open()
        }
        opened => opened,
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64) {
            Ok(0) => break,
            Ok(some) => filled += some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn level(source: &[u8], target: Option<&[u8]>) -> (Vec<u8>, Levelled) {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        std::fs::write(&from, source).unwrap();
        if let Some(target) = target {
            std::fs::write(&to, target).unwrap();
        }
        let done = Leveller::new().level(&from, &to, None, &mut |_| Ok(())).unwrap().unwrap();
        (std::fs::read(&to).unwrap(), done)
    }

    #[test]
    fn a_single_changed_byte_costs_one_page() {
        let old = vec![7u8; 3 * BLOCK + 100];
        let mut new = old.clone();
        new[BLOCK + 5000] ^= 1;
        let (made, done) = level(&new, Some(&old));
        assert!(made == new);
        assert_eq!(done, Levelled { read: new.len() as u64, written: GRAIN as u64 });
    }

    #[test]
    fn whole_grains_that_are_written_over_are_laid_aside() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        let old: Vec<u8> = (0..5 * GRAIN + 100).map(|n| (n / GRAIN) as u8).collect();
        let mut new = [old.as_slice(), &[9; GRAIN]].concat();
        for changed in [GRAIN + 7, 2 * GRAIN, 4 * GRAIN + 1, 5 * GRAIN] {
            new[changed] ^= 0x80;
        }
        fs::write(&from, &new).unwrap();
        fs::write(&to, &old).unwrap();
        let mut replaced = Replaced::at(&dir.path().join("aside")).unwrap();
        Leveller::new().level(&from, &to, Some(&mut replaced), &mut |_| Ok(())).unwrap();
        assert_eq!(fs::read(&to).unwrap(), new);
        // The last one was not whole.
        let expected = [1, 2, 4].map(|grain| [grain; GRAIN]).concat();
        assert_eq!(fs::read(dir.path().join("aside")).unwrap(), expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn whatever_was_there_before_the_target_ends_equal(
            old in proptest::option::of(proptest::collection::vec(0u8..3, 0..40_000)),
            new in proptest::collection::vec(0u8..3, 0..40_000),
        ) {
            let (made, _) = level(&new, old.as_deref());
            prop_assert!(made == new);
        }
    }

    #[test]
    fn a_source_that_is_gone_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        let gone = Leveller::new().level(&dir.path().join("a"), &dir.path().join("b"), None, &mut |_| Ok(()));
        assert!(gone.unwrap().is_none());
    }
}
