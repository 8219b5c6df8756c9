//! One capture from a live ChromaDB to a point: mirror under the guard, check and fingerprint the mirror, store it. Findings
//! don't stop a capture: damaged data is stored too, and the point says so. It refuses to read the source's database by
//! SQLite; only the lock's child process opens it.

use std::fs;
use std::num::NonZeroU32;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chroma::check::{CheckOptions, check_dir_with};
use chroma::fingerprint::{Key, of_dir_with};
use chroma::guard::{self, CaptureOptions, LockCommand, Moment, capture_live_watched};
use engine::{Backup, Committed, Layout, LayoutChooser, PointAttributes, Repository};
use jiff::Timestamp;

use crate::body::{ChromaFacts, GuardFacts};
use crate::failure::{Failure, Result, is_full, sentence};
use crate::telling::Telling;

/// The hidden subcommand whose process holds the lock.
pub const HOLD_LOCK: &str = "hold-lock";

/// How long to try for the lock while writers have it.
pub const LOCK_WAIT: Duration = Duration::from_secs(30);
/// How often to try when a capture is torn.
const ATTEMPTS: NonZeroU32 = NonZeroU32::new(8).expect("8 is not 0");

/// A ChromaDB and where its mirror goes.
pub struct Source {
    /// The volume, or the directory.
    pub volume: PathBuf,
    /// Path of the ChromaDB data below it, possibly empty.
    pub data_path: String,
    /// Where the mirror of the volume goes.
    pub mirror: PathBuf,
    /// Scratch space.
    pub scratch: PathBuf,
    /// Longest time that writers may be held.
    pub max_writer_pause: Duration,
    /// Image of the server.
    pub image: String,
    /// SQLite's integrity check, which reads the database several times, is part of the check.
    pub full_check: bool,
    /// Where pages of the mirror that change are laid aside for [`store`].
    pub aside: Option<PathBuf>,
}

/// The file in scratch space that remembers the last full check, for the next capture of the same pod.
const LAST_FULL_CHECK: &str = "last-full-check.json";

/// The last state that was checked in full.
#[derive(serde::Serialize, serde::Deserialize)]
struct FullCheck {
    /// Its consistency time.
    of: Timestamp,
    /// Nothing was found.
    whole: bool,
}

/// Mirrors a ChromaDB, and says what the mirror holds.
pub async fn mirror(repository: &Repository, source: Source, telling: &Telling) -> Result<ChromaFacts> {
    let key = Key::new(repository.digest_key());
    let telling = telling.clone();
    blocking(move || {
        let Source { volume, data_path, mirror, scratch, max_writer_pause, image, full_check, aside } =
            source;
        let (data, source) = (mirror.join(&data_path), volume.join(&data_path));
        let mut guarded = guarded(&source, max_writer_pause)?;
        guarded.replaced = aside.map(|aside| aside.join(engine::REPLACED));
        let guard = take(&guarded, &data, &telling)?;
        dress_root(&volume, &mirror)?;
        if !data_path.is_empty() {
            copy_the_rest(&volume, &source, &mirror)?;
        }
        // What was found once is looked for again in every state that follows.
        let last = last_full_check(&scratch);
        let full = full_check || last.as_ref().is_some_and(|last| !last.whole);
        let options =
            CheckOptions { scratch: Some(scratch.join("rolled-back")), skip_integrity_check: !full };
        let guard = GuardFacts::from(guard);
        let mut facts = look(Look { data, options, image, data_path, guard }, &key, &telling)?;
        let last = match full {
            true => Some(remember_full_check(&scratch, &facts)?),
            false => last,
        };
        facts.integrity_checked_at = last.filter(|last| last.whole).map(|last| last.of);
        Ok(facts)
    })
    .await
}

fn last_full_check(scratch: &Path) -> Option<FullCheck> {
    serde_json::from_slice(&fs::read(scratch.join(LAST_FULL_CHECK)).ok()?).ok()
}

fn remember_full_check(scratch: &Path, facts: &ChromaFacts) -> Result<FullCheck> {
    let check = FullCheck { of: facts.guard.locked_at, whole: facts.findings.is_empty() };
    let path = scratch.join(LAST_FULL_CHECK);
    let text = serde_json::to_vec(&check).expect("a time and a truth are JSON");
    fs::write(&path, text).map_err(|e| unwritable(&path, &e))?;
    Ok(check)
}

/// Stores a directory that stands still, with what was laid aside of it, if anything was.
pub async fn store(
    repository: &Repository,
    source: PathBuf,
    aside: Option<PathBuf>,
    attributes: PointAttributes,
    telling: &Telling,
) -> Result<Committed> {
    let total = match telling.has_bar() {
        true => Some(size_of(source.clone()).await),
        false => None,
    };
    let progress = telling.stage_of("store", total);
    let request = Backup { source, layout: layouts(), attributes, progress, aside };
    let committed = engine::backup(repository, request).await?;
    telling.end_stage();
    Ok(committed)
}

/// Bytes of the files below, as far as they can be looked at: what can't is told by the capture.
async fn size_of(dir: PathBuf) -> u64 {
    let walk = move || {
        let (mut bytes, mut open) = (0, vec![dir]);
        while let Some(dir) = open.pop() {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                match entry.metadata() {
                    Ok(meta) if meta.is_dir() => open.push(entry.path()),
                    Ok(meta) if meta.is_file() => bytes += meta.len(),
                    _ => {}
                }
            }
        }
        Ok(bytes)
    };
    blocking(walk).await.unwrap_or(0)
}

/// Each file's layout, told by looking into it.
fn layouts() -> LayoutChooser {
    Arc::new(|_, path| match chroma::layout::choose(path) {
        Ok(chroma::layout::Layout::Pages { size }) => Layout::Pages { size },
        Ok(chroma::layout::Layout::Records { stride, columns }) => Layout::Records { stride, columns },
        // What can't be read fails in the engine, with its name.
        Ok(chroma::layout::Layout::Stream) | Err(_) => Layout::Stream,
    })
}

/// What holds locks: this program, by its hidden subcommand.
pub fn lock_command() -> Result<LockCommand> {
    let program =
        std::env::current_exe().map_err(|e| Failure::unexpected("can't find the program's own path", &e))?;
    Ok(LockCommand { program, args: vec![HOLD_LOCK.into()] })
}

/// How the guard holds the writers of a data directory.
pub fn guarded(data: &Path, pause: Duration) -> Result<CaptureOptions> {
    let mut options = CaptureOptions::new(data, lock_command()?);
    options.max_writer_pause = pause;
    options.lock_wait = LOCK_WAIT;
    options.attempts = ATTEMPTS;
    Ok(options)
}

fn take(options: &CaptureOptions, mirror: &Path, telling: &Telling) -> Result<guard::Captured> {
    telling.say(format!("mirror {} without a lock", options.data_dir.display()));
    let captured = capture_live_watched(options, mirror, &mut |moment| {
        telling.say(match moment {
            Moment::Near => "mirror is near; asking for the write lock",
            Moment::Locked => "write lock held, writers wait",
            Moment::Settled => "no flush is under way; reading",
            Moment::Levelled => "mirror is level",
            Moment::Released => "write lock released",
            Moment::FlushAwaited => "a flush was met halfway; waiting for its end without the lock",
        });
    })?;
    telling.say(format!(
        "{} in {} files, writers held {} ms at most, attempt {}",
        crate::telling::bytes(captured.total_bytes),
        captured.files,
        captured.longest_hold_ms,
        captured.attempts
    ));
    Ok(captured)
}

/// A data directory that stands still, and how that came.
pub struct Look {
    /// The directory.
    pub data: PathBuf,
    /// How thoroughly to look.
    pub options: CheckOptions,
    /// Image of the server.
    pub image: String,
    /// Path of the directory below the root of its volume.
    pub data_path: String,
    /// How it was cut.
    pub guard: GuardFacts,
}

/// Checks a data directory and takes the fingerprints of its collections. Blocks.
pub fn look(seen: Look, key: &Key, telling: &Telling) -> Result<ChromaFacts> {
    let Look { data, options, image, data_path, guard } = seen;
    telling.say("check what was cut");
    let report =
        check_dir_with(&data, &options).map_err(|e| Failure::unexpected("can't check what was cut", &e))?;
    telling.say("fingerprint the collections");
    let collections = of_dir_with(&data, key, options.scratch.as_deref());
    let facts = ChromaFacts::new(&image, &data_path, guard, report, collections.map_err(|e| sentence(&e)));
    telling.say(match facts.is_whole() {
        true => format!("{} records in {} collections, whole", facts.records(), facts.collections.len()),
        false => "the check found something: the point will say so".to_owned(),
    });
    Ok(facts)
}

/// Gives the mirror's root the permissions of the volume's, which the restored volume gets in turn.
fn dress_root(volume: &Path, mirror: &Path) -> Result<()> {
    let of = fs::metadata(volume)
        .map_err(|e| Failure::unexpected(format!("can't look at {}", volume.display()), &e))?;
    let mode = of.permissions().mode() | 0o700;
    fs::set_permissions(mirror, fs::Permissions::from_mode(mode)).map_err(|e| unwritable(mirror, &e))
}

/// Copies what else lies on the volume, so that a restored volume has it too. Special files hold nothing to copy.
fn copy_the_rest(from: &Path, data: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).map_err(|e| unreadable(from, &e))? {
        let entry = entry.map_err(|e| unreadable(from, &e))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(|e| unreadable(&source, &e))?;
        if source == data || (entry.file_name() == "lost+found" && kind.is_dir()) {
            continue;
        }
        let done = if kind.is_dir() {
            fs::create_dir_all(&target).map_err(|e| unwritable(&target, &e))?;
            copy_the_rest(&source, data, &target)?;
            fs::metadata(&source).and_then(|m| fs::set_permissions(&target, m.permissions()))
        } else if kind.is_symlink() {
            let _ = fs::remove_file(&target);
            fs::read_link(&source).and_then(|to| std::os::unix::fs::symlink(to, &target))
        } else if kind.is_file() {
            fs::copy(&source, &target).map(drop)
        } else {
            Ok(())
        };
        done.map_err(|e| if is_full(&e) { unwritable(&target, &e) } else { unreadable(&source, &e) })?;
    }
    Ok(())
}

/// The failure to read the source.
pub fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(
        crds::job::FailureReason::SourceUnreadable,
        format!("can't read {}: {error}", path.display()),
    )
}

/// The failure to write to scratch space.
pub fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    let reason = match is_full(error) {
        true => crds::job::FailureReason::ScratchFull,
        false => crds::job::FailureReason::MoverFailed,
    };
    Failure::new(reason, format!("can't write {} in the scratch space: {error}", path.display()))
}

/// Runs work that blocks. When the caller is dropped the work goes on; it ends with the process.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(Failure::unexpected("the work ended unexpectedly", &e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_the_data_is_copied_and_the_data_is_left_to_the_guard() {
        let volume = tempfile::tempdir().unwrap();
        let mirror = tempfile::tempdir().unwrap();
        let data = volume.path().join("chroma/data");
        for dir in ["chroma/data", "chroma/auth", "lost+found"] {
            fs::create_dir_all(volume.path().join(dir)).unwrap();
        }
        fs::write(data.join("chroma.sqlite3"), "live").unwrap();
        fs::write(volume.path().join("chroma/auth/server.htpasswd"), "x").unwrap();
        std::os::unix::fs::symlink("auth", volume.path().join("chroma/link")).unwrap();
        copy_the_rest(volume.path(), &data, mirror.path()).unwrap();
        assert_eq!(fs::read(mirror.path().join("chroma/auth/server.htpasswd")).unwrap(), b"x");
        assert_eq!(fs::read_link(mirror.path().join("chroma/link")).unwrap(), Path::new("auth"));
        assert!(!mirror.path().join("chroma/data").exists() && !mirror.path().join("lost+found").exists());
    }
}
