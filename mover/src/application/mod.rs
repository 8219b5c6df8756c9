//! The volumes of an application, copied to scratch storage while it runs. SQLite databases are cut under their own write locks, any
//! other file has to stand still while it is read: it is read again until it does, and named when it never did. It refuses a volume
//! with a ChromaDB on it, whose files are only right together.

mod copy;
mod database;
mod look;

pub use copy::dress;
pub use look::look;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::{self, DirEntry, FileType};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chroma::files::DATABASE;
use chroma::guard::{LockCommand, beside};
use crds::job::FailureReason;
use jiff::Timestamp;

use crate::body::{ApplicationFacts, DatabaseFacts, FileFinding};
use crate::capture::{unreadable, unwritable};
use crate::failure::{Failure, Result};
use crate::telling::Telling;

/// How long all files of a capture together are waited for that change while they are read.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to copy, and where to.
pub struct Volumes {
    /// The volumes: name of the claim, and where it is mounted.
    pub volumes: Vec<(String, PathBuf)>,
    /// Directory that gets one directory a claim.
    pub mirror: PathBuf,
    /// Scratch space for copies of databases that are checked.
    pub scratch: PathBuf,
    /// Longest time that the writers of a database may be held.
    pub max_writer_pause: Duration,
    /// What holds the locks.
    pub lock: LockCommand,
}

/// Copies the volumes. Blocks.
pub fn copy(request: &Volumes, clock: fn() -> Timestamp, telling: &Telling) -> Result<ApplicationFacts> {
    let mut facts = ApplicationFacts {
        cut_at: clock(),
        databases: Vec::new(),
        unstable: Vec::new(),
        owners_left: 0,
        findings: Vec::new(),
    };
    let (mut patience, mut cut) = (PATIENCE, BTreeSet::new());
    // Who keeps files beside a database writes the file first and then what refers to it. So all databases are cut before any other
    // file is read: what they refer to is there.
    for pass in [Pass::Databases, Pass::Everything] {
        for (claim, from) in &request.volumes {
            if pass == Pass::Everything {
                telling.say(format!("copy claim {claim}"));
            }
            let to = request.mirror.join(claim);
            let mut volume = Volume {
                request,
                claim,
                from,
                to: &to,
                pass,
                facts: &mut facts,
                cut: &mut cut,
                patience: &mut patience,
            };
            volume.directory(Path::new(""))?;
        }
    }
    let (databases, unstable) = (facts.databases.len(), facts.unstable.len());
    telling.say(format!("{databases} databases under their locks, {unstable} files that never stood still"));
    Ok(facts)
}

/// What is copied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pass {
    /// Databases only.
    Databases,
    /// What is left, databases that were made meanwhile included.
    Everything,
}

/// One volume on its way to the mirror.
struct Volume<'a> {
    request: &'a Volumes,
    claim: &'a str,
    from: &'a Path,
    to: &'a Path,
    pass: Pass,
    facts: &'a mut ApplicationFacts,
    /// Databases that are in the mirror.
    cut: &'a mut BTreeSet<PathBuf>,
    patience: &'a mut Duration,
}

impl Volume<'_> {
    fn directory(&mut self, within: &Path) -> Result<()> {
        let (from, to) = (self.from.join(within), self.to.join(within));
        let listed = match list(&from) {
            Ok(listed) => listed,
            Err(e) if copy::is_gone(&e) && !within.as_os_str().is_empty() => return Ok(()),
            Err(e) => return Err(unreadable(&from, &e)),
        };
        fs::create_dir_all(&to).map_err(|e| unwritable(&to, &e))?;
        for (name, kind) in &listed {
            let path = within.join(name);
            if kind.is_dir() {
                if !(within.as_os_str().is_empty() && name == "lost+found") {
                    self.directory(&path)?;
                }
            } else if kind.is_symlink() && self.pass == Pass::Everything {
                copy::link(&self.from.join(&path), &self.to.join(&path))?;
            } else if kind.is_file() && !self.is_beside_a_database(&path) {
                self.file(&path)?;
            }
            // Sockets, FIFOs and devices hold nothing to copy.
        }
        if self.pass == Pass::Everything {
            self.facts.owners_left += copy::dress(&from, &to)?;
        }
        Ok(())
    }

    /// Whether it is what SQLite keeps beside a database, which goes with that.
    fn is_beside_a_database(&self, path: &Path) -> bool {
        let name = path.as_os_str().to_string_lossy();
        ["-journal", "-wal", "-shm"]
            .iter()
            .filter_map(|suffix| name.strip_suffix(suffix))
            .any(|db| database::is_one(&self.from.join(db)))
    }

    fn file(&mut self, path: &Path) -> Result<()> {
        let (from, to) = (self.from.join(path), self.to.join(path));
        if database::is_one(&from) {
            if path.file_name().is_some_and(|name| name == DATABASE) {
                return Err(holds_chroma(self.claim, path));
            }
            return if self.cut.insert(from) { self.database(path) } else { Ok(()) };
        }
        if self.pass == Pass::Databases || self.cut.contains(&from) {
            return Ok(());
        }
        match copy::file(&from, &to, self.patience)? {
            copy::Copied::Gone => return Ok(()),
            copy::Copied::Still => {}
            copy::Copied::Changing => self.facts.unstable.push(self.shown(path)),
        }
        self.facts.owners_left += copy::dress(&from, &to)?;
        Ok(())
    }

    fn database(&mut self, path: &Path) -> Result<()> {
        let (from, to) = (self.from.join(path), self.to.join(path));
        let cut = database::cut(&from, &to, &self.request.lock, self.request.max_writer_pause)?;
        let findings = database::check(&to, &self.request.scratch)?;
        let shown = self.shown(path);
        let findings = findings.into_iter().map(|what| FileFinding { file: shown.clone(), what });
        self.facts.findings.extend(findings);
        for file in ["", "-wal", "-journal"].map(|suffix| (beside(&from, suffix), beside(&to, suffix))) {
            if file.1.exists() {
                self.facts.owners_left += copy::dress(&file.0, &file.1)?;
            }
        }
        self.facts.databases.push(DatabaseFacts { file: shown, held_ms: cut.held_ms, crashed: cut.crashed });
        Ok(())
    }

    fn shown(&self, path: &Path) -> String {
        format!("{}/{}", self.claim, path.display())
    }
}

fn holds_chroma(claim: &str, path: &Path) -> Failure {
    let path = path.display();
    Failure::new(
        FailureReason::ChromaDBFound,
        format!(
            "claim {claim} holds a ChromaDB database ({path}); write component.chromaDB: {{}} instead of application: {{}}"
        ),
    )
}

/// What is in a directory, by name.
fn list(dir: &Path) -> io::Result<BTreeMap<OsString, FileType>> {
    let entry = |entry: io::Result<DirEntry>| entry.and_then(|e| Ok((e.file_name(), e.file_type()?)));
    fs::read_dir(dir)?.map(entry).collect()
}
