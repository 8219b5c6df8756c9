//! `holdfast export`: a point as a tar archive (POSIX pax) on standard output, for any tar to read. The result goes to standard
//! error.

use std::io::{self, BufWriter, IsTerminal, Write, stdout};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crds::job::FailureReason;
use engine::{Exported, ExportedContent};
use serde::Serialize;
use tar::{Builder, EntryType, Header};

use super::choose::PointArgs;
use super::output::row;
use super::pax;
use super::{Output, RepositoryArgs};
use crate::environment::Environment;
use crate::exit::Exit;
use crate::failure::{Failure, Result};
use crate::telling::{Telling, bytes};

#[derive(Debug, clap::Args)]
pub struct ExportArgs {
    #[command(flatten)]
    repository: RepositoryArgs,
    #[command(flatten)]
    point: PointArgs,
    /// Scratch space with room for the largest file
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Done {
    point: String,
    entries: u64,
    bytes: u64,
    duration_ms: u64,
}

pub async fn run(
    args: ExportArgs,
    output: Output,
    environment: &Environment,
    telling: &Telling,
) -> Result<Exit> {
    let begun = Instant::now();
    if stdout().is_terminal() {
        let why = "the archive goes to standard output, which is a terminal: append > FILE.tar";
        return Err(Failure::new(FailureReason::InvalidRequest, why));
    }
    let repository = args.repository.open(environment).await?;
    let point = args.point.choose(&repository).await?;
    let scratch = scratch_space(args.scratch.as_deref())?;
    let mut archive = Builder::new(BufWriter::with_capacity(1 << 20, stdout()));
    let progress = telling.stage("export");
    let (entries, size) = engine::export(&repository, &point, scratch.path(), progress, &mut |entry| {
        append(&mut archive, entry)
    })
    .await
    .map_err(|e| Failure::from(e).while_reading_a_point())?;
    let finished = archive.into_inner().and_then(|mut out| out.flush());
    finished.map_err(|e| Failure::unexpected("can't write the archive", &e))?;
    telling.end_stage();
    telling.clear();
    let done = Done {
        point: point.id.to_string(),
        entries,
        bytes: size,
        duration_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    let took = format!("{:.1}s", begun.elapsed().as_secs_f64());
    let rows = [
        row(["POINT", "ENTRIES", "SIZE", "TOOK"]),
        row([&done.point, &entries.to_string(), &bytes(size), &took]),
    ];
    output.print_aside(&done, &rows);
    Ok(Exit::Done)
}

/// A directory that goes when the command ends.
pub(super) fn scratch_space(dir: Option<&Path>) -> Result<tempfile::TempDir> {
    let made = dir.map_or_else(tempfile::tempdir, tempfile::tempdir_in);
    made.map_err(|e| {
        let why = format!("can't make scratch space: {e}; name a directory with --scratch");
        Failure::new(FailureReason::MoverFailed, why)
    })
}

fn append(archive: &mut Builder<impl Write>, entry: Exported) -> io::Result<()> {
    let (seconds, nanos) = entry.mtime;
    let mut header = Header::new_ustar();
    header.set_mode(entry.mode);
    header.set_uid(entry.uid.into());
    header.set_gid(entry.gid.into());
    header.set_mtime(u64::try_from(seconds).unwrap_or(0));
    header.set_size(0);
    // What a header can't say stands in records before the entry.
    let mut records = Vec::new();
    if nanos > 0 || seconds < 0 {
        pax::write(&mut records, b"mtime", pax::write_time(entry.mtime).as_bytes());
    }
    if header.set_path(&entry.path).is_err() {
        pax::write(&mut records, b"path", entry.path.as_os_str().as_bytes());
    }
    let (kind, to, file) = match entry.content {
        ExportedContent::Directory => (EntryType::Directory, None, None),
        ExportedContent::Symlink { to } => (EntryType::Symlink, Some(to), None),
        ExportedContent::Link { to } => (EntryType::Link, Some(to), None),
        ExportedContent::File { size, bytes } => {
            header.set_size(size);
            (EntryType::Regular, None, Some(bytes))
        }
    };
    header.set_entry_type(kind);
    if let Some(to) = to.as_ref().map(|to| to.as_os_str().as_bytes())
        && header.set_link_name_literal(to).is_err()
    {
        pax::write(&mut records, b"linkpath", to);
    }
    for xattr in &entry.xattrs {
        pax::write(&mut records, &pax::xattr_key(&xattr.name), &xattr.value);
    }
    if !records.is_empty() {
        let mut before = Header::new_ustar();
        before.set_path("PaxHeader")?;
        before.set_mode(0o600);
        before.set_entry_type(EntryType::XHeader);
        before.set_size(records.len() as u64);
        before.set_cksum();
        archive.append(&before, records.as_slice())?;
    }
    header.set_cksum();
    match file {
        Some(bytes) => archive.append(&header, bytes),
        None => archive.append(&header, io::empty()),
    }
}
