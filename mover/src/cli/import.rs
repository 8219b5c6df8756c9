//! `holdfast import`: a tar archive on standard input into a new point. It refuses what would lead out of its scratch space.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufReader, IsTerminal, Read, stdin};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crds::job::FailureReason;
use engine::PointAttributes;
use jiff::Timestamp;
use tar::Archive;

use super::backup::{tag, tell};
use super::export::scratch_space;
use super::{LockArgs, Output, RepositoryArgs};
use crate::body::Body;
use crate::capture::{blocking, store};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::{Failure, Result, is_full};
use crate::telling::Telling;

#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    /// The component it belongs to
    #[arg(long, value_name = "NAME")]
    component: String,
    /// A tag of the point; may be repeated
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    tags: Vec<(String, String)>,
    /// The time that the archive's content stands for; now when left out
    #[arg(long, value_name = "TIME")]
    consistency_time: Option<Timestamp>,
    /// Scratch space with room for all files of the archive
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    #[command(flatten)]
    lock: LockArgs,
}

pub async fn run(
    args: ImportArgs,
    output: Output,
    environment: &Environment,
    telling: &Telling,
) -> Result<Exit> {
    let begun = Instant::now();
    let started = (environment.clock)();
    if stdin().is_terminal() {
        let why = "the archive is read from standard input, which is a terminal: append < FILE.tar";
        return Err(Failure::new(FailureReason::InvalidRequest, why));
    }
    let repository = args.repository.open_locking(environment, &args.lock).await?;
    let scratch = scratch_space(args.scratch.as_deref())?;
    let source = scratch.path().join("imported");
    let target = source.clone();
    telling.say("unpack the archive");
    blocking(move || {
        unpack(BufReader::with_capacity(1 << 20, stdin().lock()), &target).map_err(|e| refused(&e))
    })
    .await?;
    let attributes = PointAttributes {
        component: args.component,
        consistency_time: args.consistency_time.unwrap_or(started),
        started,
        tags: args.tags.into_iter().collect(),
        body: Body::new(None, None).to_value(),
        attempt: None,
    };
    let committed = store(&repository, source, attributes, telling).await?;
    telling.clear();
    tell(committed, begun, output)
}

fn refused(error: &io::Error) -> Failure {
    let reason = if is_full(error) { FailureReason::ScratchFull } else { FailureReason::SourceUnreadable };
    Failure::new(reason, format!("can't unpack the archive on standard input: {error}; nothing was captured"))
}

/// Unpacks an archive into a new directory, times to the nanosecond where it says them.
fn unpack(archive: impl Read, target: &Path) -> io::Result<()> {
    fs::create_dir(target)?;
    let mut archive = Archive::new(archive);
    archive.set_preserve_permissions(true);
    // Only root may give files away; for anybody else they become their own.
    archive.set_preserve_ownerships(fs::metadata(target)?.uid() == 0);
    let mut times: BTreeMap<PathBuf, SystemTime> = BTreeMap::new();
    let mut entries = 0_u64;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let time = time_of(&mut entry)?;
        let path = entry.path()?.into_owned();
        let kind = entry.header().entry_type();
        if !entry.unpack_in(target)? {
            let why = format!("its entry {} leads out of the archive", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        if kind.is_file() || kind.is_dir() {
            times.insert(target.join(path), time);
        }
        entries += 1;
    }
    if entries == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is empty"));
    }
    // What is in a directory first: writing into it moved its times.
    for (path, time) in times.into_iter().rev() {
        File::open(path)?.set_modified(time)?;
    }
    Ok(())
}

/// The time of an entry: from its record if it has one, else from the old field.
fn time_of(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<SystemTime> {
    let mut said = None;
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        if record.key() == Ok("mtime") {
            said = record.value().ok().and_then(parse_time);
        }
    }
    let field = || Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(entry.header().mtime()?));
    said.map_or_else(field, Ok)
}

/// Seconds with a fraction, such as `1700000000.123456789`.
fn parse_time(text: &str) -> Option<SystemTime> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let nanos = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let distance = Duration::new(seconds.parse().ok()?, nanos);
    let epoch = SystemTime::UNIX_EPOCH;
    if negative { epoch.checked_sub(distance) } else { epoch.checked_add(distance) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond_before_1970_too() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(parse_time("5.25"), Some(epoch + Duration::new(5, 250_000_000)));
        assert_eq!(parse_time("-1.000000001"), Some(epoch - Duration::new(1, 1)));
        assert_eq!(parse_time("7"), Some(epoch + Duration::from_secs(7)));
        assert_eq!(parse_time("soon"), None);
    }

    #[test]
    fn an_archive_that_leads_out_is_refused_and_writes_nothing_there() {
        let dir = tempfile::tempdir().unwrap();
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.as_mut_bytes()[..10].copy_from_slice(b"../outside");
        header.set_size(1);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, b"x".as_slice()).unwrap();
        let archive = builder.into_inner().unwrap();
        let refused = unpack(archive.as_slice(), &dir.path().join("in")).unwrap_err();
        assert!(refused.to_string().contains("outside"), "{refused}");
        assert!(!dir.path().join("outside").exists());
    }

    #[test]
    fn an_empty_archive_is_no_point() {
        let dir = tempfile::tempdir().unwrap();
        assert!(unpack([0_u8; 1024].as_slice(), &dir.path().join("in")).is_err());
    }
}
