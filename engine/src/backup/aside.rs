//! What lies at hand beside the repository, to save work. Last whole versions of pages: what was written over in the source since the capture before, and what that one
//! had to fetch. Pages that change lie scattered over a database, so nearly every frame of it would have to be opened to compare
//! them with. And what files hashed to, group by group (`groups.rs`). Nothing in here is trusted: a piece counts only if it hashes to
//! what the version before says of a unit. Nothing is needed either: what is not here is read from the repository. Memory: 40 bytes
//! a piece.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::groups::Values;
use crate::units::map::{UnitHash, hash};
use crate::units::{Section, State, Unit};

/// Units of this length are kept: pages of a database.
const PIECE: usize = 4096;
/// Pieces of each file, 64 MiB. What was kept begins anew when it has so many.
const MOST: usize = 16 << 10;
/// The file in the directory [`super::Backup::aside`] in which the caller lays what it wrote over, in pieces of 4,096 bytes.
pub const REPLACED: &str = "replaced";
/// What captures keep.
const KEPT: &str = "kept";

/// One directory.
pub(super) struct Aside {
    dir: PathBuf,
    pieces: HashMap<UnitHash, Spot>,
    replaced: Option<File>,
    kept: File,
    /// How many more it takes.
    room: Mutex<usize>,
}

#[derive(Clone, Copy)]
enum Spot {
    Replaced(u64),
    Kept(u64),
}

/// What of a section's last whole versions is at hand.
pub(super) struct AtHand {
    /// The bytes of the section, columns apart, zeros where nothing is.
    pub(super) apart: Vec<u8>,
    /// Units that have to be read.
    pub(super) missing: Vec<Unit>,
}

impl Aside {
    /// Looks at what lies in a directory, which has to exist.
    pub(super) fn open(dir: &Path) -> io::Result<Self> {
        let mut pieces = HashMap::new();
        let replaced = match File::open(dir.join(REPLACED)) {
            Ok(mut file) => {
                each(&mut file, |at, hash| {
                    pieces.entry(hash).or_insert(Spot::Replaced(at));
                })?;
                Some(file)
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            Err(e) => return Err(e),
        };
        let options = File::options().read(true).append(true).create(true).clone();
        let mut kept = options.open(dir.join(KEPT))?;
        let read = each(&mut kept, |at, hash| {
            pieces.insert(hash, Spot::Kept(at));
        })?;
        let room = if read >= MOST {
            pieces.retain(|_, spot| matches!(spot, Spot::Replaced(_)));
            kept.set_len(0)?;
            MOST
        } else {
            // Whoever died while it wrote left a part of one.
            kept.set_len((read * PIECE) as u64)?;
            MOST - read
        };
        Ok(Self { dir: dir.to_owned(), pieces, replaced, kept, room: Mutex::new(room) })
    }

    /// Takes the last whole versions of units of a section as far as they are here.
    pub(super) fn take(&self, section: &Section, state: &State, units: Vec<Unit>) -> AtHand {
        let mut apart = vec![0; section.bytes()];
        let mut missing = Vec::new();
        for unit in units {
            let into = &mut apart[unit.at..unit.at + unit.length];
            let base = state.base(unit.number).filter(|_| unit.length == PIECE);
            if !base.is_some_and(|(_, hash)| self.read(&hash, into)) {
                into.fill(0);
                missing.push(unit);
            }
        }
        AtHand { apart, missing }
    }

    /// What the groups of a file hashed to when it was read last.
    pub(super) fn groups(&self, within: &Path) -> Option<Values> {
        let bytes = fs::read(self.groups_of(within)).ok()?;
        let (values, []) = bytes.as_chunks() else { return None };
        Some(values.to_vec())
    }

    /// Keeps that for the next capture. What can't be written is not kept.
    pub(super) fn keep_groups(&self, within: &Path, values: &Values) {
        if let Err(e) = fs::write(self.groups_of(within), values.as_flattened()) {
            tracing::debug!("what {} hashes to is not kept: {e}", within.display());
        }
    }

    fn groups_of(&self, within: &Path) -> PathBuf {
        let name = blake3::hash(within.as_os_str().as_encoded_bytes());
        self.dir.join(format!("groups-{}", &name.to_hex()[..32]))
    }

    fn read(&self, known: &UnitHash, into: &mut [u8]) -> bool {
        let Some(spot) = self.pieces.get(known) else { return false };
        let read = match (spot, &self.replaced) {
            (Spot::Replaced(at), Some(file)) => file.read_exact_at(into, *at),
            (Spot::Kept(at), _) => self.kept.read_exact_at(into, *at),
            (Spot::Replaced(_), None) => return false,
        };
        if read.is_err() || hash(into) != *known {
            return false;
        }
        if matches!(spot, Spot::Replaced(_)) {
            self.keep(into);
        }
        true
    }

    /// Keeps last whole versions that had to be read. What can't be written is not kept.
    pub(super) fn keep_all(&self, state: &State, units: &[Unit], apart: &[u8]) {
        for unit in units.iter().filter(|unit| unit.length == PIECE) {
            let bytes = &apart[unit.at..unit.at + unit.length];
            // One that was shorter was filled up.
            if state.base(unit.number).is_some_and(|(_, known)| hash(bytes) == known) {
                self.keep(bytes);
            }
        }
    }

    fn keep(&self, piece: &[u8]) {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        if *room == 0 {
            return;
        }
        *room -= 1;
        if let Err(e) = (&self.kept).write_all(piece) {
            tracing::debug!("pages are not laid aside any more: {e}");
            *room = 0;
        }
    }
}

/// As [`Aside::open`]; none where it can't be used, which is told.
pub(super) fn open(dir: Option<&Path>) -> Option<Arc<Aside>> {
    let dir = dir?;
    match Aside::open(dir) {
        Ok(aside) => Some(Arc::new(aside)),
        Err(e) => {
            tracing::warn!("{} is not used, and more is read from the repository: {e}", dir.display());
            None
        }
    }
}

/// Tells the place and the hash of each whole piece, and returns how many there are.
fn each(file: &mut File, mut tell: impl FnMut(u64, UnitHash)) -> io::Result<usize> {
    let mut file = io::BufReader::with_capacity(16 * PIECE, file);
    let mut piece = [0; PIECE];
    for number in 0..MOST {
        match file.read_exact(&mut piece) {
            Ok(()) => tell((number * PIECE) as u64, hash(&piece)),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(number),
            Err(e) => return Err(e),
        }
    }
    Ok(MOST)
}
